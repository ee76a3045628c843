"""The log as Kafka has it: the exact offsets of a window, and the records between two offsets, in order."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from features.contract import from_ms
from features.kafka_client import open_kafka
from features.settings import Connections
from training.log_files import ReplayError, Source
from training.window import TOPICS, Window

log = structlog.get_logger(__name__)

POLL_MS = 200
Spans = dict[int, tuple[int, int]]
"""{partition: (first, end)}; end is exclusive."""


class LogSource:
    """A reader by assignment, without a consumer group: nobody else notices. Made by `opened`."""

    def __init__(self, consumer: Any, connections: Connections, deadline_s: float) -> None:
        self._consumer = consumer
        self._connections = connections
        self._deadline_s = deadline_s

    def spans(self, source: Source, window: Window) -> Spans:
        """Which offsets of each partition the window means. Raises `ReplayError` for what is not in the log."""
        topic = self._connections.named(TOPICS[source])
        numbers = self._consumer.partitions_for_topic(topic)
        if not numbers:
            raise ReplayError(f"found no topic {topic}; expected it to be there: run `rgalign topics create`")
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        oldest, newest = self._consumer.beginning_offsets(places), self._consumer.end_offsets(places)
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
        found = self._consumer.offsets_for_times(dict.fromkeys(places, max(at_ms, 0)))
        return {place: found[place].offset if found.get(place) else newest[place] for place in places}

    def records(
        self, source: Source, partition: int, span: tuple[int, int], moved: Callable[[int], None]
    ) -> Iterator[Any]:
        """The records of a span in order of offset; `moved` hears how many offsets were passed since it last did.

        Raises `ReplayError` when Kafka says nothing for the deadline, or when retention overtakes the reader.
        """
        place, (position, end) = TopicPartition(self._connections.named(TOPICS[source]), partition), span
        self._consumer.assign([place])
        self._consumer.seek(place, position)
        moved_s = time.monotonic()
        while position < end:
            yield from (record for record in self._polled(place, position) if record.offset < end)
            now_at = min(self._consumer.position(place), end)  # also moves over transaction marks
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
            found: Sequence[Any] = self._consumer.poll(timeout_ms=POLL_MS).get(place, ())
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise ReplayError(
                f"{_at(place, position)} is gone: retention deleted it while it was to be read; "
                "replay again with a later --since"
            ) from error
        return found


@contextmanager
def opened(connections: Connections, deadline_s: float) -> Iterator[LogSource]:
    """A `LogSource`, closed at the end. Raises `ReplayError` for whatever Kafka refuses or leaves unanswered."""
    consumer = _consumer(connections, deadline_s)
    try:
        yield LogSource(consumer, connections, deadline_s)
    except KafkaError as error:
        raise ReplayError(f"Kafka at {connections.kafka_url} answered {error!r}: check KAFKA_URL and retry") from error
    finally:
        consumer.close()


def _consumer(connections: Connections, deadline_s: float) -> KafkaConsumer:
    servers = connections.kafka_url.split(",")
    give_up_s = time.monotonic() + deadline_s
    while not any(map(_listens, servers)):
        if time.monotonic() > give_up_s:
            raise ReplayError(_away(connections, deadline_s))
        time.sleep(0.1)
    try:
        return open_kafka(
            KafkaConsumer,
            connections,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a reader that retention overtakes must say so, never jump ahead
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(deadline_s * 1000),
            isolation_level="read_committed",
            max_poll_records=2_000,
        )
    except KafkaError as error:
        raise ReplayError(_away(connections, deadline_s)) from error


def _listens(server: str) -> bool:
    """Asked first, because a consumer whose bootstrap fails leaks its socket."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except OSError:
        return False


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
