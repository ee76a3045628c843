"""Whether a service answers, asked in its own protocol and without its client library."""

from __future__ import annotations

import socket
import struct


def kafka_answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a broker answers a Metadata request (version 4, no topics) and names at least one live broker."""
    body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as stream:
                _size, correlation, _throttled_ms, brokers = struct.unpack(">iiii", stream.read(16))
                return bool(correlation == 1 and brokers >= 1)
    except (OSError, struct.error):
        return False


def redis_answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a server answers PING with PONG: it has loaded its data."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
