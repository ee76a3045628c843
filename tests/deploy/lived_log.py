"""A log as the real line leaves it: simulated shoppers' events folded and decided on, their outcomes heard late."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.intent_statistics import StatisticsJob
from deploy.log_reader import whole_topic
from export import session
from features import knowledge
from features.contract import parse, to_ms
from features.decisions import Decision
from features.events import UserEvent
from features.settings import Connections
from stream import topics as named
from stream.app import Worker
from stream.batching import Batch, Record
from stream.policy import PolicySettings
from stream.settings import WorkerSettings
from training.dials import Dials
from training.traffic import LiveShopper, arrivals
from training.visits import Session
from training.words import load_phrases
from training.world import World

PAUSE_MS = 31 * 60_000
"""Between two visits: a session ends, tiles can be closed, and Kafka lets a clock run as far ahead."""
PARTITIONS = range(4)


class Lived:
    """A worker without Faust over real topics, and the shoppers that it decides for."""

    def __init__(self, connections: Connections, bundle: Path) -> None:
        self.connections = connections
        self.start_ms = self.now_ms = time.time_ns() // 1_000_000
        self.policy = PolicySettings(holdout=0.05, floor=0.0, max_per_session=4)
        self.worker = Worker(connections, WorkerSettings(), self.policy, clock=lambda: self.now_ms)
        self.worker.knowledge.kb = knowledge.load()
        self.worker.models.ranker = session.load(bundle)
        self.producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
        self.consumer = KafkaConsumer(bootstrap_servers=connections.kafka_url, enable_auto_commit=False)
        self.positions: dict[TopicPartition, int] = defaultdict(int)
        self.world = World(self.worker.knowledge.kb, load_phrases(), 5, Dials(users=12), haste=4.0)
        self.statistics = StatisticsJob(connections)
        self.epochs: dict[tuple[str, int], int] = {}
        self.shoppers: dict[str, LiveShopper] = {}

    def close(self) -> None:
        self.producer.close()
        self.consumer.close()

    def send(self, topic: named.Topic, key: str, value: bytes) -> None:
        name = self.connections.named(topic.name)
        self.producer.send(name, value, key.encode(), timestamp_ms=self.now_ms)

    def unread(self, topic: named.Topic) -> Iterator[tuple[int, list[Any]]]:
        """The new records of each partition."""
        self.producer.flush(10)
        for number in PARTITIONS:
            place = TopicPartition(self.connections.named(topic.name), number)
            self.consumer.assign([place])
            self.consumer.seek(place, self.positions[place])
            end, found = self.consumer.end_offsets([place])[place], []
            while self.positions[place] < end:
                for record in self.consumer.poll(500).get(place, ()):
                    found.append(record)
                    self.positions[place] = record.offset + 1
            if found:
                yield number, found

    async def take(self, topic: named.Topic, *, is_new: bool) -> None:
        """Gives the new records of a topic to its line; a new worker has nothing in memory."""
        line = self.worker.events if topic is named.EVENTS else self.worker.outcomes
        for number, found in self.unread(topic):
            if is_new or (topic.name, number) not in self.epochs:
                self.epochs[topic.name, number] = (await line.fence.claim(number)).epoch
            records = tuple(Record(r.offset, r.timestamp, r.key, r.value) for r in found)
            epoch = self.epochs[topic.name, number]
            await line.process(Batch(found[0].topic, number, epoch, found[0].offset, records))

    async def live(self, visits: int = 2, sessions: int = 20, batch: int = 25) -> None:
        """A dozen shoppers who come `visits` times, with a pause between; outcomes are heard every third batch only."""
        for visit in range(visits):
            lives = arrivals(self.world, 0.5, self.start_ms + visit * PAUSE_MS, first=visit * sessions)
            events = [event for _ in range(sessions) for event in self.moved_in(next(lives))]
            events.sort(key=lambda event: (event.time, event.id))
            for place in range(0, len(events), batch):
                for event in events[place : place + batch]:
                    self.tell(event)
                await self.take(named.EVENTS, is_new=place // batch % 2 == 0)
                await self.worker.outbox.settled()
                self.answer()
                if place // batch % 3 == 2:
                    await self.take(named.OUTCOMES, is_new=False)
                    await self.count()

    def moved_in(self, visit: Session) -> tuple[UserEvent, ...]:
        shopper = LiveShopper(self.world, visit)
        self.shoppers |= dict.fromkeys((event.id for event in visit.events), shopper)
        return visit.events

    def tell(self, event: UserEvent) -> None:
        """Sends an event at its own time: some twice, some beside bytes that cannot be read."""
        self.now_ms = max(self.now_ms, to_ms(event.time) + 20)
        self.send(named.EVENTS, event.key, event.to_json())
        if event.id.endswith("3"):
            self.send(named.EVENTS, event.key, event.to_json())
            self.send(named.EVENTS, event.key, b"{not json")

    def answer(self) -> None:
        """Shoppers do what they do with the decisions that are new to them."""
        for _, found in self.unread(named.DECISIONS):
            for decision in (parse(Decision, record.value) for record in found):
                for outcome in self.shoppers[decision.trigger_event].on_decision(decision, self.now_ms):
                    self.send(named.OUTCOMES, outcome.key, outcome.to_json())

    async def count(self) -> None:
        """Publishes the intent statistics, and has the worker follow them."""
        await asyncio.to_thread(self.statistics.step, self.now_ms)
        await self.worker.statistics.apply(whole_topic(self.connections, named.INTENT_STATS.name))


async def lived(connections: Connections, bundle: Path) -> Lived:
    """A log that was lived, and what it was lived with."""
    living = Lived(connections, bundle)
    try:
        async with living.worker.outbox, living.worker.redis:
            await living.live()
    finally:
        living.close()
    return living
