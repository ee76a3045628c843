"""What the gateway's routes share: its settings, and how posts are taken into the log."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import structlog
from fastapi import Request
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.decisions import Outcome
from features.events import UserEvent
from features.settings import Connections
from stream import intake, telemetry
from stream.decision_feed import DecisionFeed
from stream.intake import ItemResult, Posted, Record
from stream.problems import Problem
from stream.publisher import LogAway, Publisher

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 2


class GatewaySettings(BaseSettings):
    """How the gateway serves. Environment variables: RGALIGN_HTTP_HOST, RGALIGN_HTTP_PORT, ..."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="RGALIGN_HTTP_")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    ack_deadline_s: Annotated[float, Field(gt=0, le=60)] = Field(5.0, description="for all replicas to acknowledge")
    heartbeat_s: Annotated[float, Field(gt=0, le=300)] = Field(15.0, description="between comments on a quiet stream")
    max_streams: Annotated[int, Field(ge=1)] = 2000
    stream_queue: Annotated[int, Field(ge=1)] = Field(200, description="decisions that wait for one slow client")
    retention_s: Annotated[int, Field(ge=1)] = Field(600, description="how long decisions can be asked for")
    max_decisions: Annotated[int, Field(ge=1)] = 20_000
    max_decision_bytes: Annotated[int, Field(ge=1)] = 128 * 1024 * 1024


@dataclass(slots=True)
class Gateway:
    """What the routes share."""

    connections: Connections
    settings: GatewaySettings
    publisher: Publisher
    feed: DecisionFeed
    recent: intake.RecentIds
    is_draining: bool = False
    fault: BaseException | None = None

    def watch(self, part: asyncio.Task[None]) -> None:
        """Ends the gateway as a SIGTERM does when one of its parts could not go on."""
        fault = None if part.cancelled() else part.exception()
        if fault is not None and self.fault is None:
            self.fault = fault
            log.error("gateway_cannot_go_on", error=str(fault), kind=type(fault).__name__)
            signal.raise_signal(signal.SIGTERM)

    def drain(self) -> None:
        """Says not ready, and ends the streams, so that clients go elsewhere."""
        self.is_draining = True
        self.feed.close()

    async def take(self, request: Request, contract: type[UserEvent | Outcome], topic: str, plural: str) -> Posted:
        """Screens the posted items and appends the good ones to `topic`; answers after all replicas have them."""
        if request.headers.get("sec-fetch-site") == "cross-site":
            action = "post from a page of the gateway's own site, or from your server"
            raise Problem(403, "cross-site-post", "a browser sent this for another site's page", action)
        items = intake.items_in(await intake.read_body(request), plural)
        records, results = intake.screen(items, contract, datetime.now(UTC), intake.random_id)
        fresh, again = self._parted(records)
        results += await self._appended(topic, fresh) if fresh else []
        unsure = {result.id for result in results if result.status == "unknown"}
        results += [_result(record, "unknown" if record.id in unsure else "duplicate") for record in again]
        results.sort(key=lambda result: result.index)
        for result in results:
            telemetry.HTTP_ITEMS.labels(route=plural, result=result.status).inc()
        intake.refuse_when_all_rejected(results)
        if any(result.status == "unknown" for result in results):
            raise _kafka_away(f"not acknowledged within {self.settings.ack_deadline_s:g} s", results)
        return Posted(results=results)

    def _parted(self, records: list[Record]) -> tuple[list[Record], list[Record]]:
        fresh: dict[str, Record] = {}
        again = []
        for record in records:
            if record.identity in fresh or self.recent.holds(record.identity, time.monotonic()):
                again.append(record)
            else:
                fresh[record.identity] = record
        return list(fresh.values()), again

    async def _appended(self, topic: str, records: list[Record]) -> list[ItemResult]:
        def remember(index: int) -> None:
            self.recent.add(records[index].identity, time.monotonic())

        pairs = [(record.key.encode(), record.value) for record in records]
        try:
            acked = await self.publisher.publish(self.connections.named(topic), pairs, remember)
        except LogAway as error:
            raise _kafka_away(str(error), [_result(record, "unknown") for record in records]) from None
        return [_result(r, "accepted" if ok else "unknown") for r, ok in zip(records, acked, strict=True)]


def _result(record: Record, status: Literal["accepted", "duplicate", "unknown"]) -> ItemResult:
    return ItemResult(index=record.index, id=record.id, status=status)


def _kafka_away(detail: str, results: Sequence[ItemResult]) -> Problem:
    told = [result.model_dump(exclude_none=True) for result in results]
    action = "post again after Retry-After under the ids in `results`: what did arrive is then told as a duplicate"
    return Problem(503, "log-unavailable", detail, action, retry_after_s=RETRY_AFTER_S, results=told)
