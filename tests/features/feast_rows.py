"""Rows of sample values in every type, and Feast's own ways to write them."""

import numpy as np
import pandas as pd

from features.contract import from_ms
from features.views import Dtype

NOW_MS = 1_790_000_000_123
MAX_FLOAT32, LEAST_FLOAT32 = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
SAMPLES = {
    Dtype.FLOAT32: [0.0, -0.0, -1.5, 1 / 3, MAX_FLOAT32, -MAX_FLOAT32, LEAST_FLOAT32],
    Dtype.INT64: [0, -1, 127, 128, 300, NOW_MS, 2**63 - 1, -(2**63)],
    Dtype.STRING: ["", "é 包裹", "a\0b", "x" * 127, "x" * 128, "x" * 70_000],
    Dtype.VECTOR: [
        [],
        [-0.0],
        [MAX_FLOAT32, LEAST_FLOAT32],
        np.linspace(-1, 1, 576).astype(np.float32).tolist(),
        np.linspace(-1, 1, 9_001).astype(np.float32).tolist(),
    ],
}
TURNS = max(map(len, SAMPLES.values())) + 1
"""So many rows of a view have every sample of their types, and nulls, in some feature."""


def sample(view, turn):
    """A row of `view` with every type's samples and null taking turns."""
    values = {dtype: [*samples, None] for dtype, samples in SAMPLES.items()}
    return {
        feature: values[dtype][(turn + place) % len(values[dtype])]
        for place, (feature, dtype) in enumerate(view.features.items())
    }


def as_float32(dtype, value):
    if value is None or dtype in (Dtype.INT64, Dtype.STRING):
        return value
    return np.float32(value).tolist() if dtype is Dtype.FLOAT32 else np.asarray(value, np.float32).tolist()


def expected(view, values):
    """The values as text, which tells 0.0 from -0.0."""
    return {name: repr(as_float32(dtype, values[name])) for name, dtype in view.features.items()}


def as_message(dtype, value):
    """Feast's own message of a value."""
    from feast.protos.feast.types.Value_pb2 import FloatList, Value

    if value is None:
        return Value()
    make = {
        Dtype.FLOAT32: lambda: Value(float_val=value),
        Dtype.INT64: lambda: Value(int64_val=value),
        Dtype.STRING: lambda: Value(string_val=value),
        Dtype.VECTOR: lambda: Value(float_list_val=FloatList(val=value)),
    }
    return make[dtype]()


def feast_key(view, key):
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=[view.join_key], entity_values=[Value(string_val=key)])


def batch_row(view, key, values, at_ms):
    """A row for `OnlineStore.online_write_batch`."""
    messages = {name: as_message(dtype, values[name]) for name, dtype in view.features.items()}
    return feast_key(view, key), messages, from_ms(at_ms), None


def write_as_feast(store, way, view, keyed):
    """Rows by key written by one of Feast's three ways; null where pandas cannot say the value."""
    if way == "online_write_batch":
        table = store.get_feature_view(view.name)
        rows = [batch_row(view, key, values, NOW_MS) for key, values in keyed.items()]
        store._get_provider().online_write_batch(store.config, table, rows, None)
        return
    for key, values in keyed.items():
        frame = pd.DataFrame([{view.join_key: key, **values}]).assign(
            event_timestamp=pd.to_datetime([from_ms(NOW_MS)]), created_timestamp=pd.to_datetime([from_ms(NOW_MS)])
        )
        if way == "push":
            store.push(f"{view.name}_push", frame)
        else:
            store.write_to_online_store(view.name, frame)
