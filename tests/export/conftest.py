"""One real bundle for all tests of this folder: exporting takes seconds."""

import shutil

import pytest

from export.assemble import tiny
from features.settings import Connections

INTENTS = tuple(f"intent_{i}" for i in range(7))
FAMILIES = ("even", "odd", "even", "odd", "even", "odd", "even")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A bundle that no test may change."""
    directory = tmp_path_factory.mktemp("bundles") / "built"
    tiny(directory, INTENTS, FAMILIES, cache=Connections().cache)
    return directory


@pytest.fixture
def bundle_copy(built, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(built, tmp_path / "copy")
