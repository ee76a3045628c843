"""The embedder: a role of its own that keeps latent queries fresh, so that the LLM is never on an event's path.

It follows the releases and the knowledge base, too, and tells its health.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.exceptions import RedisError

from features.kafka_client import aiokafka_arguments
from features.models import ensure_reasoner, ensure_text_encoder
from features.querycache import QueryCache
from features.reasoner import Encoder, Reasoner, TextEncoder, text_encoder_id
from features.redis_access import raise_if_refused
from features.redis_client import open_redis
from features.settings import Connections
from features.store import OnlineRows
from features.vectors import Source
from features.views import project
from stream import topics
from stream.connecting import let_in, started
from stream.embedding import Embedding
from stream.follower import Follower
from stream.intent_embedding import IntentEmbedding
from stream.query_spaces import QuerySpaces
from stream.refresh_line import RETRY_S, RefreshLine
from stream.settings import EMBEDDER_GROUP
from stream.telemetry import configure_logging, serving_health

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 30.0


class PartEnded(RuntimeError):
    """A part of the embedder ended without an error and without being told to."""


class EmbedderSettings(BaseSettings):
    """An embedder's own settings; the addresses are in `Connections`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    health_port: int = Field(
        default=0, alias="RGALIGN_HEALTH_PORT", ge=0, le=65_535, description="/livez, /readyz and /metrics; 0 = none"
    )
    health_host: str = Field(default="127.0.0.1", alias="RGALIGN_HEALTH_HOST", description="0.0.0.0 in a container")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", alias="RGALIGN_DEVICE", description="where the reasoner runs; auto = CUDA where there is one"
    )
    threads: int = Field(
        default=1, alias="RGALIGN_LLM_THREADS", ge=1, le=256, description="CPU threads of the reasoner"
    )
    stop_deadline_s: float = Field(
        default=5.0, alias="RGALIGN_STOP_DEADLINE_S", gt=0, description="how long a SIGTERM may drain"
    )


Loader = Callable[[Connections, EmbedderSettings], tuple[Encoder, Source]]
"""Gives the reasoner, loaded, and the text encoder, to be loaded if an intent is new."""


def load_models(connections: Connections, settings: EmbedderSettings) -> tuple[Encoder, Source]:
    """The project's own models, fetched if absent. Slow: call it in a thread."""
    text = ensure_text_encoder(connections.cache)
    reasoner = Reasoner(ensure_reasoner(connections.cache), settings.device, settings.threads)
    return reasoner, Source(text_encoder_id(text), lambda: TextEncoder(text, threads=settings.threads))


class Embedder:
    """One embedder: reads requests, embeds them, follows releases and the knowledge base, tells its health."""

    def __init__(self, connections: Connections, settings: EmbedderSettings, load: Loader = load_models) -> None:
        self._connections = connections
        self._settings = settings
        self._load = load
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reason")
        self._line = RefreshLine()
        self._is_consuming = False
        self.work: Embedding | None = None
        self._redis: Any = open_redis(connections)

    def stop(self) -> None:
        """Reads no more; what waits is finished within the drain's deadline."""
        self._line.stop()

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether latent queries are being made: the reasoner loaded, the topic consumed, Redis answering."""
        work = self.work
        space = None if work is None else work.spaces.serving
        details: dict[str, object] = {
            "reasoner": None if work is None else work.reasoner.base_id[:16],
            "device": getattr(None if work is None else work.reasoner, "device", None),
            "serving_space": None if space is None else space.space_id[:16],
            "queued": len(self._line.queue),
            "redis": self._line.redis_answers,
        }
        return bool(work is not None and self._is_consuming and self._line.redis_answers), details

    async def run(self) -> None:
        """Works until `stop`, then drains. Raises the first error of a part that cannot go on."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._executor.shutdown, wait=False, cancel_futures=True)
            stack.push_async_callback(self._redis.aclose)
            await let_in(self._connections)
            await stack.enter_async_context(
                serving_health(self._settings.health_port, self.ready, self._settings.health_host)
            )
            loop = asyncio.get_running_loop()
            loading = loop.run_in_executor(self._executor, self._load, self._connections, self._settings)
            if not await self._unless_stopped(loading):
                return
            reasoner, text = loading.result()
            self.work = self._embedding(reasoner)
            log.info("reasoner_loaded", base_id=reasoner.base_id[:16], width=reasoner.width)
            consumer = await stack.enter_async_context(self._consumer())
            await self._run_parts(consumer, self.work, text)

    async def _unless_stopped(self, work: asyncio.Future[Any]) -> bool:
        """Waits for `work`; False when told to stop before it is done."""
        stopping = asyncio.create_task(self._line.stopping.wait())
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return work.done()

    def _embedding(self, reasoner: Encoder) -> Embedding:
        cache = QueryCache(self._redis, self._connections)
        rows = OnlineRows(self._redis, project(self._connections.prefix))
        spaces = QuerySpaces(self._connections.tenant, reasoner.base_id, reasoner.width, cache)
        return Embedding(reasoner, cache, rows, spaces, self._executor, _clock_ms)

    async def _run_parts(self, consumer: Any, work: Embedding, text: Source) -> None:
        reasoner = work.reasoner
        intents = IntentEmbedding(
            self._connections.tenant,
            work.cache,
            self._connections.cache,
            text,
            Source(reasoner.base_id, lambda: reasoner),
            self._executor,
        )
        background = [
            asyncio.create_task(self._follow(topics.MODELS, work.spaces.apply), name="models"),
            asyncio.create_task(self._follow(topics.KB, intents.apply), name="kb"),
            asyncio.create_task(self._report(work), name="report"),
        ]
        line = [
            asyncio.create_task(self._line.read(consumer, work.tally), name="read"),
            asyncio.create_task(self._line.embed(work.process), name="embed"),
            asyncio.create_task(self._line.commit(consumer), name="commit"),
        ]
        try:
            await self._until_stopped([*background, *line])
            await asyncio.wait(line[:2], timeout=self._settings.stop_deadline_s)
        finally:
            for task in [*background, *line]:
                task.cancel()
            await asyncio.gather(*background, *line, return_exceptions=True)
            await self._line.commit_now(consumer)
            log.info("embedder_drained", left=len(self._line.queue))

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        """Waits for `stop`; a part that ends before it takes the role down with its error."""
        stopping = asyncio.create_task(self._line.stopping.wait())
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._line.stopping.is_set():
            for task in done:
                await task
                raise PartEnded(f"the embedder's part {task.get_name()} ended by itself: restart the role")

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Any]:
        consumer: Any = AIOKafkaConsumer(
            **aiokafka_arguments(self._connections),
            group_id=self._connections.named(EMBEDDER_GROUP),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
        )
        consumer.subscribe([self._connections.named(topics.QUERIES.name)], listener=_Revoked(self._line.forget))
        await started(consumer, self._connections)
        self._is_consuming = True
        try:
            yield consumer
        finally:
            self._is_consuming = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), timeout=5.0)

    async def _follow(self, topic: topics.Topic, apply: Callable[[Any], Any]) -> None:
        async def patiently(records: Any) -> None:
            while True:
                try:
                    await apply(records)
                except (RedisError, OSError) as error:
                    raise_if_refused(error)
                    log.warning("redis_away", following=topic.name, error=str(error))
                    await asyncio.sleep(RETRY_S)
                else:
                    return

        await Follower(self._connections, self._connections.named(topic.name), patiently).run()

    async def _report(self, work: Embedding) -> None:
        while True:
            before = work.tally.computed
            await asyncio.sleep(REPORT_EVERY_S)
            tally = work.tally
            rate = (tally.computed - before) / REPORT_EVERY_S
            log.info(
                "queries",
                computed=tally.computed,
                computed_per_s=round(rate, 2),
                cached=tally.cached,
                superseded=tally.superseded,
                dropped=tally.dropped,
                failed=tally.failed,
                queued=len(self._line.queue),
            )


class _Revoked(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the line of partitions that are taken away."""

    def __init__(self, forget: Callable[[set[TopicPartition]], None]) -> None:
        self._forget = forget

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing to do: reading goes on from the committed offset."""


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def _main(connections: Connections, settings: EmbedderSettings) -> None:
    embedder = Embedder(connections, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, embedder.stop)
    await embedder.run()


def main() -> None:
    """Runs an embedder with settings from the environment until SIGTERM; exits 0, or 1 to be restarted.

    The exit is hard: a forward pass in the reasoner's thread cannot be interrupted.
    """
    configure_logging()
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    code = 1
    try:
        asyncio.run(_main(Connections(), EmbedderSettings()))
        code = 0
    except Exception:
        log.exception("embedder_failed")
    finally:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main()
