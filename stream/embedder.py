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
from typing import Any

import structlog
from redis.exceptions import RedisError

from features.models import chosen_reasoner, ensure_text_encoder
from features.querycache import QueryCache
from features.reasoner import CPU_BATCH, GPU_BATCH, Encoder, TextEncoder, open_reasoner, text_encoder_id
from features.reasoner_settings import ReasonerSettings
from features.redis_access import raise_if_refused
from features.redis_client import open_redis
from features.settings import Connections
from features.store import OnlineRows
from features.vectors import Source
from features.views import project
from stream import topics
from stream.announcing import Announcer
from stream.connecting import let_in
from stream.embedder_watch import STALENESS_SLO_S, EmbedderWatch, oldest_wait_s
from stream.embedding import Embedding
from stream.encoding import Encoding
from stream.follower import Follower
from stream.intent_embedding import IntentEmbedding
from stream.outbox import Outbox
from stream.query_spaces import QuerySpaces
from stream.reasoner_thread import ReasonerThread
from stream.refresh_consumer import reading_requests
from stream.refresh_line import RETRY_S, RefreshLine
from stream.settings import EmbedderSettings
from stream.telemetry import configure_logging, serving_health

log = structlog.get_logger(__name__)

NICENESS = 10
"""Where cores are shared, latent queries wait for events and not events for latent queries."""


class PartEnded(RuntimeError):
    """A part of the embedder ended without an error and without being told to."""


Loader = Callable[[Connections], tuple[Encoder, Source]]
"""Gives the reasoner, loaded, and the text encoder, to be loaded if an intent is new."""


def load_models(connections: Connections) -> tuple[Encoder, Source]:
    """The models that the environment asks for (`ReasonerSettings`), fetched if absent. Slow: call it in a thread.

    Raises `NoSuchBackend` and `NoParity`: what was asked for runs, or nothing does.
    """
    text, asked = ensure_text_encoder(connections.cache), ReasonerSettings(cache=connections.cache)
    reasoner = open_reasoner(chosen_reasoner(connections.cache, asked.folder), asked)
    return reasoner, Source(text_encoder_id(text), lambda: TextEncoder(text, threads=asked.threads))


class Embedder:
    """One embedder: reads requests, embeds them, follows releases and the knowledge base, tells its health."""

    def __init__(self, connections: Connections, settings: EmbedderSettings, load: Loader = load_models) -> None:
        self._connections = connections
        self._settings = settings
        self._load = load
        self._thread = ReasonerThread(settings.batch_deadline_s)
        self._line = RefreshLine(_clock_ms)
        self._is_consuming = False
        self.work: Embedding | None = None
        self._redis: Any = open_redis(connections)
        self._outbox = Outbox(connections)

    def stop(self) -> None:
        """Reads no more; what waits is finished within the drain's deadline."""
        self._line.stop()

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether latent queries are being made: the reasoner loaded, the topic consumed, Redis answering."""
        work = self.work
        space = None if work is None else work.spaces.serving
        reasoner = None if work is None else work.reasoner
        details: dict[str, object] = {
            "reasoner": None if reasoner is None else reasoner.base_id[:16],
            "provider": getattr(reasoner, "provider", None),
            "serving_space": None if space is None else space.space_id[:16],
            "queued": len(self._line.queue),
            "oldest_wait_s": round(oldest_wait_s(self._line, _clock_ms()), 1),
            "staleness_slo_s": STALENESS_SLO_S,
            "redis": self._line.redis_answers,
        }
        return bool(work is not None and self._is_consuming and self._line.redis_answers), details

    async def run(self) -> None:
        """Works until `stop`, then drains. Raises the first error of a part that cannot go on."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._thread.close)
            stack.push_async_callback(self._redis.aclose)
            await let_in(self._connections)
            await stack.enter_async_context(
                serving_health(self._settings.health_port, self.ready, self._settings.health_host)
            )
            loading = self._thread.begin(self._load, self._connections)
            if not await self._unless_stopped(loading):
                return
            await stack.enter_async_context(self._outbox)
            shared = (topics.QUERIES, topics.REFRESHED)
            await self._outbox.agree([self._connections.named(topic.name) for topic in shared])
            reasoner, text = loading.result()
            if not is_on_gpu(reasoner):
                self._thread.go_last()
            self.work = self._embedding(reasoner)
            provider = getattr(reasoner, "provider", None)
            log.info("reasoner_loaded", base_id=reasoner.base_id[:16], width=reasoner.width, provider=provider)
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
        encoding = Encoding(reasoner, self._thread, most_at_once(reasoner))
        announcer = Announcer(self._outbox, self._connections.named(topics.REFRESHED.name))
        return Embedding(encoding, cache, rows, spaces, _clock_ms, announcer.tell)

    async def _run_parts(self, consumer: Any, work: Embedding, text: Source) -> None:
        reasoner = work.reasoner
        intents = IntentEmbedding(
            self._connections.tenant,
            work.cache,
            self._connections.cache,
            text,
            Source(reasoner.base_id, lambda: reasoner),
            self._thread,
        )
        background = [
            asyncio.create_task(self._follow(topics.MODELS, work.spaces.apply), name="models"),
            asyncio.create_task(self._follow(topics.KB, intents.apply), name="kb"),
            asyncio.create_task(intents.run(), name="intents"),
            asyncio.create_task(EmbedderWatch(self._line, work, consumer, _clock_ms).run(), name="watch"),
        ]
        line = [
            asyncio.create_task(self._line.read(consumer, work.tally), name="read"),
            asyncio.create_task(self._line.embed(work.process, work.encoding.most, work.tally), name="embed"),
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
        async with reading_requests(self._connections, self._line.forget) as consumer:
            self._is_consuming = True
            try:
                yield consumer
            finally:
                self._is_consuming = False

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


def most_at_once(reasoner: Encoder) -> int:
    """How many prompts go into one call: many on a GPU, few on a CPU, where users would only wait for each other."""
    return GPU_BATCH if is_on_gpu(reasoner) else CPU_BATCH


def is_on_gpu(reasoner: Encoder) -> bool:
    """Whether CUDA runs it."""
    return "cuda" in str(getattr(reasoner, "provider", "")).lower()


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
    os.nice(NICENESS)
    if hasattr(os, "SCHED_BATCH"):  # whoever wakes up so interrupts nobody
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
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
