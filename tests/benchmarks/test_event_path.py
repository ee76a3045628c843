"""What is told of turns with and without the embedder."""

import numpy as np
import pytest

from tests.benchmarks.event_path import Timed


def test_both_turns_without_the_embedder_are_what_its_cost_is_told_against():
    blocks = {"on": 3.0, "off": 1.0, "off_again": 2.0}
    timed = Timed(
        latencies_ms={side: [np.full(200, ms)] * 4 for side, ms in blocks.items()},
        embedder_cores=0.1, embedder_cores_race=0.1, events_per_s=50.0,
    )  # fmt: skip
    assert timed.cost().value == pytest.approx(1.5)
    assert timed.noise().value == pytest.approx(2.0)
