"""Quix Streams doing the same aggregation; run by its own interpreter, since its pins clash with ours.

Its fastest documented way to keep a state of ours: bytes in RocksDB (`set_bytes`) rather than JSON, a changelog topic
for durability, one checkpoint a second, and a batching sink that writes each user's last features to Redis in one
pipeline a checkpoint. Both marks are ends of checkpoints. Watermarks are kept in memory: Quix has no state a partition.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import msgspec
from quixstreams import Application, message_context
from quixstreams.checkpointing.checkpoint import Checkpoint
from quixstreams.sinks import BatchingSink, SinkBatch
from redis import Redis

from tests.benchmarks.hand_fold import decoded, features, fold, new_state
from tests.benchmarks.meter import Meter

TTL_MS = 90 * 86_400_000
IDLE_S = 6.0
dumps, loads = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Features(BatchingSink):
    """The last features of each user in a checkpoint."""

    def __init__(self, redis: Any) -> None:
        super().__init__()
        self._redis = redis

    def write(self, batch: SinkBatch) -> None:
        latest = {item.key: item.value for item in batch}
        with self._redis.pipeline(transaction=False) as pipe:
            for user, state in latest.items():
                pipe.set(b"quix:f:" + user, dumps(features(state)), px=TTL_MS)
            pipe.execute()


def main() -> None:
    """Works off a task given as JSON, and prints its block as JSON."""
    task = json.loads(sys.argv[1])
    app = Application(
        broker_address=task["kafka_url"],
        consumer_group=task["group"],
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=task["state_dir"],
        use_changelog_topics=task["is_durable"],
        loglevel="ERROR",
    )
    redis = Redis.from_url(task["redis_url"])
    meter = Meter(task["arm"], task["redis_url"], task["kafka_pid"])
    watermarks: dict[int, int] = {}
    seen = 0
    blocks = []

    def apply(raw: bytes, key: bytes, timestamp: int, headers: Any, state: Any) -> Any:
        nonlocal seen
        seen += 1
        try:
            event, at_ms = decoded(raw, timestamp)
        except (ValueError, KeyError, TypeError):
            return None
        partition = message_context().partition
        watermark_ms = watermarks.get(partition, 0)
        watermarks[partition] = max(watermark_ms, at_ms)
        blob = state.get_bytes("s")
        known = loads(blob) if blob else new_state()
        if not fold(known, event, at_ms, watermark_ms):
            return None
        state.set_bytes("s", dumps(known))
        return known

    commit = Checkpoint.commit

    def committed(checkpoint: Checkpoint, **how: Any) -> None:
        commit(checkpoint, **how)
        if not meter.is_begun and seen >= task["warm"]:
            meter.begin(seen)
        elif meter.is_begun and not blocks and seen >= task["warm"] + task["events"]:
            blocks.append(meter.end(seen))
            app.stop()

    Checkpoint.commit = committed
    topic = app.topic(task["topic"], value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic).apply(apply, stateful=True, metadata=True).filter(lambda known: known is not None)
    frame.sink(Features(redis))
    app.run(timeout=IDLE_S)
    if not blocks:  # the log ended first
        meter.is_begun or meter.begin(seen)
        blocks.append(meter.end(seen))
    print(json.dumps(dataclasses.asdict(blocks[0])))  # noqa: T201


if __name__ == "__main__":
    main()
