"""The broker's jars: resolved once by Maven coordinates, each checked against a committed sha256."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from features.file_lock import locked

KAFKA = "4.4.0"
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA}+org.slf4j:slf4j-simple:1.7.36@kafka.Kafka"
SUMS = Path(__file__).with_name("kafka-jars.sha256")
ATTEMPTS = 3

SIZE_BYTES = 43_500_000

Progress = Callable[[str, int, int], None]
"""progress(what, done, total), in bytes"""


class JarsRejected(RuntimeError):
    """A jar is missing, not on the committed list, or differs from it."""


class JarsNotFetched(RuntimeError):
    """The jars are not in the cache and could not be fetched."""


def committed_sums() -> dict[str, str]:
    """The committed list: jar file name -> sha256."""
    rows = (line.split() for line in SUMS.read_text().splitlines() if line)
    return {name: digest for digest, name in rows}


def folder(cache: Path) -> Path:
    """Where the jars of this Kafka version lie."""
    return cache / "kafka" / KAFKA


def ensure_jars(cache: Path, progress: Progress = lambda *_: None) -> Path:
    """The folder of checked jars, fetched if absent (43 MB).

    Raises `JarsRejected` if one differs from the committed list, `JarsNotFetched` if they could not be fetched.
    """
    target = folder(cache)
    with locked(target.parent / "lock"):
        if not target.is_dir():
            progress(f"fetch Apache Kafka {KAFKA}", 0, SIZE_BYTES)
            _fetch(target)
            progress(f"fetch Apache Kafka {KAFKA}", SIZE_BYTES, SIZE_BYTES)
        verify(target)
    return target


def verify(jars: Path, sums: Mapping[str, str] | None = None) -> None:
    """Checks that `jars` holds exactly the listed files with the listed sha256; raises `JarsRejected`."""
    expected = committed_sums() if sums is None else sums
    found = {path.name: _sha256(path) for path in jars.glob("*.jar")}
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is not on the list" for name in found.keys() - expected.keys()]
    wrong += [
        f"{name} has sha256 {found[name]}, expected {expected[name]}"
        for name in expected.keys() & found.keys()
        if found[name] != expected[name]
    ]
    if wrong:
        raise JarsRejected(
            f"{len(wrong)} of the broker's jars in {jars} differ from {SUMS.name}: {'; '.join(sorted(wrong)[:3])}. "
            f"Nothing was started. Delete {jars} and run again to fetch them anew; if it happens again, "
            "do not trust the repository that answered"
        )


def _fetch(target: Path) -> None:
    """Resolves into a temporary folder beside `target`, checks, then renames: `target` is whole or absent."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        work = Path(temporary)
        flat = work / "flat"
        flat.mkdir()
        for jar in _resolve(work).rglob("*.jar"):
            shutil.move(jar, flat / jar.name)
        verify(flat)
        flat.rename(target)


def _resolve(work: Path) -> Path:
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext, PythonResolver

    for attempt in range(1, ATTEMPTS + 1):
        context = MavenContext(resolver=PythonResolver(), repo_cache=work / "maven", timeout=30)
        builder = EnvironmentBuilder(context=context, cache_dir=work / "environment")
        try:
            return Path(builder.from_endpoint(ENDPOINT).path)
        except (OSError, RuntimeError, ValueError) as error:
            if attempt == ATTEMPTS:
                raise JarsNotFetched(
                    f"Apache Kafka {KAFKA} could not be fetched after {ATTEMPTS} attempts: {error}. Check the network "
                    "and run again, or set KAFKA_URL to a broker of your own"
                ) from error
    raise AssertionError("unreachable")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
