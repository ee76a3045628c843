"""Rows of many entities as numpy columns: what to read, compiled once, and the store's replies decoded all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.row_plan import RowPlan
from features.views import Dtype
from features.wire import LayoutError, decode_time, decode_value, vector_head

Replies = Sequence[Sequence[bytes | None]]
Name = tuple[str, str]
"""View and feature."""

NEVER = -1
"""The age of a row that was never written."""
KNOWN_KEYS = 4096
"""Candidates are the same for every user: the keys of so many entities are kept."""
_INT64_BYTES = 11
_NULL_INT64 = b"\x20"
_FLOAT32 = np.dtype([("tag", "u1"), ("number", "<f4")])
_NULL_FLOAT32 = b"\x35" + np.float32(np.nan).tobytes()
_SEVEN_BITS = np.uint64(1) << np.arange(0, 70, 7, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Rows:
    """n entities' rows of the V views of a selection, its features grouped by type.

    A value is null where Feast's null or nothing is stored, or its view's row is missing.
    """

    selection: Selection
    ages_ms: NDArray[np.int64]
    """[n, V], -1 = never written."""
    missing: NDArray[np.bool_]
    """[n, V]: never written, or older than the view's ttl."""
    float32: NDArray[np.float32]
    """[n, F], NaN = null."""
    int64: NDArray[np.int64]
    """[n, I], 0 where `int64_null`."""
    int64_null: NDArray[np.bool_]
    strings: list[list[str | None]]
    """n lists of S."""
    vectors: dict[Name, NDArray[np.float32]]
    """[n, width] each, read-only, NaN = null or of another width."""

    def column(self, view: str, feature: str) -> Any:
        """One feature of all entities: f32[n], i64[n], a list of n texts or f32[n, width]."""
        dtype, place = self.selection.places[view, feature]
        if dtype is Dtype.VECTOR:
            return self.vectors[view, feature]
        if dtype is Dtype.STRING:
            return [texts[place] for texts in self.strings]
        return (self.float32 if dtype is Dtype.FLOAT32 else self.int64)[:, place]


class Selection:
    """Features of views of one entity, compiled into the fields of one HMGET an entity.

    `plans` are the views' own; `features` names what to read of each; `widths` has the length of each vector.
    Raises ValueError for views of several entities, unknown features and vectors without a width.
    """

    def __init__(
        self, plans: Mapping[str, RowPlan], features: Mapping[str, Sequence[str]], widths: Mapping[str, int]
    ) -> None:
        self.views = tuple(features)
        chosen = [plans[view] for view in features]
        join_keys = sorted({plan.view.join_key for plan in chosen})
        if len(join_keys) != 1:
            raise ValueError(f"views {list(features)} have join keys {join_keys}: read one entity at a time")
        self.key: Callable[[str], bytes] = lru_cache(KNOWN_KEYS)(chosen[0].key)
        self._ttls_ms = [plan.view.ttl_ms for plan in chosen]
        self._by_dtype = _grouped(plans, features)
        self._widths = {name: _width(name, widths) for name in self._by_dtype[Dtype.VECTOR]}
        names = [name for group in self._by_dtype.values() for name in group]
        self.fields = (*(plans[view].features[feature] for view, feature in names), *(plan.time for plan in chosen))

    @cached_property
    def places(self) -> dict[Name, tuple[Dtype, int]]:
        """Each feature's type and its place among the features of that type."""
        return {name: (dtype, at) for dtype, group in self._by_dtype.items() for at, name in enumerate(group)}

    def rows(self, replies: Replies, now_ms: int) -> Rows:
        """What the store answered to `fields` for n entities. Raises `LayoutError` for bytes of another type."""
        ages_ms, missing = self._ages(replies, now_ms)
        parts, start = {}, 0
        for dtype, group in self._by_dtype.items():
            parts[dtype] = self._part(replies, slice(start, start + len(group)), group, missing)
            start += len(group)
        return Rows(
            self,
            ages_ms,
            missing,
            _float32(parts[Dtype.FLOAT32], len(self._by_dtype[Dtype.FLOAT32])),
            *_int64(parts[Dtype.INT64], len(self._by_dtype[Dtype.INT64])),
            [[_text(raw) for raw in row] if row else [] for row in parts[Dtype.STRING]],
            {
                name: _vectors([row[at] for row in parts[Dtype.VECTOR]], width)
                for at, (name, width) in enumerate(self._widths.items())
            },
        )

    def _ages(self, replies: Replies, now_ms: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        first, shape = len(self.fields) - len(self.views), (len(replies), len(self.views))
        times = [raw for row in replies for raw in row[first:]]
        ages_ms = [NEVER if raw is None else max(now_ms - decode_time(raw), 0) for raw in times]
        missing = [not 0 <= age_ms <= ttl_ms for age_ms, ttl_ms in zip(ages_ms, cycle(self._ttls_ms), strict=False)]
        return np.array(ages_ms, np.int64).reshape(shape), np.array(missing, np.bool_).reshape(shape)

    def _part(
        self, replies: Replies, part: slice, group: Sequence[Name], missing: NDArray[np.bool_]
    ) -> list[Sequence[bytes | None]]:
        """The replies of one type, those of missing rows taken out; n empty ones where nothing of it is read."""
        if not group:
            return [()] * len(replies)
        found = [row[part] for row in replies]
        if missing.any():
            of_view = [self.views.index(view) for view, _ in group]
            for place in np.flatnonzero(missing.any(axis=1)):
                gone = missing[place]
                found[place] = [None if gone[of_view[at]] else raw for at, raw in enumerate(found[place])]
        return found


def _grouped(plans: Mapping[str, RowPlan], features: Mapping[str, Sequence[str]]) -> dict[Dtype, list[Name]]:
    grouped: dict[Dtype, list[Name]] = {dtype: [] for dtype in Dtype}
    for view, names in features.items():
        known = plans[view].view.features
        for name in names:
            if name not in known:
                raise ValueError(f"view {view} has no feature {name!r}; expected one of {list(known)}")
            grouped[known[name]].append((view, name))
    return grouped


def _width(name: Name, widths: Mapping[str, int]) -> int:
    if name[1] not in widths:
        raise ValueError(f"{name[0]}:{name[1]} is a vector: say its width, widths={{{name[1]!r}: ...}}")
    return widths[name[1]]


def _float32(rows: Sequence[Sequence[bytes | None]], width: int) -> NDArray[np.float32]:
    """f32[n, width]."""
    if not width:
        return np.empty((len(rows), 0), np.float32)
    joined = b"".join([raw or _NULL_FLOAT32 for row in rows for raw in row])
    found = len(rows) * width
    if joined[:: _FLOAT32.itemsize] != _NULL_FLOAT32[:1] * found or len(joined) != _FLOAT32.itemsize * found:
        raise _unknown(Dtype.FLOAT32, rows)
    return np.frombuffer(joined, _FLOAT32)["number"].astype(np.float32).reshape(len(rows), width)


def _int64(rows: Sequence[Sequence[bytes | None]], width: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The numbers i64[n, width] and which are null, of varints: 7 bits a byte, least first, here padded with zeros."""
    if not width:
        return np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.bool_)
    is_null = np.array([not raw for row in rows for raw in row], np.bool_)
    joined = b"".join([(raw or _NULL_INT64).ljust(_INT64_BYTES, b"\0") for row in rows for raw in row])
    if joined[::_INT64_BYTES] != _NULL_INT64 * is_null.size or len(joined) != _INT64_BYTES * is_null.size:
        raise _unknown(Dtype.INT64, rows)
    numbers = (np.frombuffer(joined, np.uint8).reshape(-1, _INT64_BYTES)[:, 1:] & 0x7F) @ _SEVEN_BITS
    return numbers.view(np.int64).reshape(len(rows), width), is_null.reshape(len(rows), width)


def _text(raw: bytes | None) -> str | None:
    if not raw:
        return None
    if raw[0] == 0x12 and len(raw) < 130:
        return raw[2:].decode()
    text: str = decode_value(Dtype.STRING, raw)
    return text


def _vectors(column: Sequence[bytes | None], width: int) -> NDArray[np.float32]:
    """f32[n, width]."""
    head, null = vector_head(width), np.full(width, np.nan, "<f4").tobytes()
    start, size = len(head), len(head) + len(null)
    parts = [raw[start:] if raw and len(raw) == size and raw.startswith(head) else _other(raw, null) for raw in column]
    return np.frombuffer(b"".join(parts), "<f4").reshape(len(column), width)


def _other(raw: bytes | None, null: bytes) -> bytes:
    if raw:
        decode_value(Dtype.VECTOR, raw)
    return null


def _unknown(dtype: Dtype, rows: Sequence[Sequence[bytes | None]]) -> LayoutError:
    for row in rows:
        for raw in row:
            if raw:
                decode_value(dtype, raw)
    return LayoutError(f"a stored {dtype.value} has bytes after its end: not written by Feast or by us")
