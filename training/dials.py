"""What can be turned in the declared world, and the grid and seeds on which results are told.

Committed before any ranker was compared. A dial that is changed afterwards makes another world: results told before
and after do not belong in one table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

SHARES = (0.0, 0.3, 0.6, 1.0)
"""The grid of semantic shares."""
TUNING_SEEDS = (11, 12, 13, 14, 15)
"""Worlds in which rankers may be tuned."""
UNTOUCHED_SEEDS = (101, 102)
"""Worlds in which nothing is ever tuned: a ranker meets them when its settings are committed."""


@dataclass(frozen=True, slots=True)
class Dials:
    """How a world is set; shares and rates are probabilities. Raises ValueError for one that is none.

    `semantic_share`: how often the words of a shopper with a need are about that need; else they are drawn without
    regard to it. 0 = text carries nothing, 1 = whatever is said is about the need.
    `noise`: of the words about a need, how many are those of any intent of its family.
    `position_bias`: the power to which examination falls with the position; 0 = every position is looked at.
    `flip`: how often, from one event to the next, a need gives way to another one.
    `users`: how many shoppers take turns. `pace_s`: the mean time between two events of a visit.
    `drift`: a carrier strike and a faulty voucher campaign begin at `drift_from_ms`.
    `season`: the height of the wave in which families are needed more and less; 0 = none.
    `outages`: the share of days on which payment, sign-in or vouchers fail far more often.
    `new_words_from_ms`: when shoppers begin to say everything in words that nobody used before; 0 = never.
    `new_intents`: the share of intents that nobody needs and nobody can be offered before `new_from_ms`.
    """

    semantic_share: float = 0.5
    noise: float = 0.1
    position_bias: float = 1.0
    flip: float = 0.03
    users: int = 1000
    pace_s: float = 2.4
    drift: bool = False
    drift_from_ms: int = 0
    season: float = 0.0
    outages: float = 0.0
    new_words_from_ms: int = 0
    new_intents: float = 0.0
    new_from_ms: int = 0

    def __post_init__(self) -> None:
        for name in ("semantic_share", "noise", "flip", "outages", "new_intents"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a probability within 0..1")
        if self.users < 1 or self.pace_s <= 0 or self.position_bias < 0 or self.season < 0:
            raise ValueError(
                f"found {self.users} users, {self.pace_s} s a step, position bias {self.position_bias}, season "
                f"{self.season}; expected at least one user, a positive pace, and a bias and a season of 0 or more"
            )

    def __str__(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


SCIENCE = Dials(semantic_share=1.0, users=1000, pace_s=45.0, season=0.3, outages=0.1)
"""The world of the results, at the upper end of the grid; `dataclasses.replace` gives the other shares."""
