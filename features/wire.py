"""The bytes of Feast's online store on Redis (entity key version 3), written and read without importing Feast.

Key: `<u32 1><u32 2><u32 len>join_key <u32 2><u32 len>value project`. One hash per key: field
`murmur3_32("view:feature")` (4 bytes, little endian) holds a serialized `feast.types.Value`, field `_ts:<view>` a
protobuf Timestamp.
A test pins these bytes against Feast's own encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

import mmh3
import numpy as np

from features.views import Dtype

_TAG_FLOAT32, _TAG_INT64, _TAG_STRING, _TAG_VECTOR = b"\x35", b"\x20", b"\x12", b"\x82\x01"
_TAG_SECONDS, _TAG_NANOS = 0x08, 0x10
_STRING_TYPE = 2
_float = struct.Struct("<f")
_tagged_float = struct.Struct("<Bf")
_length = struct.Struct("<I")
_MORE = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(1 << 14)]
_LAST = [bytes([number]) if number < 0x80 else bytes((number & 0x7F | 0x80, number >> 7)) for number in range(1 << 14)]
"""14 bits of a varint, by whether others follow."""
_SMALL_INT64 = [_TAG_INT64 + number for number in _LAST[:0x80]]

Encoder = Callable[[Any], bytes]


class LayoutError(ValueError):
    """A value that does not fit its feature's type, or stored bytes that this layout does not know."""


def entity_key(join_key: str, value: str, project: str) -> bytes:
    """The Redis key of an entity's hash.

    >>> entity_key("k", "v", "p").hex()
    '0100000002000000010000006b02000000010000007670'
    """
    return entity_keys(join_key, project)(value)


def entity_keys(join_key: str, project: str) -> Callable[[str], bytes]:
    """`entity_key` with all but the entity's value decided."""
    name, tail = join_key.encode(), project.encode()
    head = struct.pack("<III", 1, _STRING_TYPE, len(name)) + name + _length.pack(_STRING_TYPE)

    def key(value: str) -> bytes:
        text = value.encode()
        return head + _length.pack(len(text)) + text + tail

    return key


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of one feature."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """The hash field of a view's event time."""
    return f"_ts:{view}".encode()


def stamp_field(view: str) -> bytes:
    """The hash field of our own write stamp, guard first; Feast asks only for the fields above."""
    return f"_stamp:{view}".encode()


def varint(number: int) -> bytes:
    """A protobuf varint; a negative number is its 64-bit two's complement.

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    number &= 0xFFFFFFFFFFFFFFFF
    if number < 1 << 14:
        return _LAST[number]
    out = _MORE[number & 0x3FFF]
    number >>= 14
    while number >= 1 << 14:
        out += _MORE[number & 0x3FFF]
        number >>= 14
    return out + _LAST[number]


def read_varint(raw: bytes, start: int) -> tuple[int, int]:
    """The unsigned varint at `start` and where it ends.

    >>> read_varint(bytes([0xAC, 2]), 0)
    (300, 2)
    """
    number = shift = 0
    for place in range(start, min(start + 10, len(raw))):
        number |= (raw[place] & 0x7F) << shift
        if raw[place] < 0x80:
            return number, place + 1
        shift += 7
    raise LayoutError(f"{raw[:20].hex()} has no whole varint at byte {start}: not written by Feast or by us")


def encode_time(at_ms: int) -> bytes:
    """A protobuf Timestamp."""
    seconds, ms = divmod(at_ms, 1000)
    return _seconds(seconds) + _NANOS[ms]


@lru_cache(4096)
def _seconds(number: int) -> bytes:
    return b"\x08" + varint(number) if number else b""


@lru_cache(4096)
def decode_time(raw: bytes) -> int:
    """The milliseconds of a protobuf Timestamp, a moment before 1970 included."""
    seconds = nanos = place = 0
    while place < len(raw):
        tag = raw[place]
        number, place = read_varint(raw, place + 1)
        if tag == _TAG_SECONDS:
            seconds = _signed(number)
        elif tag == _TAG_NANOS:
            nanos = number
        else:
            raise LayoutError(f"{raw[:20].hex()} is not a protobuf Timestamp: not written by Feast or by us")
    return seconds * 1000 + nanos // 1_000_000


def encode_value(dtype: Dtype, value: Any) -> bytes:
    """A serialized `feast.types.Value`; None is Feast's null. Raises `LayoutError` for a value of another type."""
    try:
        return ENCODERS[dtype](value)
    except LayoutError:
        raise
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        raise LayoutError(f"{ascii(value)[:80]} cannot be kept as {dtype.value} ({error})") from error


def _encode_float32(value: Any) -> bytes:
    if value is None:
        return b""
    if not isfinite(value):
        raise LayoutError(f"{value} cannot be kept as float32: only finite numbers; use None for a missing value")
    return _tagged_float.pack(0x35, value)


def _encode_int64(value: Any) -> bytes:
    if value is None:
        return b""
    number: int = value if type(value) is int else _whole(value)
    if 0 <= number < 0x80:
        return _SMALL_INT64[number]
    if not -(2**63) <= number < 2**63:
        raise LayoutError(f"{number} cannot be kept as int64: more than 64 bits")
    return _TAG_INT64 + varint(number)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise LayoutError(f"{ascii(value)[:80]} cannot be kept as int64: not a whole number")
    return int(value)


def _encode_string(value: Any) -> bytes:
    if value is None:
        return b""
    text: bytes = value.encode()
    return _TAG_STRING + varint(len(text)) + text


def _encode_vector(value: Any) -> bytes:
    if value is None:
        return b""
    vector = np.asarray(value, "<f4")
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise LayoutError(f"a vector of shape {vector.shape} cannot be kept: expected one axis of finite numbers")
    return vector_head(len(vector)) + vector.tobytes()


_NANOS = [b"", *(b"\x10" + varint(ms * 1_000_000) for ms in range(1, 1000))]

ENCODERS: dict[Dtype, Encoder] = {
    Dtype.FLOAT32: _encode_float32,
    Dtype.INT64: _encode_int64,
    Dtype.STRING: _encode_string,
    Dtype.VECTOR: _encode_vector,
}
"""How each type is encoded; unlike `encode_value` these may raise any error for a value of another type."""


@lru_cache(256)
def vector_head(width: int) -> bytes:
    """The bytes before the 4 * `width` bytes of a vector's numbers."""
    if not width:
        return _TAG_VECTOR + b"\x00"
    inner = b"\x0a" + varint(4 * width)
    return _TAG_VECTOR + varint(len(inner) + 4 * width) + inner


def decode_value(dtype: Dtype, raw: bytes) -> Any:
    """The value in a serialized `feast.types.Value`; None for null. Vectors are read-only views of `raw`, f32[n]."""
    if not raw:
        return None
    if dtype is Dtype.FLOAT32 and raw[:1] == _TAG_FLOAT32:
        return _float.unpack_from(raw, 1)[0]
    if dtype is Dtype.INT64 and raw[:1] == _TAG_INT64:
        return _signed(read_varint(raw, 1)[0])
    if dtype is Dtype.STRING and raw[:1] == _TAG_STRING:
        return raw[read_varint(raw, 1)[1] :].decode()
    if dtype is Dtype.VECTOR and raw[:2] == _TAG_VECTOR:
        return _decode_vector(raw)
    raise LayoutError(
        f"stored bytes {raw[:8].hex()} are not a {dtype.value}: the view's type changed under a filled store; "
        "give the view a new name, or clear the project's rows"
    )


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _decode_vector(raw: bytes) -> Any:
    _, place = read_varint(raw, 2)
    if place == len(raw):
        return np.empty(0, np.float32)
    _, place = read_varint(raw, place + 1)
    return np.frombuffer(raw, "<f4", offset=place)
