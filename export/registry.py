"""The registry: a folder of published bundles, each under a version that is its number and its content."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from export import bundle
from export.bundle import BundleRejected, Opened

_VERSION = re.compile(r"v(\d{4,})-([0-9a-f]{8})")


class Registry:
    """Versions like v0003-1c9e7b02 under one root; a published bundle is never changed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def versions(self) -> list[str]:
        """Published versions, oldest first."""
        if not self.root.is_dir():
            return []
        names = [entry.name for entry in self.root.iterdir() if _VERSION.fullmatch(entry.name)]
        return sorted(names, key=_number)

    def path(self, version: str) -> Path:
        """The folder of a version. Raises `BundleRejected` when there is none of that name."""
        if version not in self.versions():
            raise BundleRejected(
                "unknown_version", f"no version {version!r:.80}", f"one of {self.versions()[-5:]}", "name one of these"
            )
        return self.root / version

    def publish(self, directory: Path) -> tuple[str, str]:
        """Copies a verified bundle in under the next version: (uri, manifest sha256).

        The same content published again is the version that it already has. Two publishers at once get two numbers.
        """
        draft = bundle.read(directory)
        for version in self.versions():
            if _VERSION.fullmatch(version)[2] == draft.manifest.content:  # type: ignore[index]
                return self._told(self.root / version)
        self.root.mkdir(parents=True, exist_ok=True)
        latest = _number(self.versions()[-1]) if self.versions() else 0
        targets = (self._placed(draft, f"v{n:04d}-{draft.manifest.content}") for n in itertools.count(latest + 1))
        return self._told(next(target for target in targets if target is not None))

    def _placed(self, draft: Opened, version: str) -> Path | None:
        """The new folder, or None when this number is taken (perhaps by a publisher that died)."""
        manifest = bundle.sealed(draft.manifest.model_copy(update={"version": version}))
        claim = self.root / f".claim-{version.partition('-')[0]}"
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            return None
        bundle.place(self.root / version, draft.files, manifest)
        return self.root / version

    def _told(self, folder: Path) -> tuple[str, str]:
        return folder.absolute().as_uri(), bundle.read(folder).manifest_sha256


def folder_of(uri: str) -> Path:
    """The folder of a release's `uri`: file:///... or a plain path. Raises `BundleRejected` for anything else.

    >>> folder_of("file:///srv/registry/v0001-0a1b2c3d")
    PosixPath('/srv/registry/v0001-0a1b2c3d')
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc:
        raise BundleRejected("bad_uri", f"uri {uri[:80]!r}", "file:///folder", "publish with `rgalign release`")
    return Path(unquote(parts.path))


def _number(version: str) -> int:
    return int(version[1:].partition("-")[0])
