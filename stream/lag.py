"""How far this worker is behind the end of the log, for each partition that it holds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from stream.telemetry import CONSUMER_LAG_RECORDS, WATERMARK_DELAY_SECONDS


def behind(consumer: Any) -> dict[tuple[str, int], int]:
    """Records of each partition of a `BatchConsumer` whose effects are not in place, as far as its fetcher saw."""
    found = {}
    for tp, position in consumer.positions.items():
        with contextlib.suppress(AssertionError):  # aiokafka's, in the moment when a partition is taken away
            found[tp] = max((consumer.highwater(tp) or 0) - position, 0)
    return found


class Lag:
    """The gauges of held partitions; those of a partition that went to another worker are removed.

    `watermarked` is the topic that `WATERMARK_DELAY_SECONDS` is about.
    """

    def __init__(self, watermarked: str) -> None:
        self._watermarked = watermarked
        self._told: frozenset[tuple[str, int]] = frozenset()

    def tell(self, records_behind: Mapping[tuple[str, int], int]) -> None:
        """Sets the gauges for all partitions held now, by (topic, partition)."""
        for topic, partition in self._told - records_behind.keys():
            CONSUMER_LAG_RECORDS.remove(topic, str(partition))
            if topic == self._watermarked:
                WATERMARK_DELAY_SECONDS.remove(str(partition))
        for (topic, partition), records in records_behind.items():
            CONSUMER_LAG_RECORDS.labels(topic=topic, partition=str(partition)).set(records)
        self._told = frozenset(records_behind)
