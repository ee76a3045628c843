"""A Prometheus histogram that takes a whole batch at once: every record counts, at a fraction of the cost of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """Counts of seconds by upper bound, for each combination of label values. To be used from one thread."""

    def __init__(
        self, name: str, text: str, bounds_s: Sequence[float], labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._bounds = np.asarray(bounds_s, np.float64)
        self._named = [*(str(float(bound)) for bound in bounds_s), "+Inf"]
        self._counts: dict[tuple[str, ...], np.ndarray] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def observe(self, labels: tuple[str, ...], seconds: np.ndarray) -> None:
        """Adds f64[N] values; those below 0 (clocks differ) count as 0."""
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name} got labels {labels}, expected values of {self._labels}")
        passed = np.maximum(seconds, 0.0)
        counts = np.bincount(np.searchsorted(self._bounds, passed), minlength=len(self._named))
        self._counts[labels] = self._counts.get(labels, 0) + counts
        self._sums[labels] = self._sums.get(labels, 0.0) + float(passed.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as it stands, for a scrape."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in self._counts.items():
            up_to = zip(self._named, np.cumsum(counts).tolist(), strict=True)
            family.add_metric(labels, list(up_to), self._sums[labels])
        yield family
