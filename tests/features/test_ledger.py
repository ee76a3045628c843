"""The ledger against a real Valkey: all or nothing, once, by the newest owner only."""

import asyncio
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from features.ledger import Claim, Counts, Fenced, Ledger, LedgerRefusal, Overlap, Replayed, StoreLost


def new_ledger(client, prefix=""):
    return Ledger(client, "shop.user.events.v1", prefix or f"t{uuid4().hex[:12]}")


@pytest.fixture
async def client(redis_url):
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def ledger(client):
    return new_ledger(client)


async def commit(ledger, claim, first, last, states=None, counts=None):  # noqa: PLR0917
    counts = counts or Counts(applied=last - first + 1)
    return await ledger.commit(0, claim.epoch, first, last, states or {}, counts, watermark_ms=last * 1000)


async def test_a_fresh_partition_has_applied_nothing(ledger):
    claim = await ledger.claim(0)
    assert (claim.applied, claim.watermark_ms) == (-1, 0)
    assert await ledger.applied(0) == -1
    assert await ledger.load(0, ["demo:a"]) == [None]
    assert await ledger.load(0, []) == []


async def test_a_commit_changes_state_offset_watermark_counts_and_outbox_together(ledger):
    claim = await ledger.claim(0)
    counts = Counts(applied=2, late=1, duplicate=1, dead_lettered=1)
    assert (await commit(ledger, claim, 0, 4, {"demo:a": b"A", "demo:b": b"\xff\x00"}, counts)).offset == 4
    assert await ledger.load(0, ["demo:b", "demo:c", "demo:a"]) == [b"\xff\x00", None, b"A"]
    assert sorted(await ledger.dirty(0)) == ["demo:a", "demo:b"]
    assert await ledger.totals([0]) == counts
    later = await ledger.claim(0)
    assert (later.applied, later.watermark_ms) == (4, 4000)


async def test_partitions_do_not_touch_each_other(ledger):
    zero, one = await ledger.claim(0), await ledger.claim(1)
    await commit(ledger, zero, 0, 9, {"demo:a": b"zero"})
    await ledger.commit(1, one.epoch, 0, 4, {"demo:a": b"one"}, Counts(applied=5), 0)
    assert await ledger.load(1, ["demo:a"]) == [b"one"]
    assert (await ledger.totals([0, 1])).applied == 15


async def test_a_replayed_batch_is_refused_and_its_records_counted(ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 0, 4, {"demo:a": b"A"})
    with pytest.raises(Replayed, match=r"@2\.\.4: offset 4 is applied already"):
        await commit(ledger, claim, 2, 4, {"demo:a": b"again"})
    assert await ledger.load(0, ["demo:a"]) == [b"A"]
    assert await ledger.totals([0]) == Counts(applied=5, replayed=3)


async def test_a_batch_that_begins_in_the_past_names_the_offset_to_trim_to(ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 0, 4)
    with pytest.raises(Overlap) as caught:
        await commit(ledger, claim, 3, 7, {"demo:a": b"A"})
    assert caught.value.applied == 4
    await commit(ledger, claim, caught.value.applied + 1, 7, {"demo:a": b"A"})
    assert (await ledger.totals([0])).records == 8


async def test_a_zombie_is_fenced_and_counted_and_changes_nothing(client, ledger):
    zombie = await ledger.claim(0)
    owner = Ledger(client, ledger._topic, ledger._root.removesuffix(".rgalign:ledger"))
    claim = await owner.claim(0)
    assert claim.epoch > zombie.epoch
    await commit(owner, claim, 0, 4, {"demo:a": b"new"})
    with pytest.raises(Fenced, match="another worker owns it"):
        await commit(ledger, zombie, 5, 9, {"demo:a": b"old"})
    await ledger.clean(0, ["demo:a"], through=99)
    assert await ledger.load(0, ["demo:a"]) == [b"new"]
    assert await ledger.dirty(0) == ["demo:a"]
    assert await ledger.totals([0]) == Counts(applied=5, fenced=1)


async def test_a_flushed_store_is_noticed_and_claimed_anew_with_a_greater_epoch(client, ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 0, 4, {"demo:a": b"A"})
    await drop_keys(client, ledger)
    with pytest.raises(StoreLost, match="flushed; claim again"):
        await commit(ledger, claim, 5, 9, {"demo:a": b"B"})
    assert await ledger.load(0, ["demo:a"]) == [None]
    again = await ledger.claim(0)
    assert again.applied == -1
    assert again.epoch > claim.epoch


async def test_a_store_that_went_back_in_time_is_noticed(client, ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 0, 4)
    copy = await client.dump(ledger._meta(0))
    await commit(ledger, claim, 5, 9)
    await client.restore(ledger._meta(0), 0, copy, replace=True)
    with pytest.raises(StoreLost, match="went back to offset 4"):
        await commit(ledger, claim, 10, 12)


async def test_a_store_that_forgot_the_claim_itself_went_back_in_time(client, ledger):
    await ledger.claim(0)
    copy = await client.dump(ledger._meta(0))
    claim = await ledger.claim(0)
    await client.restore(ledger._meta(0), 0, copy, replace=True)
    with pytest.raises(StoreLost, match="went back to offset -1"):
        await commit(ledger, claim, 0, 2)
    assert (await ledger.totals([0])).fenced == 0


async def test_offsets_may_have_gaps_as_a_compacted_or_transactional_log_has(ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 7, 9, counts=Counts(applied=3))
    await commit(ledger, claim, 12, 20, counts=Counts(applied=4))
    assert await ledger.applied(0) == 20


async def test_a_projected_user_leaves_the_outbox_unless_touched_again_since(ledger):
    claim = await ledger.claim(0)
    await commit(ledger, claim, 0, 4, {"demo:a": b"A", "demo:b": b"B"})
    await commit(ledger, claim, 5, 9, {"demo:b": b"B2"})
    await ledger.clean(0, ["demo:a", "demo:b"], through=4)
    assert await ledger.dirty(0) == ["demo:b"]
    await ledger.clean(0, ["demo:b"])
    assert await ledger.dirty(0) == []


async def test_cleaning_without_a_claim_says_what_to_do(ledger):
    with pytest.raises(Fenced, match=r"call claim\(\)"):
        await ledger.clean(0, ["demo:a"])


async def test_states_expire_and_the_partition_itself_does_not(client):
    ledger = Ledger(client, "shop.user.events.v1", f"t{uuid4().hex[:12]}", ttl_s=60)
    await commit(ledger, await ledger.claim(0), 0, 0, {"demo:a": b"A"})
    assert 0 < await client.pttl(ledger._state(0, "demo:a")) <= 60_000
    assert await client.pttl(ledger._meta(0)) == -1


async def test_a_large_batch_is_one_call(ledger):
    claim = await ledger.claim(0)
    states = {f"demo:u{place}": b"x" * 100 for place in range(5000)}
    await commit(ledger, claim, 0, 4999, states)
    assert len(await ledger.dirty(0)) == 5000


async def test_all_keys_of_a_partition_share_one_hash_tag(client, ledger):
    await commit(ledger, await ledger.claim(0), 0, 0, {"demo:a{b}": b"A"})
    keys = await client.keys(f"{ledger._root}:*")
    slots = {key.decode().split("{", 1)[1].split("}", 1)[0] for key in keys}
    assert slots == {"shop.user.events.v1:0"}
    assert len(keys) == 3


async def test_racing_claimants_get_different_epochs_and_one_of_them_commits(client):
    prefix = f"t{uuid4().hex[:12]}"
    racers = [new_ledger(client, prefix) for _ in range(8)]
    claims = await asyncio.gather(*(racer.claim(0) for racer in racers))
    assert len({claim.epoch for claim in claims}) == 8
    ends = await asyncio.gather(
        *(commit(racer, claim, 0, 4, {"demo:a": b"A"}) for racer, claim in zip(racers, claims, strict=True)),
        return_exceptions=True,
    )
    assert sum(isinstance(end, Fenced) for end in ends) == 7
    assert await racers[0].totals([0]) == Counts(applied=5, fenced=7)


async def drop_keys(client, ledger):
    for key in await client.keys(f"{ledger._root}:*"):
        await client.delete(key)


@dataclass
class Worker:
    """A sans-I/O sketch of a worker: it holds what it claimed, and reads on from there."""

    ledger: Ledger
    claim: Claim | None = None
    next_offset: int = 0


@dataclass
class Log:
    """What the test knows: every record appends itself to its user's state."""

    records: list[str] = field(default_factory=lambda: [f"demo:u{place % 3}" for place in range(40)])

    def state(self, user, last):
        return b"".join(b"%d," % place for place in range(last + 1) if self.records[place] == user)


async def step(worker, log, size):
    """One batch, as a worker does it: load, fold, commit; a refusal makes it claim again."""
    if worker.claim is None:
        worker.claim = await worker.ledger.claim(0)
        worker.next_offset = worker.claim.applied + 1
        return 0, 0
    first, last = worker.next_offset, min(worker.next_offset + size, len(log.records)) - 1
    if first > last:
        return 0, 0
    users = sorted(set(log.records[first : last + 1]))
    old = await worker.ledger.load(0, users)
    states = {user: blob or b"" for user, blob in zip(users, old, strict=True)}
    for place in range(first, last + 1):
        states[log.records[place]] += b"%d," % place
    try:
        await commit(worker.ledger, worker.claim, first, last, states)
    except Replayed:
        worker.next_offset = last + 1
        return last - first + 1, 0
    except Overlap as overlap:
        worker.next_offset = overlap.applied + 1
        return 0, 0
    except Fenced:
        worker.claim = None
        return 0, 1
    worker.next_offset = last + 1
    return 0, 0


ACTIONS = st.lists(st.tuples(st.sampled_from(["step", "step", "step", "crash", "rewind", "lose"]), st.integers(0, 2),
                             st.integers(1, 7)), max_size=40)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_any_interleaving_of_owners_zombies_crashes_and_losses_ends_at_the_oracle(redis_url, actions):
    asyncio.run(check_interleaving(redis_url, actions))


async def check_interleaving(redis_url, actions):
    log, prefix = Log(), f"t{uuid4().hex[:12]}"
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        workers = [Worker(new_ledger(client, prefix)) for _ in range(3)]
        replayed = fenced = 0
        for action, who, size in actions:
            worker = workers[who]
            if action == "crash":
                worker.claim = None
            elif action == "rewind":
                worker.next_offset = max(worker.next_offset - size, 0)
            elif action == "lose":
                await drop_keys(client, worker.ledger)
                workers = [Worker(new_ledger(client, prefix)) for _ in range(3)]
                replayed = fenced = 0
            else:
                more_replayed, more_fenced = await step(worker, log, size)
                replayed, fenced = replayed + more_replayed, fenced + more_fenced
        last = Worker(new_ledger(client, prefix))
        while (await last.ledger.applied(0)) < len(log.records) - 1:
            await step(last, log, 7)
        users = sorted(set(log.records))
        assert await last.ledger.load(0, users) == [log.state(user, len(log.records) - 1) for user in users]
        total = await last.ledger.totals([0])
        assert total == Counts(applied=len(log.records), replayed=replayed, fenced=fenced)
        await drop_keys(client, last.ledger)


@pytest.mark.parametrize("refusal", [Replayed, Overlap, Fenced, StoreLost])
def test_every_refusal_is_one_kind_of_error(refusal):
    assert issubclass(refusal, LedgerRefusal)
