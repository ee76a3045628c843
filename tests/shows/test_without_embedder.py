"""What an embedder gives: late queries refine prompts; without any, prompts flow on the null query and say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from deploy.publishing import release
from features.decisions import Decision
from tests.shows.deployment import Deployment
from tests.stream import stage

pytestmark = pytest.mark.timeout(300)

HEALED_S = 60.0


class Shop:
    """Shoppers of a deployment who read help, each event under another id."""

    numbers = count()

    def __init__(self, stack: Deployment) -> None:
        self.stack = stack

    def opens_help(self, user: str, topic: str) -> Decision:
        """The newest decision over somebody who opens a page of the help."""
        event = {"id": f"none{next(self.numbers)}", "user": user, "type": "help_page_opened", "data": {"topic": topic}}
        accepted = self.stack.post(event)
        return self.stack.decided(accepted)[accepted[0]]

    def until(self, user: str, topic: str, is_so: Callable[[Decision], bool]) -> Decision:
        """The first decision over this page that is as wanted."""
        deadline_s = time.monotonic() + HEALED_S
        while not is_so(decision := self.opens_help(f"{user}{next(self.numbers)}", topic)):
            assert time.monotonic() < deadline_s, decision.public()
            time.sleep(0.5)
        return decision


def is_fresh(decision: Decision) -> bool:
    return decision.embedding.state == "fresh"


@pytest.fixture(scope="module")
def shop(stack: Deployment) -> Iterator[Shop]:
    """The stack with an embedder, and meanwhile with a model that heeds queries (model v0 may not trust its own)."""
    model, shop = stage.heeding(stack.connections), Shop(stack.start("embedder"))
    shop.until("swapped", "Returns", lambda decision: decision.versions.model == model)
    yield shop
    if "embedder" in stack.supervisor.names():
        stack.stop("embedder")
    release(stack.connections, stack.model, wait_s=0)
    shop.until("restored", "Returns", lambda decision: decision.versions.model == stack.model)


def test_what_was_shown_without_its_query_is_decided_again_when_it_comes(shop: Shop, stack: Deployment) -> None:
    firsts = {}
    for topic in ("Refund not arrived", "Cancel my order", "Change the address", "Pay by invoice", "Delete my account"):
        decision = shop.opens_help(f"late{next(shop.numbers)}", topic)
        firsts[decision.refines or decision.decision_id] = decision
    deadline_s = time.monotonic() + HEALED_S
    while not (refined := [decision for decision in stage.decisions(stack.connections) if decision.refines in firsts]):
        assert time.monotonic() < deadline_s, "nothing was decided again"
        time.sleep(0.2)
    assert {(decision.embedding.state, decision.decision) for decision in refined} == {("fresh", "show")}
    assert len({decision.trigger_event for decision in refined}) == len(refined)


def test_without_any_embedder_prompts_flow_degraded_and_its_return_heals_the_cache(
    shop: Shop, stack: Deployment
) -> None:
    assert shop.until("before", "Broken seals", is_fresh).degraded == []
    stack.supervisor.kill("embedder")
    stack.stop("embedder")
    lonely = shop.until("lonely", "Lost vouchers", lambda decision: bool(decision.degraded))
    assert (lonely.embedding.state, lonely.degraded) == ("null", ["embedder_away"])
    assert lonely.decision == "holdout" or len(lonely.prompts) == 3
    assert shop.opens_help("known", "Broken seals").degraded == []
    stack.start("embedder")
    assert shop.until("after", "Lost vouchers", is_fresh).degraded == []
