"""Feast's own SDK and CLI against our rows, both ways, byte for byte, for every type and its extremes."""

import json
import stat
from itertools import product

import numpy as np
import pytest
import redis.asyncio
from click.testing import CliRunner

from features.definitions import FEATURE_SERVICE, import_feast, write_feature_store_yaml
from features.store import OnlineRows, RowWrite
from features.views import VIEWS, Dtype
from features.wire import decode_time, encode_time, encode_value, entity_key, feature_field, stamp_field
from tests.features.feast_rows import NOW_MS, SAMPLES, TURNS, as_message, expected, feast_key, sample, write_as_feast


@pytest.fixture
async def rows(redis_url, feast_project):
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield OnlineRows(client, feast_project)


def test_bytes_are_those_of_feasts_own_encoder():
    import_feast()
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from google.protobuf.timestamp_pb2 import Timestamp

    for view, key, name in product(VIEWS.values(), ("", "demo:é", "x" * 300), ("p", "p_1")):
        assert entity_key(view.join_key, key, name) == _redis_key(name, feast_key(view, key), 3)
        for feature in view.features:
            assert feature_field(view.name, feature) == _mmh3(f"{view.name}:{feature}")
    for dtype, values in SAMPLES.items():
        for value in [*values, None]:
            assert encode_value(dtype, value) == as_message(dtype, value).SerializeToString(), (dtype, value)
    for at_ms in (0, 1, 999, 1000, NOW_MS, 2**42, -1):
        moment = Timestamp()
        moment.FromMilliseconds(at_ms)
        assert encode_time(at_ms) == moment.SerializeToString()
        assert decode_time(moment.SerializeToString()) == at_ms


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_a_hash_has_the_very_bytes_that_feast_puts_there(feast_store, rows, feast_project, redis_url, view):
    keyed = {f"demo:bytes:{view.name}:{turn}": sample(view, turn) for turn in range(TURNS)}
    write_as_feast(feast_store, "online_write_batch", view, keyed)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        theirs = [await client.hgetall(entity_key(view.join_key, key, feast_project)) for key in keyed]
        await rows.write_many([RowWrite(view.name, key, values, NOW_MS, (1, 0)) for key, values in keyed.items()])
        ours = [await client.hgetall(entity_key(view.join_key, key, feast_project)) for key in keyed]
    assert all(len(found) == len(view.features) + 1 for found in theirs)
    assert [{field: raw for field, raw in found.items() if field != stamp_field(view.name)} for found in ours] == theirs


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_feast_reads_what_we_write(feast_store, rows, view):
    keyed = {f"demo:ours{turn}": sample(view, turn) for turn in range(TURNS)}
    for shift in range(2):  # the second time only the changes are sent
        keyed = {key: sample(view, turn + shift) for turn, key in enumerate(keyed)}
        await rows.write_many([RowWrite(view.name, key, row, NOW_MS, (1, shift)) for key, row in keyed.items()])
        found = feast_store.get_online_features(
            features=[f"{view.name}:{feature}" for feature in view.features],
            entity_rows=[{view.join_key: key} for key in keyed],
        ).to_dict()
        for place, values in enumerate(keyed.values()):
            assert {name: repr(found[name][place]) for name in view.features} == expected(view, values)


@pytest.mark.parametrize("way", ["push", "write_to_online_store", "online_write_batch"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_we_read_what_feast_writes(feast_store, rows, view, way):
    keyed = {f"demo:{way}{turn}": sample(view, turn) for turn in range(TURNS)}
    if way != "online_write_batch":
        keyed = {key: {name: sayable(value) for name, value in row.items()} for key, row in keyed.items()}
    write_as_feast(feast_store, way, view, keyed)
    found = await rows.read([view.name], list(keyed), NOW_MS + 7)
    for row, values in zip((row[view.name] for row in found), keyed.values(), strict=True):
        assert (row.missing, row.age_ms) == (False, 7)
        assert expected(view, row.values) == expected(view, values)


def sayable(value):
    """The value, or null where a pandas frame of one row cannot say it."""
    return None if value == [] else value


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_columns_have_what_feast_wrote(feast_store, rows, view):
    keyed = {f"demo:columns{turn}": sample(view, turn) for turn in range(TURNS)}
    write_as_feast(feast_store, "online_write_batch", view, keyed)
    selection = rows.selection({view.name: list(view.features)}, dict.fromkeys(view.features, 1))
    [found] = await rows.read_columns([(selection, list(keyed))], NOW_MS + 7)
    assert (found.ages_ms.tolist(), found.missing.any()) == ([[7]] * TURNS, False)
    for feature, dtype in view.features.items():
        column = found.column(view.name, feature)
        for place, values in enumerate(keyed.values()):
            assert repr(in_column(dtype, values[feature])) == repr(in_column(dtype, column[place]))


def in_column(dtype, value):
    """A value as columns have it: null as NaN or 0, vectors of another width than 1 as NaN."""
    if dtype is Dtype.STRING:
        return value
    if dtype is Dtype.INT64:
        return int(value or 0)
    if dtype is Dtype.VECTOR:
        return np.asarray(value if value is not None and len(value) == 1 else [np.nan], np.float32).tolist()
    return float(np.float32(np.nan if value is None else value))


async def test_the_feature_service_serves_a_shopper_and_an_intent(feast_store, rows):
    await rows.write("order_state", "demo:s", sample(VIEWS["order_state"], 1), NOW_MS, (1, 0))
    await rows.write("intent_stats", "demo:where_is_it", sample(VIEWS["intent_stats"], 1), NOW_MS, (1, 0))
    found = feast_store.get_online_features(
        features=feast_store.get_feature_service(FEATURE_SERVICE),
        entity_rows=[{"shopper_id": "demo:s", "intent_key": "demo:where_is_it"}],
    ).to_dict()
    assert found["orders"][0] == sample(VIEWS["order_state"], 1)["orders"]
    assert found["shown"][0] == sample(VIEWS["intent_stats"], 1)["shown"]


async def test_feast_finds_nothing_of_another_tenants_user(feast_store, rows):
    await rows.write("order_state", "demo:a", sample(VIEWS["order_state"], 1), NOW_MS, (1, 0))
    found = feast_store.get_online_features(
        features=["order_state:orders", "order_state:order_id"], entity_rows=[{"shopper_id": "other:a"}]
    ).to_dict()
    assert (found["orders"], found["order_id"]) == ([None], [None])


async def test_the_feast_cli_reads_the_same_values(feast_store, rows, feast_folder, feast_project, redis_url):
    written = [(view, sample(view, turn)) for turn, view in enumerate(VIEWS.values(), start=2)]
    for view, values in written:
        await rows.write(view.name, "demo:cli", values, NOW_MS, (1, 0))
    settings_file = write_feature_store_yaml(
        feast_folder / "repo", feast_folder / "registry.db", feast_project, redis_url
    )
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o600
    from feast.cli.cli import cli

    asked = [part for view, _ in written for feature in view.features for part in ("-f", f"{view.name}:{feature}")]
    entities = ["-e", "shopper_id=demo:cli", "-e", "intent_key=demo:cli"]
    ran = CliRunner().invoke(
        cli, ["-c", str(feast_folder / "repo"), "get-online-features", *entities, *asked], catch_exceptions=False
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.output[ran.output.index("{") :])
    for view, values in written:
        assert {name: repr(found[name][0]) for name in view.features} == expected(view, values)
