"""The HTTP gateway: events and outcomes in, decisions out, the demo page at /."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from features.contract import Tenant, User
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.settings import Connections
from stream import intake, openapi, telemetry, tracing
from stream.decision_feed import DecisionFeed, TooManyStreams
from stream.decision_ring import DecisionRing
from stream.event_stream import EventStream
from stream.intake import Posted
from stream.problems import MEDIA_TYPE, Problem, ProblemDocument, answer_with_problems
from stream.publisher import Publisher
from stream.reception import RETRY_AFTER_S, Gateway, GatewaySettings
from stream.serving import SecurityHeaders, serve
from stream.topics import DECISIONS, EVENTS, OUTCOMES

WEB = Path(__file__).parent / "web"


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemDocument, "content": {MEDIA_TYPE: {}}, "description": text}
    for status, text in {
        403: "A browser sent it for another site's page",
        400: "Nothing in it keeps the contract",
        404: "Not held here",
        408: "The body came too slowly",
        413: "More than 1 MiB a post or 256 KiB an event",
        503: "Kafka is away, or the gateway is full: see Retry-After",
    }.items()
}


def _said(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _PROBLEMS[status] for status in statuses}


POST_PROBLEMS = _said(400, 403, 408, 413, 503)
EVENTS_BODY = openapi.body_of("PostedUserEvent", "events")
OUTCOMES_BODY = openapi.body_of("PostedOutcome", "outcomes")


def create_app(connections: Connections, settings: GatewaySettings) -> FastAPI:
    """The gateway's application; `app.state.gateway` is its `Gateway` once it has started."""
    retention_ms = settings.retention_s * 1000
    ring = DecisionRing(settings.max_decisions, settings.max_decision_bytes, retention_ms)
    topic = connections.named(DECISIONS.name)
    gateway = Gateway(
        connections,
        settings,
        Publisher(connections, settings.ack_deadline_s),
        DecisionFeed(connections, topic, ring, retention_ms, settings.max_streams),
        intake.RecentIds(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.publisher.start().add_done_callback(gateway.watch)
        feeding = asyncio.create_task(gateway.feed.run())
        feeding.add_done_callback(gateway.watch)
        yield
        feeding.cancel()
        await asyncio.wait([feeding], timeout=1.0)
        await gateway.publisher.stop(grace_s=1.0)

    app = FastAPI(
        title="RGAlign-Rec gateway",
        version="1",
        description="Post what shoppers do, receive proactive prompts, tell what became of them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    answer_with_problems(app)
    _add_intake(app, gateway)
    _add_decisions(app, gateway)
    _add_health(app, gateway)
    _add_page(app)
    app.add_middleware(SecurityHeaders)
    return app


def _add_intake(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        "/v1/events",
        responses=_said(400, 403, 408, 413, 503),
        openapi_extra=EVENTS_BODY,
    )
    async def post_events(request: Request) -> Posted:
        """Append shopper events to the log; answered when all replicas hold them. Safe to repeat under the same ids."""
        with tracing.request("POST /v1/events", request.headers):
            return await gateway.take(request, UserEvent, EVENTS.name, "events")

    @app.post(
        "/v1/outcomes",
        responses=_said(400, 403, 408, 413, 503),
        openapi_extra=OUTCOMES_BODY,
    )
    async def post_outcomes(request: Request) -> Posted:
        """Tell what a shopper did with decisions: shown, clicked, dismissed, converted or typed_query."""
        return await gateway.take(request, Outcome, OUTCOMES.name, "outcomes")


def _subscriber(tenant: Annotated[Tenant, Query()], user: Annotated[User, Query()]) -> str:
    return f"{tenant}:{user}"


def _add_decisions(app: FastAPI, gateway: Gateway) -> None:
    settings = gateway.settings
    stream_answer = {
        "description": "`decision` events (data: PublicDecision, id: partition-offset), after a `hello`; comments as "
        "heartbeats; `goodbye` with a reason (slow, drain) before the gateway ends a stream",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }

    @app.get("/v1/stream", response_class=Response, responses={200: stream_answer, **_said(400, 503)})
    async def get_stream(
        key: Annotated[str, Depends(_subscriber)],
        last_event_id: Annotated[str | None, Header(max_length=64)] = None,
        after: Annotated[
            str | None, Query(max_length=64, description="as Last-Event-ID, for a first connection")
        ] = None,
    ) -> EventStream:
        """One user's decisions as server-sent events, from now on or resumed after Last-Event-ID."""
        try:
            subscription = gateway.feed.subscribe(key, last_event_id or after, settings.stream_queue)
        except TooManyStreams as error:
            action = "connect again after Retry-After, or to another gateway"
            raise Problem(503, "too-many-streams", str(error), action, retry_after_s=RETRY_AFTER_S) from None
        return EventStream(subscription, settings.heartbeat_s)

    @app.get("/v1/decisions/{decision_id}", response_class=Response, responses={200: {"model": Decision}, **_said(404)})
    async def get_decision(decision_id: str) -> Response:
        """The whole decision, with its feature row, candidates and propensities, while it is still held."""
        entry = gateway.feed.ring.find(decision_id)
        if entry is None:
            kept = f"the last {settings.retention_s} s, at most {settings.max_decisions} decisions"
            detail = f"no decision {decision_id[:128]!r} is held here; kept are {kept}"
            action = "older ones are in the log: `rgalign replay` reads them from the decision topic"
            raise Problem(404, "decision-not-held", detail, action)
        return Response(entry.raw, media_type="application/json")


def _add_health(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Whether the event loop runs."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"description": "Not ready: the members say what is missing"}})
    async def readyz() -> JSONResponse:
        """Whether Kafka answers, the recent decisions are read, and the gateway is not draining."""
        state = {"kafka": await gateway.publisher.answers(), "feed_caught_up": gateway.feed.is_caught_up}
        is_ready = all(state.values()) and not gateway.is_draining
        content = {
            "ready": is_ready,
            **state,
            "draining": gateway.is_draining,
            "decisions_held": len(gateway.feed.ring),
        }
        return JSONResponse(content, 200 if is_ready else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        page, content_type = telemetry.metrics_page()
        return Response(page, headers={"Content-Type": content_type})


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    app.mount("/web", StaticFiles(directory=WEB))


def main() -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns; raises what it cannot go on after."""
    telemetry.configure_logging()
    tracing.start("gateway")
    settings = GatewaySettings()
    app = create_app(Connections(), settings)
    gateway: Gateway = app.state.gateway
    serve(app, settings.host, settings.port, gateway.drain)
    if gateway.fault is not None:
        raise gateway.fault
    tracing.stop()


if __name__ == "__main__":
    main()
