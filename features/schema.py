"""The ranker's input: its ordered columns, how a row is taken from a user's state, and how rows become arrays.

A `FeatureRow` holds raw values (counts, seconds, days), so that what was logged can be read by a person; `encode`
turns rows into the arrays of the model. Both are pinned by `fingerprint()`, which a bundle carries.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

import mmh3
import numpy as np
from numpy.typing import NDArray

from features.canonical import ShopperEvent
from features.decisions import FeatureRow
from features.events import EventKind, OrderStatus, PageClass
from features.feedback import FeedbackState
from features.state import UserState
from features.windows import DAY_MS, DAY_S, HALF_LIVES_S, HOUR_S, MINUTE_S, NEVER_S, WEEK_S, age_s, hour_angle

SEQUENCE_LENGTH = 16
AGE_CAP_S = 7 * 86_400.0
TRANSFORM_VERSION = 2

_K = EventKind
_MINUTE = (_K.PAGE_VIEWED, _K.SEARCHED)
_HOUR = (_K.PAGE_VIEWED, _K.SEARCHED, _K.CART_UPDATED, _K.PAYMENT_FAILED, _K.VOUCHER_REJECTED, _K.HELP_PAGE_OPENED,
         _K.CHAT_OPENED, _K.SIGN_IN_FAILED)  # fmt: skip
_DAY = (_K.PAGE_VIEWED, _K.SEARCHED, _K.CHECKOUT_STARTED, _K.PAYMENT_FAILED, _K.VOUCHER_REJECTED, _K.PARCEL_DELAYED,
        _K.RETURN_REQUESTED, _K.HELP_PAGE_OPENED, _K.CHAT_OPENED, _K.SIGN_IN_FAILED)  # fmt: skip
_WEEK = (_K.PARCEL_DELAYED, _K.RETURN_REQUESTED)
_SINCE = (_K.SEARCHED, _K.CART_UPDATED, _K.CHECKOUT_STARTED, _K.PAYMENT_FAILED, _K.VOUCHER_REJECTED, _K.ORDER_PLACED,
          _K.ORDER_STATUS_CHANGED, _K.PARCEL_DELAYED, _K.RETURN_REQUESTED, _K.REFUND_ISSUED, _K.HELP_PAGE_OPENED,
          _K.CHAT_OPENED, _K.SIGN_IN_FAILED, _K.ACCOUNT_CHANGED)  # fmt: skip
_DECAYED = (
    *((MINUTE_S, kind) for kind in _MINUTE), *((HOUR_S, kind) for kind in _HOUR), *((DAY_S, kind) for kind in _DAY),
    *((WEEK_S, kind) for kind in _WEEK),
)  # fmt: skip

_COUNTS = (
    *(f"count_1m_{kind.value}" for kind in _MINUTE),
    *(f"count_1h_{kind.value}" for kind in _HOUR),
    *(f"count_1d_{kind.value}" for kind in _DAY),
    *(f"count_7d_{kind.value}" for kind in _WEEK),
    "events_1m", "events_1h", "events_1d", "events_7d",
    "session_length_s", "session_events", "cart_quantity", "orders", "delay_days", "prompts_in_session",
    "shown_1d", "clicked_1d", "dismissed_1d",
)  # fmt: skip
_AGES = (*(f"since_s_{kind.value}" for kind in _SINCE), "since_s_prompt", "since_s_order")
_PLAIN = ("hour_sin", "hour_cos")

NUMERIC: tuple[str, ...] = _COUNTS + _AGES + _PLAIN
"""Column order of the numeric array. `count_*` of a kind are decayed with a half-life of 1 minute, 1 hour, 1 day
or 7 days, `events_*` are the events of a window of that length (see `features.windows`); `since_s_*` are seconds, at
most 7 days, -1 when it never happened."""

CATEGORICAL: dict[str, int] = {
    "trigger_kind": len(EventKind) + 1,
    "trigger_page": len(PageClass) + 1,
    "order_status": len(OrderStatus) + 1,
    "failure_error": 64,
    "payment_method": 32,
    "search": 512,
    "help_topic": 256,
    "locale": 32,
}
"""Column order and number of values; 0 means none. Text columns are hashed: 1 + murmur3(text) mod (buckets - 1)."""

EVENT_KIND_INDEX: dict[str, int] = {kind.value: place for place, kind in enumerate(EventKind, start=1)}
"""The sequence's vocabulary; 0 is padding."""
_PAGE_INDEX = {page.value: place for place, page in enumerate(PageClass, start=1)}
_STATUS_INDEX = {status.value: place for place, status in enumerate(OrderStatus, start=1)}
_NUMERIC_SET, _CATEGORICAL_SET = frozenset(NUMERIC), frozenset(CATEGORICAL)
_numbers, _categories = itemgetter(*NUMERIC), itemgetter(*CATEGORICAL)
_COUNT_PLACES = {kind.value: [(n, span) for n, (span, of) in enumerate(_DECAYED) if of is kind] for kind in EventKind}
_AGE_PLACE = {kind.value: place for place, kind in enumerate(_SINCE)}
_AGE_START, _PLAIN_START = len(_COUNTS), len(_COUNTS) + len(_AGES)


class SchemaMismatch(ValueError):
    """Feature rows and this program disagree about the columns."""


@cache
def fingerprint() -> str:
    """16 hex digits of everything that gives the arrays their meaning: columns, buckets, vocabularies, transforms."""
    described = {
        "counts": _COUNTS, "ages": _AGES, "plain": _PLAIN, "categorical": list(CATEGORICAL.items()),
        "kinds": list(EVENT_KIND_INDEX), "pages": list(_PAGE_INDEX), "statuses": list(_STATUS_INDEX),
        "sequence": SEQUENCE_LENGTH, "age_cap_s": AGE_CAP_S, "transform": TRANSFORM_VERSION,
        "half_lives_s": list(HALF_LIVES_S),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def bucket(text: str, buckets: int) -> int:
    """The hash bucket of a text, blind to case and outer space; 0 for an empty one.

    >>> bucket("", 64), bucket("Late parcel ", 64) == bucket("late parcel", 64)
    (0, True)
    """
    text = text.strip().casefold()
    return 1 + int(mmh3.hash(text, signed=False)) % (buckets - 1) if text else 0


def feature_row(state: UserState, feedback: FeedbackState, trigger: ShopperEvent, now_ms: int) -> FeatureRow:
    """The ranker's input for one request, from states that already include the trigger.

    `now_ms` is the trigger's effective event time, so that a replay of the log gives the same row.
    """
    recent = state.recent[:SEQUENCE_LENGTH]
    return FeatureRow(
        numeric=_numeric(state, feedback, now_ms),
        categorical=_categorical(state, trigger),
        event_kinds=[EVENT_KIND_INDEX.get(event.kind, EVENT_KIND_INDEX["other"]) for event in recent],
        event_ages_s=[_age(event.at_ms, now_ms) for event in recent],
    )


def _age(at_ms: int, now_ms: int) -> float:
    return age_s(at_ms, now_ms, AGE_CAP_S)


def _numeric(state: UserState, feedback: FeedbackState, now_ms: int) -> dict[str, float]:
    order = state.newest_order()
    day_ago_ms = now_ms - DAY_MS
    sine, cosine = hour_angle(now_ms)
    counts, ages = _by_kind(state, now_ms)
    numbers = [
        *counts,
        *(float(state.events_within(window_s, now_ms)) for window_s in HALF_LIVES_S),
        max(now_ms - state.session_start_ms, 0) / 1000 if state.session_id else 0.0,
        float(state.session_events),
        float(state.cart_quantity),
        float(len(state.orders)),
        order[1].delay_days if order else 0.0,
        float(state.prompts_in_session),
        float(feedback.shown_since(day_ago_ms)),
        float(len(feedback.clicked_since(day_ago_ms))),
        float(len(feedback.dismissed_since(day_ago_ms))),
        *ages,
        _age(state.last_prompt_ms, now_ms),
        _age(order[1].at_ms if order else 0, now_ms),
        round(sine, 6),
        round(cosine, 6),
    ]
    return dict(zip(NUMERIC, numbers, strict=True))


def _by_kind(state: UserState, now_ms: int) -> tuple[list[float], list[float]]:
    """Decayed counts in the order of `_DECAYED`, ages in that of `_SINCE`."""
    counts, ages = [0.0] * len(_DECAYED), [NEVER_S] * len(_SINCE)
    for kind, tally in state.tallies.items():
        for place, half_life_s in _COUNT_PLACES.get(kind, ()):
            counts[place] = round(tally.count(half_life_s, now_ms), 6)
        if kind in _AGE_PLACE:
            ages[_AGE_PLACE[kind]] = _age(tally.last_ms, now_ms)
    return counts, ages


def _categorical(state: UserState, trigger: ShopperEvent) -> dict[str, int]:
    order, failure = state.newest_order(), state.newest_failure()
    payment = state.failures.get(EventKind.PAYMENT_FAILED)
    page = trigger.data.page
    return {
        "trigger_kind": EVENT_KIND_INDEX[trigger.kind.value],
        "trigger_page": 0 if page is None else _PAGE_INDEX[page.value],
        "order_status": _STATUS_INDEX.get(order[1].status, 0) if order else 0,
        "failure_error": bucket(failure.error, CATEGORICAL["failure_error"]) if failure else 0,
        "payment_method": bucket(payment.what, CATEGORICAL["payment_method"]) if payment else 0,
        "search": bucket(state.last_search, CATEGORICAL["search"]),
        "help_topic": bucket(state.last_help_topic, CATEGORICAL["help_topic"]),
        "locale": bucket(trigger.locale, CATEGORICAL["locale"]),
    }


@dataclass(frozen=True)
class Encoded:
    """Rows as the model takes them: B rows, Fn numeric and Fc categorical columns, T = `SEQUENCE_LENGTH` events."""

    numeric: NDArray[np.float32]
    """[B, Fn]: counts as log1p(c); ages as freshness 1 - log1p(s) / log1p(cap), so now = 1 and never = 0."""
    categorical: NDArray[np.int64]
    """[B, Fc]: bucket within its column's `CATEGORICAL` size."""
    event_kinds: NDArray[np.int64]
    """[B, T]: newest first, 0 = padding."""
    event_ages: NDArray[np.float32]
    """[B, T]: freshness as above, 0 where padded."""

    def __len__(self) -> int:
        return len(self.numeric)

    def take(self, index: NDArray[np.int64]) -> Encoded:
        """The rows at `index`, in its order."""
        return Encoded(self.numeric[index], self.categorical[index], self.event_kinds[index], self.event_ages[index])


def encode(rows: Sequence[FeatureRow]) -> Encoded:
    """Rows as arrays. Raises `SchemaMismatch` for a missing or unknown column or a category out of range."""
    for row in rows:
        _check_columns(row)
    numeric = np.array([_numbers(row.numeric) for row in rows], np.float32).reshape(-1, len(NUMERIC))
    categorical = np.array([_categories(row.categorical) for row in rows], np.int64).reshape(-1, len(CATEGORICAL))
    if len(rows):
        _check_buckets(categorical)
    kinds = np.zeros((len(rows), SEQUENCE_LENGTH), np.int64)
    ages = np.full((len(rows), SEQUENCE_LENGTH), -1.0, np.float32)
    for place, row in enumerate(rows):
        length = min(len(row.event_kinds), SEQUENCE_LENGTH)
        kinds[place, :length] = row.event_kinds[:length]
        ages[place, :length] = row.event_ages_s[:length]
    return Encoded(_transformed(numeric), categorical, kinds, _freshness(ages))


def _check_columns(row: FeatureRow) -> None:
    if row.numeric.keys() == _NUMERIC_SET and row.categorical.keys() == _CATEGORICAL_SET:
        return
    found = set(row.numeric) | set(row.categorical)
    expected = _NUMERIC_SET | _CATEGORICAL_SET
    raise SchemaMismatch(
        f"a feature row lacks {sorted(expected - found)} and has unknown {sorted(found - expected)}; this program's "
        f"schema is {fingerprint()}: use the program that wrote the row (Decision.versions.features names its schema)"
    )


def _check_buckets(categorical: NDArray[np.int64]) -> None:
    for column, (name, buckets) in zip(categorical.T, CATEGORICAL.items(), strict=True):
        if column.min() < 0 or column.max() >= buckets:
            raise SchemaMismatch(
                f"column {name} holds {int(column.max())}, expected 0..{buckets - 1}: another schema wrote the row"
            )


def _transformed(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    encoded = raw.copy()
    encoded[:, :_AGE_START] = np.log1p(np.maximum(raw[:, :_AGE_START], 0.0))
    encoded[:, _AGE_START:_PLAIN_START] = _freshness(raw[:, _AGE_START:_PLAIN_START])
    return encoded


def _freshness(seconds: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - log1p(s) / log1p(cap) within [0, 1]; never (negative) is 0."""
    aged = 1.0 - np.log1p(np.clip(seconds, 0.0, AGE_CAP_S)) / np.float32(math.log1p(AGE_CAP_S))
    return np.where(seconds < 0, np.float32(0.0), aged).astype(np.float32)
