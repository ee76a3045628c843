"""The fault experiments by number, as reliability.md lists them, and the mutants that must turn some of them red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import rows_brokers, rows_log, rows_reasoner, rows_replay, rows_store, rows_workers
from tests.faults.arena import Finding, Trial


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment: its number, what happens, on how many brokers."""

    number: int
    fault: str
    run: Callable[[Trial], Finding]
    brokers: int = 1


ROWS: dict[int, Row] = {
    row.number: row
    for row in (
        Row(1, "kill -9 at random points", rows_workers.kill_at_random),
        Row(2, "kill at every failpoint", rows_workers.kill_at_every_failpoint),
        Row(3, "zombie beyond the session timeout", rows_workers.zombie),
        Row(4, "short pauses", rows_workers.short_pauses),
        Row(5, "broker down and up", rows_brokers.broker_down),
        Row(6, "rebalance storm", rows_workers.rebalance_storm),
        Row(7, "commits of offsets fail", rows_brokers.commits_fail),
        Row(8, "Redis down and up", rows_store.store_down),
        Row(9, "Redis flushed", rows_store.store_flushed),
        Row(10, "Redis crashed, file cut", rows_store.store_crashed),
        Row(11, "Redis slow or silent", rows_store.store_slow),
        Row(12, "Redis full", rows_store.store_full),
        Row(13, "duplicates", rows_log.duplicates),
        Row(14, "any order and date", rows_log.any_order),
        Row(15, "a worker's clock jumps", rows_log.clock_jumps),
        Row(16, "poison", rows_log.poison),
        Row(21, "the reasoner fails", rows_reasoner.reasoner_fails),
        Row(22, "the reasoner is slow", rows_reasoner.reasoner_slow),
        Row(23, "replay from offset 0", rows_replay.replayed),
        Row(25, "one of three brokers killed", rows_brokers.one_of_three, brokers=3),
        Row(26, "two of three brokers killed", rows_brokers.two_of_three, brokers=3),
    )
}
MUTANTS = {3: "no_fence", 13: "no_dedupe", 16: "no_dlq"}
"""Which safeguard is taken away to see the row fail."""
