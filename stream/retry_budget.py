"""How much may be tried again: a share of what was tried at all, so that failures never multiply the load."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.1
"""Second attempts per first one, in the long run."""
BURST = 64.0
"""Second attempts that are free at the start, and the most that are saved up."""


@dataclass(slots=True)
class RetryBudget:
    """A bucket of second attempts: every first attempt puts `share` in, every second one takes 1 out.

    >>> budget = RetryBudget(share=0.5, left=1.0)
    >>> budget.take(2), budget.take(1), budget.take(1)
    (False, True, False)
    >>> budget.earn(2)
    >>> budget.take(1)
    True
    """

    share: float = SHARE
    most: float = BURST
    left: float = BURST

    def earn(self, attempts: int) -> None:
        """Counts first attempts."""
        self.left = min(self.left + self.share * attempts, self.most)

    def take(self, attempts: int) -> bool:
        """Whether so many second attempts are allowed now; they are then paid for."""
        if attempts > self.left:
            return False
        self.left -= attempts
        return True
