"""The definitions in Feast's registry: applied once, as the table of views says, with a history that joins."""

import gc
import os
from datetime import timedelta

import pandas as pd
import pytest

from features.contract import from_ms
from features.definitions import FEATURE_SERVICE, apply, configuration, connection_string, import_feast
from features.served import SERVED_ROW
from features.views import VIEWS
from tests.features.feast_rows import NOW_MS, sample


def test_importing_feast_leaves_the_environment_alone():
    before = dict(os.environ)
    import_feast()
    assert dict(os.environ) == before


def test_applying_twice_is_applying_once(feast_store, feast_folder, feast_project, redis_url):
    again = apply(feast_folder / "registry.db", feast_project, redis_url, feast_folder / "offline")
    assert sorted(view.name for view in again.list_feature_views()) == sorted([*VIEWS, SERVED_ROW.name])
    assert [entity.name for entity in again.list_entities() if entity.name != "__dummy"] == ["shopper", "intent"]
    assert [service.name for service in again.list_feature_services()] == [FEATURE_SERVICE]


def test_views_in_the_registry_say_what_the_table_says(feast_store):
    for view in VIEWS.values():
        found = feast_store.get_feature_view(view.name)
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
def test_history_in_parquet_joins_point_in_time(feast_store, feast_folder):
    view, day = VIEWS["order_state"], feast_folder / "offline" / "order_state" / "dt=2026-09-21"
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
    joined = feast_store.get_historical_features(asked, ["order_state:orders"]).to_df().sort_values("event_timestamp")
    assert joined["orders"].tolist() == [1, 2]


@pytest.mark.parametrize("url", ["http://x", "x:6379"])
def test_an_address_that_is_not_redis_is_refused(url):
    with pytest.raises(ValueError, match="expected redis:// or rediss://"):
        connection_string(url)


def test_the_configuration_names_no_file_registry(feast_folder, redis_url):
    assert configuration(feast_folder / "r.db", "p", redis_url)["registry"]["registry_type"] == "sql"
