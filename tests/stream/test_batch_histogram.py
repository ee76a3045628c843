import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from stream.batch_histogram import BatchHistogram

BOUNDS = (0.01, 0.5, 1.0, 60.0)


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS), max_size=50))
def test_a_batch_counts_like_each_of_its_values_in_prometheus_own_histogram(seconds):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    Histogram("age_seconds", "Age", ["of"], buckets=BOUNDS, registry=theirs).labels(of="row")
    for second in seconds:
        theirs._names_to_collectors["age_seconds"].labels(of="row").observe(second)
    BatchHistogram("age_seconds", "Age", BOUNDS, ["of"], ours).observe(("row",), np.array(seconds))
    samples = [
        {(s.name, *s.labels.values()): pytest.approx(s.value) for s in family.samples if "created" not in s.name}
        for registry in (ours, theirs)
        for family in registry.collect()
    ]
    assert samples[0].keys() == samples[1].keys()
    assert {k: v.expected for k, v in samples[0].items()} == samples[1]


def test_an_age_below_0_counts_as_0_and_wrong_labels_are_refused():
    registry = CollectorRegistry()
    histogram = BatchHistogram("age_seconds", "Age", BOUNDS, ["of"], registry)
    histogram.observe(("row",), np.array([-3.0]))
    assert b'age_seconds_bucket{le="0.01",of="row"} 1.0' in generate_latest(registry)
    with pytest.raises(ValueError, match="expected values of"):
        histogram.observe((), np.array([1.0]))
