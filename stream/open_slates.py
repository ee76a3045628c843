"""The slates that were shown without a fresh latent query and are still of use: what a refresh may change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from features.decisions import Decision
from stream.ranking import Trigger

MAX_OPEN = 2000
"""How many are remembered: no more requests than these wait in an embedder either."""


@dataclass(frozen=True, slots=True)
class OpenSlate:
    """The newest slate of a user, what it was made on, and the wall clock in ms at which it is of no more use."""

    partition: int
    trigger: Trigger
    decision: Decision
    until_ms: int


class OpenSlates:
    """One slate a user at most; the one shown first leaves when there are too many.

    They are perishable, as decisions are: a worker that ends forgets them, and nobody else has them.
    """

    def __init__(self, max_open: int = MAX_OPEN) -> None:
        self._by_user: OrderedDict[str, OpenSlate] = OrderedDict()
        self._max_open = max_open

    def __len__(self) -> int:
        return len(self._by_user)

    def note(self, partition: int, made: Iterable[tuple[Trigger, Decision]], now_ms: int) -> None:
        """Takes decisions that were published, in their order: a new slate ends its user's slate before."""
        for trigger, decision in made:
            if decision.decision != "show":
                continue
            self._by_user.pop(decision.key, None)
            if decision.embedding.state != "fresh":
                until_ms = now_ms + decision.ttl_ms
                self._by_user[decision.key] = OpenSlate(partition, trigger, decision, until_ms)
        while len(self._by_user) > self._max_open:
            self._by_user.popitem(last=False)

    def of(self, user: str) -> OpenSlate | None:
        """The user's open slate."""
        return self._by_user.get(user)

    def close(self, user: str) -> None:
        """Forgets the user's slate."""
        self._by_user.pop(user, None)

    def forget(self, partition: int) -> None:
        """Forgets a partition's slates: its claim is new, or no longer ours."""
        for user in [user for user, slate in self._by_user.items() if slate.partition == partition]:
            del self._by_user[user]
