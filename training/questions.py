"""What a retrieval report asks: sets of questions, each with the answers among which its true one must be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.contract import from_ms
from features.events import EventData, EventKind, UserEvent
from features.fold import fold
from features.intent import Intent
from features.prompt import render
from features.state import UserState
from features.vectors import state_input, text_input


@dataclass(frozen=True, slots=True)
class Answer:
    """An intent as it is embedded: `words` by text encoders, `prompt` (ending in the slot) by causal LLMs."""

    id: str
    words: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is known of somebody, as `words` and as `prompt`; `truth` is None where no answer is right.

    Questions of one `cluster` are not independent: intervals resample whole clusters. `posterior` f64[N], in a
    simulation, is how likely each of the N answers is by all that could be known.
    """

    words: str
    prompt: str
    truth: str | None
    cluster: str
    posterior: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions of one origin, and the answers of its own label set. `name` is a key, `title` is for people."""

    name: str
    title: str
    answers: tuple[Answer, ...]
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        known = {answer.id for answer in self.answers}
        strange = sorted({q.truth for q in self.questions if q.truth is not None} - known)
        if strange:
            raise ValueError(f"the set {self.name} asks for {strange[:3]}, which are none of its {len(known)} answers")

    @property
    def in_scope(self) -> tuple[Question, ...]:
        """The questions that have a true answer."""
        return tuple(question for question in self.questions if question.truth is not None)

    def truths(self) -> list[int]:
        """Which answer is true, by its place, for every question of `in_scope`."""
        place = {answer.id: index for index, answer in enumerate(self.answers)}
        return [place[question.truth] for question in self.questions if question.truth is not None]


def answer_of(intent: Intent) -> Answer:
    """An intent with the same words and prompt as everywhere in this project."""
    return Answer(intent.id, text_input(intent), state_input(intent))


def typed_prompt(text: str, locale: str = "en") -> str:
    """The prompt of somebody of whom one chat message is known, through the same state and wording as a shopper's."""
    at_ms = 1_700_000_000_000
    said = UserEvent(
        id="said", source="/evaluated", type=EventKind.CHAT_OPENED.value, time=from_ms(at_ms), tenant="evaluated",
        user="somebody", locale=locale, data=EventData(text=text),
    )  # fmt: skip
    state = UserState()
    fold(state, said, at_ms, at_ms)
    return render(state, at_ms + 1000, locale)


def sampled(questions: Sequence[Question], most: int, seed: int) -> tuple[Question, ...]:
    """At most `most` of the questions, every one as likely as any other, in their order."""
    if len(questions) <= most:
        return tuple(questions)
    chosen = np.random.default_rng(seed).permutation(len(questions))[:most]
    return tuple(questions[index] for index in sorted(chosen))
