"""The ranker's input: columns, rows, arrays, and the fingerprint that pins them."""

import math

import numpy as np
import pytest

from features import schema
from features.contract import from_ms, parse
from features.decisions import FeatureRow
from features.events import UserEvent
from features.feedback import FeedbackState
from features.fold import fold
from features.schema import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, SchemaMismatch, encode, feature_row, fingerprint
from features.state import UserState

START_MS = 1_790_000_000_000
TRIGGER = UserEvent(id="t", type="help_page_opened", time=from_ms(START_MS), user="a", data={"topic": "Returns"})


def row_of(*events, now_ms=START_MS):
    state = UserState()
    for place, (kind, data) in enumerate(events):
        told = UserEvent(id=f"e{place}", type=kind, time=from_ms(START_MS), user="a", data=data)
        fold(state, told, START_MS + place, 0)
    return feature_row(state, FeedbackState(), TRIGGER, now_ms)


def numeric(row, name):
    return encode([row]).numeric[0, NUMERIC.index(name)]


def test_a_row_has_exactly_the_columns_of_the_schema():
    row = row_of()
    assert tuple(row.numeric) == NUMERIC
    assert list(row.categorical) == list(CATEGORICAL)
    assert len(set(NUMERIC)) == len(NUMERIC)


def test_a_row_survives_the_log_exactly():
    row = row_of(("searched", {"query": "parcel"}), ("parcel_delayed", {"order_id": "o", "delay_days": 0.1}))
    assert parse(FeatureRow, row.to_json()) == row


def test_what_never_happened_is_minus_one_raw_and_zero_encoded():
    row = row_of()
    assert row.numeric["since_s_searched"] == -1
    assert numeric(row, "since_s_searched") == 0


def test_what_happened_now_is_one_and_fades_to_zero_at_the_cap():
    searched = ("searched", {"query": "parcel"})
    assert numeric(row_of(searched), "since_s_searched") == 1
    assert 0 < numeric(row_of(searched, now_ms=START_MS + 60_000), "since_s_searched") < 1
    assert numeric(row_of(searched, now_ms=START_MS + 10**12), "since_s_searched") == 0


def test_counts_are_raw_in_the_row_and_logarithmic_in_the_array():
    row = row_of(("cart_updated", {"quantity": 7}))
    assert row.numeric["cart_quantity"] == 7
    assert numeric(row, "cart_quantity") == pytest.approx(math.log1p(7))


def test_windows_count_all_events_and_half_lives_one_kind():
    row = row_of(("searched", {"query": "parcel"}), ("chat_opened", {}), now_ms=START_MS + 3_600_000)
    assert (row.numeric["events_1m"], row.numeric["events_1d"], row.numeric["count_1h_searched"]) == (0, 2, 0.5)
    assert row.numeric["count_1d_searched"] == pytest.approx(2 ** (-1 / 24), abs=1e-6)


def test_the_sequence_is_newest_first_and_padded_with_zeros():
    row = row_of(("searched", {"query": "parcel"}), ("chat_opened", {}), now_ms=START_MS + 1001)
    encoded = encode([row])
    kinds = schema.EVENT_KIND_INDEX
    assert encoded.event_kinds[0].tolist() == [kinds["chat_opened"], kinds["searched"]] + [0] * (SEQUENCE_LENGTH - 2)
    assert row.event_ages_s == [1.0, 1.001]
    assert encoded.event_ages[0, 2:].tolist() == [0] * (SEQUENCE_LENGTH - 2)


def test_a_long_history_is_cut_to_the_sequence():
    row = row_of(*[("chat_opened", {})] * 30)
    assert len(row.event_kinds) == SEQUENCE_LENGTH
    assert encode([row]).event_kinds.min() > 0


def test_texts_hash_to_their_buckets_blind_to_case():
    one, other = row_of(("searched", {"query": "Parcel"})), row_of(("searched", {"query": "parcel"}))
    assert one.categorical["search"] == other.categorical["search"] > 0
    assert row_of().categorical["search"] == 0


def test_arrays_have_the_stated_shapes_and_types_also_for_no_rows():
    for count in (0, 1, 3):
        encoded = encode([row_of()] * count)
        assert len(encoded) == count
        assert (encoded.numeric.shape, encoded.numeric.dtype) == ((count, len(NUMERIC)), np.float32)
        assert (encoded.categorical.shape, encoded.categorical.dtype) == ((count, len(CATEGORICAL)), np.int64)
        assert (encoded.event_kinds.shape, encoded.event_kinds.dtype) == ((count, SEQUENCE_LENGTH), np.int64)
        assert (encoded.event_ages.shape, encoded.event_ages.dtype) == ((count, SEQUENCE_LENGTH), np.float32)
        assert np.isfinite(encoded.numeric).all()


def test_rows_encode_alike_alone_and_together():
    rows = [row_of(), row_of(("chat_opened", {})), row_of(("searched", {"query": "x"}), now_ms=START_MS + 5000)]
    together = encode(rows)
    for place, row in enumerate(rows):
        alone = encode([row])
        picked = together.take(np.array([place]))
        for name in ("numeric", "categorical", "event_kinds", "event_ages"):
            np.testing.assert_array_equal(getattr(picked, name), getattr(alone, name))


@pytest.mark.parametrize("change", ["lacking", "unknown"])
def test_a_row_of_another_schema_is_refused_with_the_columns_named(change):
    columns = dict(row_of().numeric)
    columns.pop("orders")
    if change == "unknown":
        columns["invented"] = 1.0
    row = row_of().model_copy(update={"numeric": columns})
    with pytest.raises(SchemaMismatch, match=r"lacks \['orders'\].*" + ("invented" if change == "unknown" else "")):
        encode([row])


@pytest.mark.parametrize("value", [-1, 10_000])
def test_a_category_outside_its_buckets_is_refused(value):
    row = row_of().model_copy(update={"categorical": {**row_of().categorical, "locale": value}})
    with pytest.raises(SchemaMismatch, match=r"column locale holds .*expected 0\.\.31"):
        encode([row])


def test_the_fingerprint_is_pinned():
    assert fingerprint() == "f8d1cea3a6e5dd49", (
        "the ranker's input changed: bump TRANSFORM_VERSION or own up to new columns"
    )
