"""Server-sent events: a user's decisions as they are made, with heartbeats, resumable, ended politely."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from features.contract import InvalidEvent, origin, parse
from features.decisions import Decision
from stream import tracing
from stream.decision_feed import Subscription
from stream.decision_ring import Entry
from stream.topics import DECISIONS

log = structlog.get_logger(__name__)

RETRY_MS = 2000
"""How long a client waits before it connects again; an EventSource obeys it by itself."""


def sse(event: str, content: Any, cursor: str | None = None, retry_ms: int | None = None) -> bytes:
    r"""One event in the wire format of the HTML standard.

    >>> sse("hello", {"resumed": 0}, cursor="0-7")
    b'id: 0-7\nevent: hello\ndata: {"resumed":0}\n\n'
    """
    lines = [b"id: " + cursor.encode()] if cursor else []
    lines += [b"retry: %d" % retry_ms] if retry_ms else []
    return b"\n".join([*lines, b"event: " + event.encode(), b"data: " + orjson.dumps(content), b"\n"])


def _decision(entry: Entry) -> bytes:
    try:
        return sse("decision", parse(Decision, entry.raw).public(), entry.cursor)
    except InvalidEvent as error:
        at = origin(DECISIONS.name, entry.partition, entry.offset)
        log.warning("decision_unreadable", at=at, decision_id=entry.decision_id, error=str(error))
        return b": a decision that this gateway cannot read\n\n"


async def _written(subscription: Subscription, heartbeat_s: float) -> AsyncIterator[bytes]:
    greeting = {"resumed": subscription.resumed, "has_gap": subscription.has_gap}
    yield sse("hello", greeting, retry_ms=RETRY_MS)
    while subscription.ended is None:
        entry = await subscription.next(heartbeat_s)
        if entry is not None:
            yield _decision(entry)
            tracing.pushed(entry.traceparent, entry.decision_id, entry.at_ms)
        elif subscription.ended is None:
            yield b": heartbeat\n\n"
    yield sse("goodbye", {"reason": subscription.ended}, retry_ms=RETRY_MS)


class EventStream(StreamingResponse):
    """The response that carries a subscription, and leaves the feed however the client goes."""

    media_type = "text/event-stream"

    def __init__(self, subscription: Subscription, heartbeat_s: float) -> None:
        super().__init__(
            _written(subscription, heartbeat_s), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the client or the subscription ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()
