"""A worker needs nothing of this machine but two addresses and a prefix: it shares its services with others."""

from __future__ import annotations

import pytest

from deploy.accounting import read_log
from stream import topics
from tests.shows.deployment import Deployment
from tests.stream import stage

pytestmark = pytest.mark.timeout(600)


def test_an_event_in_is_a_decision_out_by_settings_alone(twin: Deployment) -> None:
    event = stage.event(1, user="hand")
    stage.send(twin.connections, [event])
    decision = twin.decided([event.id])[event.id]
    assert (decision.key, decision.versions.model) == ("demo:hand", twin.model)
    assert decision.trigger_offset.startswith(f"{twin.connections.prefix}.shop.user.events.v1[")


def test_another_prefix_on_the_same_services_sees_nothing_of_it(stack: Deployment, twin: Deployment) -> None:
    event = stage.event(2, user="hand")
    stage.send(twin.connections, [event])
    twin.decided([event.id])
    assert event.id in read_log(twin.connections, topics.EVENTS.name).ids
    assert event.id not in read_log(stack.connections, topics.EVENTS.name).ids
    assert not [d for d in stage.decisions(stack.connections) if d.user == "hand"]
