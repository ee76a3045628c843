"""Bundles offered while shoppers are served: a placebo and a damaged one change nothing, a good one swaps unnoticed."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from deploy.building import checkpoint_path
from deploy.publishing import publish, release, released
from deploy.recalibrate import Round, run_round
from export import bundle
from export.assemble import assemble
from export.bundle import BundleRejected
from export.registry import Registry
from features import knowledge
from features.adapter import Adapter
from features.decisions import Decision
from features.vectors import ensure_intent_vectors
from stream import topics
from tests.shows.deployment import Deployment
from training import cycle
from training.checkpoint import Checkpoint
from training.dataset import permuted_clicks
from training.first_day import first_day

pytestmark = pytest.mark.timeout(600)

PACE_S = 0.1
SESSIONS = 700
SWAPS = 'rgalign_swaps_total{result="%s"}'


class Shoppers:
    """Shoppers who open help, one after the other, until they are told to stop."""

    numbers = count()

    def __init__(self, stack: Deployment) -> None:
        self.stack = stack
        self.is_over = threading.Event()

    def run(self) -> list[str]:
        """Returns the ids of their events, all of them accepted."""
        accepted = []
        while not self.is_over.wait(PACE_S):
            name = f"swap{next(self.numbers)}"
            accepted += self.stack.post({"id": name, "user": name, "type": "help_page_opened"})
        return accepted


@contextlib.contextmanager
def traffic(stack: Deployment) -> Iterator[list[Decision]]:
    """Traffic around the block; afterwards the list holds a decision for each event, in order, and nothing crashed.

    No embedder runs here, and that is all that may be missing.
    """
    shoppers, before, decisions = Shoppers(stack), stack.state(), list[Decision]()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shoppers.run)
        try:
            time.sleep(5 * PACE_S)
            yield decisions
            time.sleep(5 * PACE_S)
        finally:
            shoppers.is_over.set()
    made = stack.decided(running.result())
    decisions += [made[event] for event in running.result()]
    assert {reason for decision in decisions for reason in decision.degraded} <= {"embedder_away"}
    assert stack.state() == before


def models(decisions: list[Decision]) -> list[str]:
    """The models that decided, in order, each once."""
    return list(dict.fromkeys(decision.versions.model for decision in decisions))


def waited_for(stack: Deployment, result: str, before: float) -> float:
    """The worker's count of such swaps once it has grown."""
    deadline_s = time.monotonic() + 30
    while (found := stack.metric("worker", SWAPS % result)) == before:
        assert time.monotonic() < deadline_s, f"no bundle was {result}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def placebo(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Round, list[Decision]]:
    """A round over a simulated day in the log, taught with permuted clicks, and what was decided meanwhile."""
    day = first_day(knowledge.load(), seed=31, sessions=SESSIONS)
    with pytest.MonkeyPatch.context() as patch, traffic(stack) as decisions:
        patch.chdir(tmp_path_factory.mktemp("figures"))
        publish(stack.connections, topics.DECISIONS, ((row.decision.key, row.decision) for row in day))
        publish(stack.connections, topics.OUTCOMES, ((o.key, o) for row in day for o in row.outcomes))
        finished = run_round(stack.connections, seed=5, spoil=partial(permuted_clicks, seed=5))
    return finished, decisions


@pytest.fixture
def good(stack: Deployment, tmp_path: Path) -> str:
    """Model v0 with an adapter of its own, published: another bundle, another query space."""
    registry, cache = Registry(stack.connections.registry), stack.connections.cache
    checkpoint, kb = Checkpoint.load(checkpoint_path(registry, stack.model)), knowledge.load()
    vectors = ensure_intent_vectors(kb, cache)
    serving = bundle.read(registry.path(stack.model)).manifest
    assemble(
        tmp_path / "draft",
        checkpoint,
        *cycle.aligned(vectors, checkpoint.intent_ids),
        adapter=Adapter.identity(np.asarray(vectors.state.mean(axis=0), np.float32), seed=99),
        calibration=(1.0, -1.0),
        base_id=serving.base_id,
        kb_version=kb.version,
        created=datetime.now(UTC),
        cache=cache,
    )
    uri, _ = registry.publish(tmp_path / "draft")
    return Path(uri).name


def test_a_bundle_taught_with_permuted_clicks_is_refused_by_the_judge(placebo: tuple[Round, list[Decision]]) -> None:
    finished, _ = placebo
    assert (finished.verdict.verdict, finished.released) == ("reject", None)
    assert finished.verdict.low is not None
    assert finished.verdict.low <= 0


def test_serving_goes_on_unchanged_while_a_placebo_is_judged(
    placebo: tuple[Round, list[Decision]], stack: Deployment
) -> None:
    finished, decisions = placebo
    assert finished.challenger in Registry(stack.connections.registry).versions()
    assert models(decisions) == [stack.model]
    assert {message.version for message in released(stack.connections, "serving")} == {stack.model}


def test_a_flipped_byte_is_refused_at_load_and_serving_is_unchanged(stack: Deployment, good: str) -> None:
    registry = Registry(stack.connections.registry)
    folder = registry.path(good)
    told = released(stack.connections, "serving")[-1].model_copy(
        update={"version": good, "uri": folder.as_uri(), "manifest_sha256": bundle.read(folder).manifest_sha256}
    )
    weights = bytearray((folder / "ranker.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "ranker.onnx").write_bytes(weights)
    with pytest.raises(BundleRejected):
        release(stack.connections, good, wait_s=0)
    refused = stack.metric("worker", SWAPS % "refused")
    with traffic(stack) as decisions:
        publish(stack.connections, topics.MODELS, [(told.key, told)])
        assert waited_for(stack, "refused", refused) == refused + 1
    assert models(decisions) == [stack.model]
    shutil.rmtree(folder)
    release(stack.connections, stack.model, wait_s=0)


def test_a_good_bundle_swaps_under_load_with_no_errors(stack: Deployment, good: str) -> None:
    swapped, failed = (stack.metric("worker", SWAPS % result) for result in ("swapped", "failed"))
    with traffic(stack) as decisions:
        release(stack.connections, good, wait_s=0)
        waited_for(stack, "swapped", swapped)
    assert models(decisions) == [stack.model, good]
    assert decisions[-1].versions.model == good
    assert max(decision.latency_ms for decision in decisions) < 5000
    assert stack.metric("worker", SWAPS % "failed") == failed
    release(stack.connections, stack.model, wait_s=0)
    waited_for(stack, "swapped", swapped + 1)
