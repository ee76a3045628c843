"""Workers without one of their safeguards: an experiment that does not turn red under its mutant proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from features import ledger
from features.contract import InvalidEvent


def no_fence() -> None:
    """A commit takes effect whoever makes it and whatever was applied before."""
    text = ledger._COMMIT.text
    for guard in ("meta[1] ~= ARGV[1]", "tonumber(ARGV[3]) <= applied", "tonumber(ARGV[2]) <= applied"):
        assert guard in text, f"the ledger's commit script no longer holds {guard!r}: mend the mutant"
        text = text.replace(guard, "false")
    ledger._COMMIT = ledger._Script(text)


def no_dedupe() -> None:
    """Every event is new."""
    from stream import shopper

    real = shopper.fold

    def fold(state: Any, *args: Any) -> Any:
        for known in ("seen_ids", "seen_s"):
            getattr(state, known).clear()
        return real(state, *args)

    shopper.fold = fold


def no_dlq() -> None:
    """A record that cannot be read is not caught."""
    from stream import decoding

    class Never(InvalidEvent):
        """What is never raised."""

    decoding.InvalidEvent = Never  # type: ignore[misc]


MUTANTS: dict[str, Callable[[], None]] = {"no_fence": no_fence, "no_dedupe": no_dedupe, "no_dlq": no_dlq}
