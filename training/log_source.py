"""The log as Kafka has it: the exact offsets of a window, and the records between two offsets, in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from features.contract import from_ms
from features.kafka_access import is_admitted
from features.kafka_client import aiokafka_arguments
from features.settings import Connections
from training.log_files import ReplayError, Source
from training.window import TOPICS, Window

Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)

POLL_MS = 200
FETCH_BYTES = 4 * 1024 * 1024
Spans = dict[int, tuple[int, int]]
"""{partition: (first, end)}; end is exclusive."""


class LogSource:
    """A reader by assignment, without a consumer group: nobody else notices. Made by `opened`."""

    def __init__(self, consumer: Any, ask: _Loop, connections: Connections, deadline_s: float) -> None:
        self._consumer = consumer
        self._ask = ask
        self._connections = connections
        self._deadline_s = deadline_s

    def spans(self, source: Source, window: Window) -> Spans:
        """Which offsets of each partition the window means. Raises `ReplayError` for what is not in the log."""
        topic = self._connections.named(TOPICS[source])
        numbers = self._ask(_partitions(self._consumer, topic))
        if not numbers:
            raise ReplayError(f"found no topic {topic}; expected it to be there: run `rgalign topics create`")
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        oldest = self._ask(self._consumer.beginning_offsets(places))
        newest = self._ask(self._consumer.end_offsets(places))
        if window.offsets is not None:
            return _asked(topic, window.offsets.get(source, {}), oldest, newest)
        first = self._at_time(places, window.since_ms, oldest, newest)
        end = self._at_time(places, window.until_ms, newest, newest)
        _tell_what_is_gone(window, first, end, oldest)
        return {place.partition: (first[place], max(first[place], end[place])) for place in places}

    def _at_time(
        self, places: Sequence[Any], at_ms: int | None, without: Mapping[Any, int], newest: Mapping[Any, int]
    ) -> dict[Any, int]:
        if at_ms is None:
            return dict(without)
        found = self._ask(self._consumer.offsets_for_times(dict.fromkeys(places, max(at_ms, 0))))
        return {place: found[place].offset if found.get(place) else newest[place] for place in places}

    def records(
        self, source: Source, partition: int, span: tuple[int, int], moved: Callable[[int], None]
    ) -> Iterator[Any]:
        """The records of a span in order of offset; `moved` hears how many offsets were passed since it last did.

        Raises `ReplayError` when Kafka says nothing for the deadline, or when retention overtakes the reader.
        """
        place, (position, end) = TopicPartition(self._connections.named(TOPICS[source]), partition), span
        self._ask(_placed(self._consumer, place, position))
        moved_s = time.monotonic()
        while position < end:
            yield from (record for record in self._polled(place, position) if record.offset < end)
            now_at = min(self._ask(self._consumer.position(place)), end)  # also moves over transaction marks
            if now_at > position:
                moved(now_at - position)
                position, moved_s = now_at, time.monotonic()
            elif time.monotonic() - moved_s > self._deadline_s:
                raise ReplayError(
                    f"Kafka at {self._connections.kafka_url} sent nothing for {self._deadline_s:g} s; expected "
                    f"{_at(place, position)} to {end}: is the broker up? Replay again when it is"
                )

    def _polled(self, place: Any, position: int) -> Sequence[Any]:
        try:
            found: Sequence[Any] = self._ask(self._consumer.getmany(place, timeout_ms=POLL_MS)).get(place, ())
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise ReplayError(
                f"{_at(place, position)} is gone: retention deleted it while it was to be read; "
                "replay again with a later --since"
            ) from error
        return found


@contextmanager
def opened(connections: Connections, deadline_s: float) -> Iterator[LogSource]:
    """A `LogSource`, closed at the end. Raises `ReplayError` for whatever Kafka refuses or leaves unanswered."""
    with _Loop(deadline_s).running() as ask:
        consumer = ask(_started(connections, deadline_s))
        try:
            yield LogSource(consumer, ask, connections, deadline_s)
        except (KafkaError, TimeoutError) as error:
            raise ReplayError(
                f"Kafka at {connections.kafka_url} answered {error!r}: check KAFKA_URL and retry"
            ) from error
        finally:
            ask(consumer.stop())


class _Loop:
    """An event loop in a thread of its own, so that a plain function can wait for what happens in it."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._loop = asyncio.new_event_loop()

    def __call__(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """What the coroutine returns or raises; TimeoutError somewhat after the deadline."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(self._deadline_s + 10)

    @contextmanager
    def running(self) -> Iterator[_Loop]:
        thread = threading.Thread(target=self._loop.run_forever, name="log-source", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """The partitions of a topic; none for one that is not there (which is never asked for, lest it be created)."""
    if topic not in await consumer.topics():
        return set()
    first = TopicPartition(topic, 0)
    consumer.assign([first])
    await consumer.beginning_offsets([first])  # waits until the consumer knows the topic that it was assigned
    return set(consumer.partitions_for_topic(topic) or ())


async def _placed(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> None:
    """Moves to an offset, in the thread of the consumer's loop."""
    consumer.assign([place])
    consumer.seek(place, offset)


async def _started(connections: Connections, deadline_s: float) -> AIOKafkaConsumer:
    arguments = aiokafka_arguments(connections)
    give_up_s = time.monotonic() + deadline_s
    while not await is_admitted(arguments):
        if time.monotonic() > give_up_s:
            raise ReplayError(_away(connections, deadline_s))
        await asyncio.sleep(0.1)
    consumer = AIOKafkaConsumer(
        **aiokafka_arguments(connections),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",  # a reader that retention overtakes must say so, never jump ahead
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        await consumer.start()
    except KafkaError as error:
        await consumer.stop()
        raise ReplayError(_away(connections, deadline_s)) from error
    return consumer


def _away(connections: Connections, deadline_s: float) -> str:
    return (
        f"Kafka at {connections.kafka_url} did not answer within {deadline_s:g} s: is it running? "
        "`rgalign dev status` tells; KAFKA_URL names another one"
    )


def _asked(
    topic: str, asked: Mapping[int, tuple[int, int]], oldest: Mapping[Any, int], newest: Mapping[Any, int]
) -> Spans:
    for number, (first, end) in asked.items():
        place = TopicPartition(topic, number)
        if place not in oldest:
            raise ReplayError(
                f"{topic} has partitions 0 to {len(oldest) - 1}, but offsets of [{number}] were asked for"
            )
        if first < end and not oldest[place] <= first <= end <= newest[place]:
            raise ReplayError(
                f"{topic}[{number}] holds offsets {oldest[place]} to {newest[place]}, but {first} to {end} were asked "
                "for: what is older, retention deleted; ask for offsets between the two"
            )
    return {number: (first, end) for number, (first, end) in sorted(asked.items())}


def _tell_what_is_gone(
    window: Window, first: Mapping[Any, int], end: Mapping[Any, int], oldest: Mapping[Any, int]
) -> None:
    """Raises `ReplayError` for a window wholly out of retention; warns of one that may have lost its beginning."""
    cut = [place for place in first if first[place] == oldest[place] > 0]
    if window.until_ms is not None and cut and all(end[place] <= first[place] for place in first):
        raise ReplayError(
            f"{cut[0].topic} holds nothing from before {from_ms(window.until_ms).isoformat()}: retention deleted it; "
            "ask for a later --until, or leave out both times to replay what is kept"
        )
    for place in cut:
        if window.since_ms is not None:
            log.warning("replay_begins_at_the_oldest_record_kept", at=_at(place, oldest[place]))


def _at(place: Any, offset: int) -> str:
    return f"{place.topic}[{place.partition}]@{offset}"
