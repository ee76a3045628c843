"""What a user's state must say, told over the plain list of their applied events: the fold's oracle, sharing no code.

`Applied` is one applied event with its effective time, in the order of the log.
"""

from collections import Counter
from typing import NamedTuple

from features.events import UserEvent

LATENESS_MS, SKEW_MS, WINDOW_MS, GAP_MS = 3_600_000, 60_000, 86_400_000, 1_800_000
MOST_IDS, MOST_RECENT = 256, 20
TILES = {60: (10_000, 6), 3_600: (300_000, 12), 86_400: (3_600_000, 24), 604_800: (21_600_000, 28)}
STATUS = {
    "order_placed": "placed", "parcel_delayed": "delayed", "return_requested": "return_requested",
    "refund_issued": "refunded",
}  # fmt: skip
FAILURES = ("payment_failed", "voucher_rejected", "sign_in_failed")


class Applied(NamedTuple):
    event: UserEvent
    at_ms: int


class Partition:
    """Where each record of one partition ends, by the documented rule and nothing but the log."""

    def __init__(self):
        self.watermark_ms = 0
        self.remembered = []

    def verdict(self, event_id, event_ms, log_ms):
        at_ms, before_ms = min(event_ms, log_ms + SKEW_MS), self.watermark_ms
        self.watermark_ms = max(before_ms, at_ms)
        if event_id in [known for known, _ in self.remembered]:
            return "duplicate", at_ms, before_ms
        if at_ms < before_ms - LATENESS_MS:
            return "late", at_ms, before_ms
        self.remembered = [*self.remembered, (event_id, at_ms)][-MOST_IDS:]
        while len(self.remembered) > 1 and self.remembered[0][1] // 1000 < (before_ms - WINDOW_MS) // 1000:
            self.remembered.pop(0)
        return "applied", at_ms, before_ms


def newest(applied, wanted=lambda event: True):
    """The newest of the wanted ones; the later in the log among equal times."""
    found = [one for one in applied if wanted(one.event)]
    return max(reversed(found), key=lambda one: one.at_ms, default=None)


def count(applied, kind, half_life_s, now_ms):
    return sum(2.0 ** (-(now_ms - at_ms) / 1000 / half_life_s) for event, at_ms in applied if event.kind == kind)


def events_within(applied, window_s, now_ms):
    width_ms, kept = TILES[window_s]
    last = max([now_ms, *(at_ms for _, at_ms in applied)]) // width_ms
    return sum(at_ms // width_ms > last - kept for _, at_ms in applied)


def session(applied):
    """(start, events): it starts with the last event that came more than the gap after all before it in the log."""
    times_ms = [at_ms for _, at_ms in applied]
    opens = [i for i, at_ms in enumerate(times_ms) if i == 0 or at_ms - max(times_ms[:i]) > GAP_MS]
    if not opens:
        return 0, 0
    start_ms = times_ms[opens[-1]]
    return start_ms, sum(at_ms >= start_ms for at_ms in times_ms[opens[-1] :])


def recent(applied):
    """(kind, time, page) of the newest events."""
    order = sorted(range(len(applied)), key=lambda place: (-applied[place].at_ms, -place))
    ordered = [applied[place] for place in order[:MOST_RECENT]]
    return [(event.kind, at_ms, event.data.page or "") for event, at_ms in ordered]


def orders(applied):
    """order id -> (status, time, delay in days), for at most 8 orders: news older than what is known are no news."""
    found = {}
    for event, at_ms in applied:
        status, order_id = STATUS.get(event.kind, event.data.order_status), event.data.order_id
        if status is None or not (event.kind in STATUS or event.kind == "order_status_changed"):
            continue
        _, known_ms, days = found.get(order_id, ("", 0, 0.0))
        if at_ms >= known_ms:
            found[order_id] = (status, at_ms, days if event.data.delay_days is None else event.data.delay_days)
    return found


def failures(applied):
    """kind -> (what, error, time)."""
    told = {kind: newest(applied, lambda event, kind=kind: event.kind == kind) for kind in FAILURES}
    return {
        kind: (one.event.data.method or one.event.data.voucher or "", one.event.data.error or "", one.at_ms)
        for kind, one in told.items()
        if one is not None
    }


def cart(applied):
    one = newest(applied, lambda event: event.kind in ("cart_updated", "order_placed"))
    return one.event.data.quantity if one is not None and one.event.kind == "cart_updated" else 0


def text(applied, name):
    one = newest(applied, lambda event: getattr(event.data, name))
    return (getattr(one.event.data, name), one.at_ms) if one else ("", 0)


def last_ms(applied):
    """kind -> when it last happened."""
    times_ms = Counter()
    for event, at_ms in applied:
        times_ms[event.kind] = max(times_ms[event.kind], at_ms)
    return dict(times_ms)
