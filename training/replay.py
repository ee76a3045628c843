"""The only road to training: a window of the log as Parquet files, byte-identical every time it is replayed.

How the files look is in `training.log_files`. The folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from features.contract import from_ms
from features.settings import Connections
from training.log_files import (
    DayFile,
    Replayed,
    ReplayError,
    Source,
    manifest,
    prompts,
    publish,
    read,
    refuse_foreign,
    row_of,
)

__all__ = ["ReplayError", "Replayed", "Source", "Window", "manifest", "prompts", "read", "replay"]

Progress = Callable[[int, int], None]
"""Called with (records read, records in the window)."""

TOPICS: Mapping[Source, str] = {
    "events": "shop.user.events.v1",
    "decisions": "rgalign.decisions.v1",
    "outcomes": "rgalign.outcomes.v1",
    "queries": "rgalign.queries.requested.v1",
}
POLL_MS = 200


@dataclass(frozen=True, slots=True)
class Window:
    """What to replay: records with since_ms <= timestamp < until_ms, or exact offsets, which then rule alone.

    None = from the oldest record kept, up to the newest at the start of the replay. `offsets` is
    {source: {partition: (first, end)}}, as a `Replayed` holds it; end is exclusive.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    offsets: Mapping[Source, Mapping[int, tuple[int, int]]] | None = None


def replay(
    connections: Connections,
    out: Path,
    window: Window = Window(),
    *,
    progress: Progress = lambda done, total: None,
    deadline_s: float = 30.0,
) -> Replayed:
    """Writes the window to the folder `out`, replacing what an earlier replay put there.

    Reads by assignment, without a consumer group: nobody else notices. Raises `ReplayError` when Kafka says nothing
    for `deadline_s`, a topic is missing, or asked-for offsets are no longer (or not yet) in the log.
    """
    refuse_foreign(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with closing(_consumer(connections, deadline_s)) as consumer:
        try:
            spans = {source: _span(consumer, connections.named(TOPICS[source]), source, window) for source in TOPICS}
            told = Replayed(offsets=spans)
            reading = _Reading(consumer, connections, deadline_s, progress, _size(spans))
            for source in TOPICS:
                _write_source(reading, partial, source, told)
        except KafkaError as error:
            raise ReplayError(
                f"Kafka at {connections.kafka_url} answered {error!r}: check KAFKA_URL and retry"
            ) from error
    publish(partial, out, told)
    return told


def _consumer(connections: Connections, deadline_s: float) -> KafkaConsumer:
    servers = connections.kafka_url.split(",")
    give_up_s = time.monotonic() + deadline_s
    while not any(map(_listens, servers)):
        if time.monotonic() > give_up_s:
            raise ReplayError(_away(connections, deadline_s))
        time.sleep(0.1)
    try:
        return KafkaConsumer(
            bootstrap_servers=servers,
            group_id=None,
            enable_auto_commit=False,
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


def _span(consumer: KafkaConsumer, topic: str, source: Source, window: Window) -> dict[int, tuple[int, int]]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise ReplayError(f"found no topic {topic}; expected it to be there: run `rgalign topics create`")
    places = [TopicPartition(topic, number) for number in sorted(numbers)]
    oldest, newest = consumer.beginning_offsets(places), consumer.end_offsets(places)
    if window.offsets is not None:
        return _asked(topic, window.offsets.get(source, {}), oldest, newest)
    first = _at_time(consumer, places, window.since_ms, oldest, newest)
    end = _at_time(consumer, places, window.until_ms, newest, newest)
    return {place.partition: (first[place], max(first[place], end[place])) for place in places}


def _asked(
    topic: str, asked: Mapping[int, tuple[int, int]], oldest: Mapping[Any, int], newest: Mapping[Any, int]
) -> dict[int, tuple[int, int]]:
    for number, (first, end) in asked.items():
        place = TopicPartition(topic, number)
        kept = (oldest.get(place, 0), newest.get(place, 0))
        if first < end and not kept[0] <= first <= end <= kept[1]:
            raise ReplayError(
                f"{topic}[{number}] holds offsets {kept[0]} to {kept[1]}, but {first} to {end} were asked for: "
                "ask for a window within the topic's retention"
            )
    return {number: (first, end) for number, (first, end) in sorted(asked.items())}


def _at_time(
    consumer: KafkaConsumer, places: list[Any], at_ms: int | None, without: Mapping[Any, int], newest: Mapping[Any, int]
) -> dict[Any, int]:
    if at_ms is None:
        return dict(without)
    found = consumer.offsets_for_times(dict.fromkeys(places, at_ms))
    return {place: found[place].offset if found.get(place) else newest[place] for place in places}


def _size(spans: Mapping[Source, Mapping[int, tuple[int, int]]]) -> int:
    return sum(end - first for by in spans.values() for first, end in by.values())


@dataclass
class _Reading:
    """One pass over the log that must not stall."""

    consumer: KafkaConsumer
    connections: Connections
    deadline_s: float
    progress: Progress
    total: int
    done: int = 0

    def records(self, source: Source, spans: Mapping[int, tuple[int, int]]) -> Iterator[Any]:
        """The records of the spans, partition by partition, in order of offset."""
        topic = self.connections.named(TOPICS[source])
        for number, (first, end) in spans.items():
            if first < end:
                yield from self._partition(TopicPartition(topic, number), first, end)

    def _partition(self, place: Any, first: int, end: int) -> Iterator[Any]:
        self.consumer.assign([place])
        self.consumer.seek(place, first)
        position, moved_s = first, time.monotonic()
        while position < end:
            for record in self.consumer.poll(timeout_ms=POLL_MS).get(place, ()):
                if record.offset < end:
                    yield record
            now_at = self.consumer.position(place)  # also moves over transaction marks and compacted records
            if now_at > position:
                self.done += min(now_at, end) - position
                position, moved_s = now_at, time.monotonic()
                self.progress(self.done, self.total)
            elif time.monotonic() - moved_s > self.deadline_s:
                raise ReplayError(
                    f"Kafka at {self.connections.kafka_url} sent nothing for {self.deadline_s:g} s; expected "
                    f"{place.topic}[{place.partition}]@{position} to {end}: is the broker up? Replay again when it is"
                )


def _write_source(reading: _Reading, partial: Path, source: Source, told: Replayed) -> None:
    (partial / source).mkdir(parents=True)
    days: dict[str, DayFile] = {}
    told.records[source] = told.faulty[source] = 0
    try:
        for record in reading.records(source, told.offsets[source]):
            row = row_of(source, record)
            told.records[source] += 1
            told.faulty[source] += row["fault"] is not None
            dt = from_ms(record.timestamp).date().isoformat()
            if dt not in days:
                days[dt] = DayFile(partial / source / f"dt={dt}")
            days[dt].add(row)
    finally:
        for day in days.values():
            day.close()
