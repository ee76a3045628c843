"""A view compiled for the store: its hash fields, an encoder a feature, and the key of an entity in one project."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from features.views import View
from features.wire import (
    ENCODERS,
    LayoutError,
    decode_time,
    decode_value,
    encode_time,
    encode_value,
    entity_keys,
    feature_field,
    stamp_field,
    time_field,
)

Values = tuple[Any, ...]
"""A row's values in the order of its view's features."""


class RowPlan:
    """How rows of one view are written to and read from the hash of their entity."""

    def __init__(self, view: View, project: str) -> None:
        self.view = view
        self.key = entity_keys(view.join_key, project)
        self.features = {name: feature_field(view.name, name) for name in view.features}
        self.time = time_field(view.name)
        self.stamp = stamp_field(view.name)
        self._names = tuple(view.features)
        self._dtypes = tuple(view.features.values())
        self._fields = tuple(self.features.values())
        self._encoders = tuple(ENCODERS[dtype] for dtype in self._dtypes)
        self._blank = [part for field in self._fields for part in (field, b"")]

    @property
    def read_fields(self) -> tuple[bytes, ...]:
        """The hash fields of a whole row: the features in order, then the time."""
        return (*self._fields, self.time)

    def ordered(self, values: Mapping[str, Any]) -> Values:
        """The values in the view's order. Raises `LayoutError` unless all features of the view are there, alone."""
        if len(values) == len(self._names):
            try:
                return tuple(map(values.__getitem__, self._names))
            except KeyError:
                pass
        lacking, unknown = self.features.keys() - values.keys(), values.keys() - self.features.keys()
        raise LayoutError(
            f"a row of {self.view.name} lacks {sorted(lacking)} and has unknown {sorted(unknown)}: "
            "give every feature of the view, None for a missing value"
        )

    def encoded(self, values: Values, at_ms: int) -> list[bytes]:
        """Field, value, field, value ... of a whole row, its time first. Raises `LayoutError`."""
        parts = self._blank.copy()
        try:
            parts[1::2] = [encode(value) for encode, value in zip(self._encoders, values, strict=True)]
        except (LayoutError, TypeError, ValueError, AttributeError, OverflowError, struct.error):
            self._name_the_unfit(values, range(len(values)))
            raise
        return [self.time, encode_time(at_ms), *parts]

    def _name_the_unfit(self, values: Values, places: Iterable[int]) -> None:
        for place in places:
            try:
                encode_value(self._dtypes[place], values[place])
            except LayoutError as error:
                raise LayoutError(f"{self.view.name}:{self._names[place]}: {error}") from error

    def decoded(self, raw: Sequence[bytes | None]) -> dict[str, Any]:
        """The values by name of what `read_fields` found; None for null."""
        return {
            name: None if value is None else decode_value(dtype, value)
            for name, dtype, value in zip(self._names, self._dtypes, raw[:-1], strict=True)
        }

    def age_ms(self, time: bytes | None, now_ms: int) -> int | None:
        """How old a row of this time is; None when there is no row."""
        return None if time is None else max(now_ms - decode_time(time), 0)
