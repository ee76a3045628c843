"""The views as Feast objects, applied by code from one explicit list, so that the Feast SDK and CLI read what we write.

Feast is imported inside the functions: it takes seconds, and nothing on the serving path needs it.
"""

from __future__ import annotations

import importlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from features.served import SERVED_ROW
from features.views import INTENT_STATS, LATENT_QUERY, ORDER_STATE, USER_ACTIVITY, VIEWS, Dtype, View

FEATURE_SERVICE = "qerec_v0"
_SET_BY_FEAST = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
_SERVED = (USER_ACTIVITY, ORDER_STATE, LATENT_QUERY, INTENT_STATS)


def import_feast() -> Any:
    """The feast module, imported so that it changes nothing around it.

    Importing it turns prometheus_client to multi-process mode by an environment variable; that is taken back.
    """
    importlib.import_module("prometheus_client")
    before = {name: os.environ.get(name) for name in _SET_BY_FEAST}
    feast = importlib.import_module("feast")
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return feast


def connection_string(redis_url: str) -> str:
    r"""A redis:// or rediss:// address in Feast's own form.

    >>> connection_string("redis://worker:s3cret@shop:6380/2")
    'shop:6380,db=2,username=worker,password=s3cret'
    >>> connection_string("rediss://shop")
    'shop:6379,db=0,ssl=true'

    Its query names the TLS files, as `Connections.redis_address` does. A value that Feast would read as a number, or
    cut at its comma, is put as a JSON string, which Feast takes apart again.

    >>> connection_string("rediss://:a,b@shop?ssl_ca_certs=%2Fetc%2Fca.pem")
    'shop:6379,db=0,password="a\\u002cb",ssl=true,ssl_ca_certs=/etc/ca.pem'
    """
    address = urlsplit(redis_url)
    if address.scheme not in {"redis", "rediss"}:
        raise ValueError(f"REDIS_URL has scheme {address.scheme!r}, expected redis:// or rediss://")
    query = dict(parse_qsl(address.query))
    told = {
        "db": address.path.strip("/") or query.get("db", "0"),
        "username": _quoted(unquote(address.username or "")),
        "password": _quoted(unquote(address.password or "")),
        "ssl": "true" if address.scheme == "rediss" else "",
        **{name: _quoted(value) for name, value in query.items() if name.startswith("ssl_")},
    }
    parts = [f"{name}={value}" for name, value in told.items() if value]
    return ",".join([f"{address.hostname or '127.0.0.1'}:{address.port or 6379}", *parts])


def _quoted(value: str) -> str:
    """Feast splits at commas, then reads what is JSON as JSON; other text stays."""
    try:
        json.loads(value)
    except json.JSONDecodeError:
        if "," not in value:
            return value
    return json.dumps(value).replace(",", "\\u002c") if value else ""


def configuration(registry_path: Path, project: str, redis_url: str) -> dict[str, Any]:
    """What `feature_store.yaml` says: sqlite registry, Redis online, duckdb offline."""
    return {
        "project": project,
        "provider": "local",
        "registry": {"registry_type": "sql", "path": f"sqlite:///{registry_path.resolve()}", "cache_ttl_seconds": 60},
        "online_store": {"type": "redis", "connection_string": connection_string(redis_url)},
        "offline_store": {"type": "duckdb"},
        "entity_key_serialization_version": 3,
    }


def write_feature_store_yaml(folder: Path, registry_path: Path, project: str, redis_url: str) -> Path:
    """Writes `feature_store.yaml`, so that `feast --chdir FOLDER get-online-features ...` reads this deployment.

    It holds the address of the online store with its password: only its owner may read it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "feature_store.yaml"
    target.touch()
    target.chmod(0o600)
    target.write_text(yaml.safe_dump(configuration(registry_path, project, redis_url), sort_keys=False))
    return target


def open_store(registry_path: Path, project: str, redis_url: str) -> Any:
    """A `feast.FeatureStore` over this deployment."""
    feast = import_feast()
    return feast.FeatureStore(config=feast.RepoConfig(**configuration(registry_path, project, redis_url)))


def apply(registry_path: Path, project: str, redis_url: str, offline_dir: Path) -> Any:
    """Creates or updates the definitions in the registry and returns the `feast.FeatureStore`; applying twice is once.

    `offline_dir` gets one folder a view, to be filled with dt=YYYY-MM-DD folders of Parquet files.
    """
    registry_path.parent.mkdir(parents=True, exist_ok=True)
    for view in (*VIEWS.values(), SERVED_ROW):
        (offline_dir / view.name).mkdir(parents=True, exist_ok=True)
    store = open_store(registry_path, project, redis_url)
    store.apply(definitions(offline_dir))
    return store


def definitions(offline_dir: Path) -> list[Any]:
    """Every Feast object of ours: two entities, push source and view per row of `VIEWS` and `SERVED_ROW`, a service."""
    feast = import_feast()
    entities = {
        view.entity: feast.Entity(name=view.entity, join_keys=[view.join_key], value_type=feast.ValueType.STRING)
        for view in VIEWS.values()
    }
    views = {view.name: _feature_view(view, entities[view.entity], offline_dir) for view in VIEWS.values()}
    service = feast.FeatureService(name=FEATURE_SERVICE, features=[views[view.name] for view in _SERVED])
    served = _feature_view(SERVED_ROW, entities[SERVED_ROW.entity], offline_dir, is_online=False)
    return [*entities.values(), *views.values(), served, service]


def _feature_view(view: View, entity: Any, offline_dir: Path, *, is_online: bool = True) -> Any:
    feast, of = import_feast(), importlib.import_module("feast.types")
    types: dict[Dtype, Any] = {
        Dtype.FLOAT32: of.Float32,
        Dtype.INT64: of.Int64,
        Dtype.STRING: of.String,
        Dtype.VECTOR: of.Array(of.Float32),
    }
    history = feast.FileSource(
        name=f"{view.name}_history",
        path=str((offline_dir / view.name).resolve()),
        file_format=importlib.import_module("feast.data_format").ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    return feast.FeatureView(
        name=view.name,
        entities=[entity],
        schema=[
            feast.Field(name=view.join_key, dtype=of.String),
            *(feast.Field(name=name, dtype=types[dtype]) for name, dtype in view.features.items()),
        ],
        source=feast.PushSource(name=f"{view.name}_push", batch_source=history),
        ttl=timedelta(milliseconds=view.ttl_ms),
        online=is_online,
        description=view.purpose,
    )
