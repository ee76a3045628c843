"""The ledger and the online rows on a real three-node cluster: every script stays on one slot."""

import subprocess
import time
from contextlib import suppress

import pytest
import redis
import redis.asyncio

from deploy.ports import free_port
from deploy.runtimes import find_redis
from features.ledger import Counts, Fenced, Ledger, Replayed
from features.state import UserState
from features.store import OnlineRows, RowWrite
from features.views import order_values

NOW_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def cluster_port(tmp_path_factory):
    """Three masters on loopback that share the 16,384 slots; stopped afterwards."""
    ports = []
    for _ in range(6):
        ports.append(free_port(frozenset(ports)))
    nodes = [
        subprocess.Popen(
            [find_redis(), "--port", str(port), "--cluster-port", str(bus), "--cluster-enabled", "yes", "--bind",
             "127.0.0.1", "--save", "", "--dir", str(tmp_path_factory.mktemp("node"))],
            stdout=subprocess.DEVNULL,
        )
        for port, bus in zip(ports[:3], ports[3:], strict=True)
    ]  # fmt: skip
    try:
        join(ports[:3], ports[3:])
        yield ports[0]
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(10)


def join(ports, buses):
    clients = [redis.Redis(port=port, decode_responses=True) for port in ports]
    for place, client in enumerate(clients):
        wait_until(client.ping)
        first, last = 16384 * place // 3, 16384 * (place + 1) // 3 - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[place], buses[place])
    for client in clients:
        wait_until(lambda client=client: is_whole(client))
        client.close()


def is_whole(client):
    told = client.execute_command("CLUSTER", "INFO")
    return "cluster_state:ok" in told and "cluster_known_nodes:3" in told


def wait_until(check, deadline_s=15):
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        with suppress(redis.exceptions.ConnectionError):
            if check():
                return
        time.sleep(0.05)
    raise TimeoutError(f"the cluster was not whole after {deadline_s} s")


@pytest.fixture
async def cluster(cluster_port):
    async with redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster_port) as client:
        yield client


async def test_the_ledger_keeps_its_rules_on_a_cluster(cluster):
    ledger, owner = Ledger(cluster, "events"), Ledger(cluster, "events")
    partitions = range(8)
    claims = [await ledger.claim(partition) for partition in partitions]
    for partition, claim in zip(partitions, claims, strict=True):
        states = {f"demo:u{place}": b"state" for place in range(20)}
        await ledger.commit(partition, claim.epoch, 0, 19, states, Counts(applied=20), 0)
        with pytest.raises(Replayed):
            await ledger.commit(partition, claim.epoch, 0, 19, states, Counts(applied=20), 0)
        assert await ledger.load(partition, list(states)) == [b"state"] * 20
        await owner.claim(partition)
        with pytest.raises(Fenced):
            await ledger.commit(partition, claim.epoch, 20, 20, {}, Counts(applied=1), 0)
    assert await ledger.totals(partitions) == Counts(applied=160, replayed=160, fenced=8)


async def test_rows_of_many_users_are_written_and_read_across_nodes(cluster):
    rows, keys = OnlineRows(cluster, "rgalign"), [f"demo:u{place}" for place in range(50)]
    batch = [RowWrite("order_state", key, order_values(UserState()), NOW_MS, (1, 5)) for key in keys]
    assert await rows.write_many(batch) == [True] * 50
    assert await rows.write_many([row._replace(guard=(1, 4)) for row in batch]) == [False] * 50
    found = await rows.read(["order_state", "user_activity"], keys, NOW_MS)
    assert all(row["order_state"].values == order_values(UserState()) for row in found)
    assert all(row["user_activity"].missing for row in found)
    later = [row._replace(values={**row.values, "orders": 2}, guard=(1, 6)) for row in batch]
    assert await rows.write_many(later) == [True] * 50
    selection = rows.selection({"order_state": ["orders"], "user_activity": ["session_events"]})
    [columns] = await rows.read_columns([(selection, keys)], NOW_MS)
    assert columns.column("order_state", "orders").tolist() == [2] * 50
    assert columns.missing.tolist() == [[False, True]] * 50
