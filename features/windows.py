"""Pure functions of event time: what a count, an age or a session is, each with its equation."""

from __future__ import annotations

import math

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
NEVER_S = -1.0
"""The age of what never happened."""


def decayed_count(count: float, age_s: float, half_life_s: float) -> float:
    """A count halved every `half_life_s` seconds of event time:  c * 2 ** (-age / half_life).

    Negative ages (late clocks) count as 0. Raises ValueError if half_life_s <= 0.

    >>> decayed_count(8.0, age_s=60.0, half_life_s=30.0)
    2.0
    """
    if half_life_s <= 0:
        raise ValueError(f"half_life_s is {half_life_s}, expected more than 0 seconds")
    return float(count * 2.0 ** (-max(age_s, 0.0) / half_life_s))


def added(count: float, as_of_ms: int, at_ms: int, half_life_s: float) -> tuple[float, int]:
    """One more event in a decayed count, in any order of arrival:  (c', as_of') with as_of' = max(as_of, at).

    The older of the two sides is decayed to as_of', so the sum does not depend on the order.

    >>> added(1.0, as_of_ms=0, at_ms=30_000, half_life_s=30.0)
    (1.5, 30000)
    >>> added(1.0, as_of_ms=30_000, at_ms=0, half_life_s=30.0)
    (1.5, 30000)
    """
    if at_ms >= as_of_ms:
        return decayed_count(count, (at_ms - as_of_ms) / 1000, half_life_s) + 1.0, at_ms
    return count + decayed_count(1.0, (as_of_ms - at_ms) / 1000, half_life_s), as_of_ms


def age_s(at_ms: int, now_ms: int, cap_s: float) -> float:
    """Seconds since `at_ms`, within [0, cap_s]; `NEVER_S` when it never happened (at_ms <= 0).

    >>> age_s(1_000, now_ms=4_500, cap_s=2.0), age_s(0, now_ms=4_500, cap_s=2.0)
    (2.0, -1.0)
    """
    if at_ms <= 0:
        return NEVER_S
    return min(max((now_ms - at_ms) / 1000, 0.0), cap_s)


def hour_angle(now_ms: int) -> tuple[float, float]:
    """The time of day (UTC) on a circle:  (sin, cos)(2 pi * ms_of_day / day).

    >>> sin, cos = hour_angle(6 * HOUR_MS)
    >>> round(sin, 6), round(cos, 6)
    (1.0, 0.0)
    """
    angle = 2 * math.pi * (now_ms % DAY_MS) / DAY_MS
    return math.sin(angle), math.cos(angle)


def is_new_session(last_ms: int, at_ms: int, gap_ms: int) -> bool:
    """Whether an event opens a session: the first of all, or more than `gap_ms` after the newest one before it.

    >>> is_new_session(0, 5, 10), is_new_session(5, 15, 10), is_new_session(5, 16, 10)
    (True, False, True)
    """
    return last_ms <= 0 or at_ms - last_ms > gap_ms
