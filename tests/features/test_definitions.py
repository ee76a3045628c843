"""Feast's own SDK and CLI against our rows, both ways, byte for byte."""

import gc
import json
import os
import stat
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import redis.asyncio
from click.testing import CliRunner

from features.contract import from_ms
from features.definitions import (
    FEATURE_SERVICE,
    apply,
    configuration,
    connection_string,
    import_feast,
    write_feature_store_yaml,
)
from features.store import OnlineRows
from features.views import VIEWS, Dtype, project
from features.wire import encode_time, encode_value, entity_key, feature_field

NOW_MS = 1_790_000_000_123
SAMPLES = {
    Dtype.FLOAT32: [0.0, -1.5, 1 / 3, 3.4e38],
    Dtype.INT64: [0, -1, 300, 2**63 - 1, -(2**63)],
    Dtype.STRING: ["", "é 包裹", "x" * 300],
    Dtype.VECTOR: [[], [0.5], np.linspace(-1, 1, 576).astype(np.float32).tolist()],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("feast")


@pytest.fixture(scope="module")
def name():
    return project(f"t{os.urandom(6).hex()}")


@pytest.fixture(scope="module")
def store(place, name, redis_url):
    return apply(place / "registry.db", name, redis_url, place / "offline")


@pytest.fixture
async def rows(redis_url, name):
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield OnlineRows(client, name)


def sample(view, turn):
    """A row of `view` with every type's samples taking turns."""
    return {
        feature: SAMPLES[dtype][(turn + place) % len(SAMPLES[dtype])]
        for place, (feature, dtype) in enumerate(view.features.items())
    }


def as_float32(dtype, value):
    if value is None or dtype in (Dtype.INT64, Dtype.STRING):
        return value
    return np.float32(value).tolist() if dtype is Dtype.FLOAT32 else np.asarray(value, np.float32).tolist()


def expected(view, values):
    return {name: as_float32(dtype, values[name]) for name, dtype in view.features.items()}


def test_importing_feast_leaves_the_environment_alone():
    before = dict(os.environ)
    import_feast()
    assert dict(os.environ) == before


def test_bytes_are_those_of_feasts_own_encoder():
    import_feast()
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import FloatList, Value
    from google.protobuf.timestamp_pb2 import Timestamp

    theirs = _redis_key("p_1", EntityKey(join_keys=["shopper_id"], entity_values=[Value(string_val="demo:é")]))
    assert entity_key("shopper_id", "demo:é", "p_1") == theirs
    assert feature_field("v", "f") == _mmh3("v:f")
    make = {
        Dtype.FLOAT32: lambda value: Value(float_val=value),
        Dtype.INT64: lambda value: Value(int64_val=value),
        Dtype.STRING: lambda value: Value(string_val=value),
        Dtype.VECTOR: lambda value: Value(float_list_val=FloatList(val=value)),
    }
    for dtype, values in SAMPLES.items():
        for value in values:
            assert encode_value(dtype, value) == make[dtype](value).SerializeToString(), (dtype, value)
    for at_ms in (0, 1, 1000, NOW_MS):
        moment = Timestamp()
        moment.FromMilliseconds(at_ms)
        assert encode_time(at_ms) == moment.SerializeToString()


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_feast_reads_what_we_write(store, rows, view):
    for turn in range(5):
        values = sample(view, turn)
        await rows.write(view.name, "demo:ours", values, NOW_MS, (1, turn))
        found = store.get_online_features(
            features=[f"{view.name}:{feature}" for feature in view.features],
            entity_rows=[{view.join_key: "demo:ours"}],
        ).to_dict()
        assert {name: found[name][0] for name in view.features} == expected(view, values)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
async def test_we_read_what_feast_writes(store, rows, view):
    for turn in range(5):
        values = {name: value if value != [] else None for name, value in sample(view, turn).items()}
        key = f"demo:theirs{turn}"
        frame = pd.DataFrame([{view.join_key: key, **values}]).assign(
            event_timestamp=pd.to_datetime([from_ms(NOW_MS)]), created_timestamp=pd.to_datetime([from_ms(NOW_MS)])
        )
        store.push(f"{view.name}_push", frame)
        row = (await rows.read([view.name], [key], NOW_MS + 7))[0][view.name]
        assert (row.missing, row.age_ms) == (False, 7)
        found = {name: as_float32(dtype, row.values[name]) for name, dtype in view.features.items()}
        assert found == expected(view, values)


async def test_the_feature_service_serves_a_shopper_and_an_intent(store, rows):
    await rows.write("order_state", "demo:s", sample(VIEWS["order_state"], 1), NOW_MS, (1, 0))
    await rows.write("intent_stats", "demo:where_is_it", sample(VIEWS["intent_stats"], 1), NOW_MS, (1, 0))
    found = store.get_online_features(
        features=store.get_feature_service(FEATURE_SERVICE),
        entity_rows=[{"shopper_id": "demo:s", "intent_key": "demo:where_is_it"}],
    ).to_dict()
    assert found["orders"][0] == sample(VIEWS["order_state"], 1)["orders"]
    assert found["shown"][0] == sample(VIEWS["intent_stats"], 1)["shown"]


async def test_feast_finds_nothing_of_another_tenants_user(store, rows):
    await rows.write("order_state", "demo:a", sample(VIEWS["order_state"], 1), NOW_MS, (1, 0))
    found = store.get_online_features(
        features=["order_state:orders", "order_state:order_id"], entity_rows=[{"shopper_id": "other:a"}]
    ).to_dict()
    assert (found["orders"], found["order_id"]) == ([None], [None])


async def test_the_feast_cli_reads_the_same_values(store, rows, place, name, redis_url):
    view, values = VIEWS["latent_query"], sample(VIEWS["latent_query"], 2)
    await rows.write(view.name, "demo:cli", values, NOW_MS, (1, 0))
    written = write_feature_store_yaml(place / "repo", place / "registry.db", name, redis_url)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    from feast.cli.cli import cli

    asked = [part for feature in view.features for part in ("-f", f"{view.name}:{feature}")]
    ran = CliRunner().invoke(
        cli, ["-c", str(place / "repo"), "get-online-features", "-e", "shopper_id=demo:cli", *asked],
        catch_exceptions=False,
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.output[ran.output.index("{") :])
    assert {name: found[name][0] for name in view.features} == expected(view, values)


def test_applying_twice_is_applying_once(store, place, name, redis_url):
    again = apply(place / "registry.db", name, redis_url, place / "offline")
    assert sorted(view.name for view in again.list_feature_views()) == sorted(VIEWS)
    assert [entity.name for entity in again.list_entities() if entity.name != "__dummy"] == ["shopper", "intent"]
    assert [service.name for service in again.list_feature_services()] == [FEATURE_SERVICE]


def test_views_in_the_registry_say_what_the_table_says(store):
    for view in VIEWS.values():
        found = store.get_feature_view(view.name)
        assert found.ttl == timedelta(milliseconds=view.ttl_ms)
        assert [feature.name for feature in found.features] == list(view.features)


@pytest.fixture
def offline_engine():
    """Closes Feast's duckdb connection after the test: one left open complains of leaks when Python ends."""
    yield
    import ibis

    ibis.get_backend().disconnect()
    ibis.options.default_backend = None
    gc.collect()


@pytest.mark.usefixtures("offline_engine")
@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_history_in_parquet_joins_point_in_time(store, place):
    view, day = VIEWS["order_state"], place / "offline" / "order_state" / "dt=2026-09-21"
    day.mkdir()
    pd.DataFrame(
        [
            {
                "shopper_id": "demo:h",
                **sample(view, 1),
                "orders": orders,
                "event_timestamp": at,
                "created_timestamp": at,
            }
            for orders, at in ((1, from_ms(NOW_MS)), (2, from_ms(NOW_MS + 60_000)))
        ]
    ).to_parquet(day / "part-0.parquet")
    asked = pd.DataFrame({"shopper_id": ["demo:h"] * 2, "event_timestamp": [from_ms(NOW_MS + s) for s in (1, 61_000)]})
    joined = store.get_historical_features(asked, ["order_state:orders"]).to_df().sort_values("event_timestamp")
    assert joined["orders"].tolist() == [1, 2]


@pytest.mark.parametrize("url", ["http://x", "x:6379"])
def test_an_address_that_is_not_redis_is_refused(url):
    with pytest.raises(ValueError, match="expected redis:// or rediss://"):
        connection_string(url)


def test_the_configuration_names_no_file_registry(place, redis_url):
    assert configuration(place / "r.db", "p", redis_url)["registry"]["registry_type"] == "sql"
