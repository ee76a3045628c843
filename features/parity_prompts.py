"""The fixed prompts that backends are compared on: every intent of the packaged knowledge base, and its examples."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from features.knowledge import load
from features.prompt import PREFIX, SLOT, intent_prompt


class ParityPrompts(NamedTuple):
    """`intents`: one prompt an intent; `queries`: one prompt an example; `truth[i]`: the intent of query i."""

    intents: list[str]
    queries: list[str]
    truth: list[int]

    @property
    def sha256(self) -> str:
        """Names these prompts."""
        return hashlib.sha256("\n".join((*self.intents, *self.queries)).encode()).hexdigest()


def parity_prompts() -> ParityPrompts:
    """All of them: some 750, so that one query that tips over is less than a point of recall."""
    intents = load().intents
    asked = [(row, example) for row, intent in enumerate(intents) for example in intent.examples]
    return ParityPrompts(
        [intent_prompt(intent) for intent in intents],
        [f"{PREFIX}. Just now: wrote '{example}'.{SLOT}" for _, example in asked],
        [row for row, _ in asked],
    )
