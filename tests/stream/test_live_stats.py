"""The statistics in force: always one whole snapshot, the newest."""

from __future__ import annotations

from types import SimpleNamespace

from features.contract import from_ms
from features.notices import IntentStats
from stream.live_stats import LiveStatistics

DAY_MS = 86_400_000


def told(version: str, intent_id: str, *, day: int = 1, intents: int = 2, tenant: str = "demo") -> SimpleNamespace:
    stats = IntentStats(
        tenant=tenant,
        intent_id=intent_id,
        version=version,
        until=from_ms(1_767_225_600_000 + day * DAY_MS),
        shown=9,
        clicked=3,
        dismissed=0,
        click_rate=0.3,
        intents=intents,
    )
    return record(stats.to_json())


def record(value: bytes | None) -> SimpleNamespace:
    return SimpleNamespace(topic="t", partition=0, offset=0, value=value)


async def test_a_snapshot_is_in_force_once_all_of_it_was_read() -> None:
    live = LiveStatistics("demo")
    await live.apply([told("v1", "a")])
    assert (live.version, dict(live.intents)) == ("none", {})
    await live.apply([told("v1", "a"), told("v1", "b")])
    assert (live.version, sorted(live.intents)) == ("v1", ["a", "b"])
    await live.apply([told("v2", "b", day=2), record(None)])
    assert live.version == "v1"
    await live.apply([told("v2", "c", day=2)])
    assert (live.version, sorted(live.intents)) == ("v2", ["b", "c"])


async def test_an_older_snapshot_another_tenant_and_what_cannot_be_read_change_nothing() -> None:
    live = LiveStatistics("demo")
    await live.apply([told("v2", "a", day=2, intents=1)])
    for other in (told("v1", "a", intents=1), told("v3", "a", day=3, intents=1, tenant="x"), record(b"{not json")):
        await live.apply([other])
    assert live.version == "v2"
