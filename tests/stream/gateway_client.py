"""A real gateway on a free port, the decisions to feed it with, and a reader of its streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
from aiokafka import AIOKafkaProducer

from features.decisions import Candidates, Decision, FeatureRow, Prompt, QueryEmbedding, Versions
from features.settings import Connections
from stream.gateway import create_app
from stream.reception import GatewaySettings
from stream.serving import listener, server
from stream.topics import DECISIONS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int = 1, **changes: object) -> dict[str, object]:
    given = {"id": f"e{number}", "type": "payment_failed", "time": "2026-01-01T00:00:00Z", "user": "ada"}
    return {**given, **changes}


def decision(name: str = "d1", user: str = "ada", **changes: object) -> Decision:
    prompt = Prompt(
        intent_id="card_declined", text="Why was my card declined?", locale="en", position=1, score=0.4, propensity=0.9
    )
    given = {
        "decision_id": name, "tenant": "demo", "user": user, "session": "s1", "decision": "show", "reason": "ranked",
        "time": NOW, "made_at": NOW, "prompts": [prompt], "slate_propensity": 0.9,
        "candidates": Candidates(intent_ids=["card_declined"], scores=[1.0]),
        "features": FeatureRow(numeric={"clicks": 1.0}, categorical={}, event_kinds=[], event_ages_s=[]),
        "versions": Versions(model="m0", kb="k0", features="f0", policy="p0"),
        "embedding": QueryEmbedding(state="fresh", space_id="a" * 64, state_hash="b" * 64),
        "trigger_event": "e1", "trigger_type": "payment_failed", "trigger_offset": "t[0]@0", "latency_ms": 12.0,
    }  # fmt: skip
    return Decision.model_validate({**given, **changes})


@contextlib.asynccontextmanager
async def gateway(
    connections: Connections, *, wait_ready: bool = True, **settings: object
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(connections, GatewaySettings.model_validate(settings))
    bound = listener("127.0.0.1", 0)
    serving = server(app, app.state.gateway.drain)
    running = asyncio.create_task(serving.serve(sockets=[bound]))
    host, port = bound.getsockname()
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=15) as client:
            path = "/readyz" if wait_ready else "/livez"
            await answers(client, path)
            client.app = app  # type: ignore[attr-defined]
            yield client
    finally:
        serving.should_exit = True
        await asyncio.wait_for(running, 12)


async def answers(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(path)).status_code == 200:
                    return
            await asyncio.sleep(0.05)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(250):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("did not come true within 5 s")


async def publish(connections: Connections, *decisions: Decision, traceparent: str = "") -> None:
    headers = [("traceparent", traceparent.encode())] if traceparent else []
    producer = AIOKafkaProducer(bootstrap_servers=connections.kafka_url)
    await producer.start()
    try:
        for made in decisions:
            topic = connections.named(DECISIONS.name)
            await producer.send_and_wait(topic, made.to_json(), made.key.encode(), headers=headers)
    finally:
        await producer.stop()


class Stream:
    """Reads server-sent events: `await stream.next()` is the fields of the next event, or {"comment": ...}."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line:
                    return fields
                name, _, value = line.partition(":")
                fields[name or "comment"] = value.strip()
        return {"end": "yes"}


@contextlib.asynccontextmanager
async def stream(client: httpx.AsyncClient, user: str = "ada", **headers: str) -> AsyncIterator[Stream]:
    url = f"/v1/stream?tenant=demo&user={user}"
    async with client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)
