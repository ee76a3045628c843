from types import SimpleNamespace

import pytest

from stream.lag import Lag, behind
from stream.telemetry import CONSUMER_LAG_RECORDS, WATERMARK_DELAY_SECONDS


def told(metric):
    return {tuple(s.labels.values()): s.value for family in metric.collect() for s in family.samples}


@pytest.fixture(autouse=True)
def _no_gauges():
    """Other tests of this process run workers, which leave theirs."""
    CONSUMER_LAG_RECORDS.clear()
    WATERMARK_DELAY_SECONDS.clear()


def test_a_partition_that_went_away_is_no_longer_told():
    lag = Lag("events")
    WATERMARK_DELAY_SECONDS.labels(partition="1").set(9)
    lag.tell({("events", 0): 5, ("events", 1): 7})
    lag.tell({("events", 0): 2})
    assert told(CONSUMER_LAG_RECORDS) == {("events", "0"): 2.0}
    assert told(WATERMARK_DELAY_SECONDS) == {}


def test_what_is_read_but_has_had_no_effect_is_behind():
    def highwater(tp):
        assert tp != ("events", 2), "Partition is not assigned"
        return {("events", 0): 10, ("events", 1): None}[tp]

    positions = {("events", 0): 4, ("events", 1): 0, ("events", 2): 0}
    assert behind(SimpleNamespace(positions=positions, highwater=highwater)) == {("events", 0): 6, ("events", 1): 0}
