"""What this machine has and what is missing, each with the command that mends it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deploy.jars import JarsRejected, folder, verify
from deploy.runtimes import JAVA_AT_LEAST, JavaNotFound, ValkeyNotFound, find_java, find_redis, java_version
from features.access import AccessRefused
from features.settings import Connections

PYTHONS = ((3, 11), (3, 12))
FREE_AT_LEAST_GB = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `advice` is what to do when it is not `ok`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def checks(connections: Connections | None = None) -> list[Check]:
    """Every check, cheapest first; none of them changes anything or starts a service."""
    connections = connections or Connections()
    found = [
        python(sys.version_info[:2]),
        onnxruntime(_installed("onnxruntime"), _installed("onnxruntime-gpu")),
        java(),
        valkey(),
        jars(connections.cache),
        *models(connections.cache),
        disk(connections.cache),
        *services(connections),
    ]
    return [*found, *gpu()] if _installed("onnxruntime-gpu") else found


def python(running: tuple[int, int]) -> Check:
    """The interpreter is one that this project is tested on."""
    text = f"Python {running[0]}.{running[1]}"
    return Check("Python", running in PYTHONS, text, "make PYTHON=/path/to/python3.11 install")


def onnxruntime(cpu: str | None, cuda: str | None) -> Check:
    """Exactly one of the two packages that share the import name `onnxruntime`."""
    found = [f"{name} {found}" for name, found in (("onnxruntime", cpu), ("onnxruntime-gpu", cuda)) if found]
    advice = "both share one import name: rm -rf .venv && make install [GPU=1]" if cpu and cuda else "make install"
    return Check("ONNX Runtime", len(found) == 1, " and ".join(found) or "none", advice)


def java() -> Check:
    """A Java runtime for the embedded broker."""
    try:
        path = find_java()
    except JavaNotFound as error:
        return Check("Java", ok=False, found="none", advice=str(error))
    found = java_version(path)
    is_new_enough = found is not None and found >= JAVA_AT_LEAST
    return Check(
        "Java", is_new_enough, f"{found} at {path}", f"Java >= {JAVA_AT_LEAST}: make install, or set JAVA_HOME"
    )


def valkey() -> Check:
    """A Redis-speaking server to embed."""
    try:
        return Check("Valkey", ok=True, found=str(find_redis()))
    except ValkeyNotFound as error:
        return Check("Valkey", ok=False, found="none", advice=str(error))


def jars(cache: Path) -> Check:
    """The broker's jars are in the cache and are the committed ones."""
    try:
        verify(folder(cache))
    except JarsRejected as error:
        is_there = folder(cache).is_dir()
        advice = str(error) if is_there else "they are fetched at the first `make demo` or `make test`"
        return Check("Kafka's jars", ok=False, found="differ" if is_there else "not fetched", advice=advice)
    return Check("Kafka's jars", ok=True, found=str(folder(cache)))


def models(cache: Path) -> Iterator[Check]:
    """The two small models are in the cache, ready to load."""
    for name, pattern in (("Reasoner", "reasoner-*"), ("Text encoder", "text-encoder-*")):
        found = next((path for path in (cache / "models").glob(pattern) if path.is_dir()), None)
        yield Check(
            name, found is not None, str(found or "not fetched"), "fetched at the first `make demo` or `make test`"
        )


def disk(cache: Path) -> Check:
    """Room for the models, the services' data and the logs."""
    at = next(path for path in (cache, *cache.parents) if path.exists())
    free_gb = shutil.disk_usage(at).free / 1e9
    advice = f"free {FREE_AT_LEAST_GB} GB, or point RGALIGN_CACHE at a larger disk"
    return Check("Disk", free_gb >= FREE_AT_LEAST_GB, f"{free_gb:.0f} GB free at {at}", advice)


def services(connections: Connections) -> Iterator[Check]:
    """Kafka and Redis answer and let us in, asked only when the environment names them; else they are embedded."""
    from features import kafka_access, redis_access
    from features.kafka_client import aiokafka_arguments

    if "KAFKA_URL" in os.environ:
        found = f"{connections.kafka_url} ({connections.kafka_security_protocol})"
        yield _service("Kafka", found, lambda: kafka_access.is_admitted(aiokafka_arguments(connections)))
    if "REDIS_URL" in os.environ:
        yield _service("Redis", connections.redis_place, lambda: redis_access.is_admitted(connections))


def _service(name: str, found: str, ask: Callable[[], Coroutine[Any, Any, bool]]) -> Check:
    try:
        return Check(name, asyncio.run(ask()), found, f"start it, or unset {name.upper()}_URL to embed one")
    except AccessRefused as refusal:
        return Check(name, ok=False, found=found, advice=str(refusal))


def gpu() -> Iterator[Check]:
    """ONNX Runtime's CUDA build finds its libraries."""
    import onnxruntime as runtime

    providers = runtime.get_available_providers()
    advice = "install an NVIDIA driver for CUDA 13, or rm -rf .venv && make install"
    yield Check("CUDA provider", "CUDAExecutionProvider" in providers, ", ".join(providers), advice)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
