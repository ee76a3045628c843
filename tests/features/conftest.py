"""The real reasoner and Feast's own store, each made once for all tests that need it."""

import os
import warnings

import pytest

from features.definitions import apply
from features.models import ensure_reasoner
from features.reasoner import open_reasoner
from features.reasoner_settings import ReasonerSettings
from features.settings import Connections
from features.views import project
from tests.features.tiny_model import saved


@pytest.fixture(scope="session")
def reasoner():
    """The small language model on the CPU, from the shared cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_reasoner(ensure_reasoner(Connections().cache), ReasonerSettings(device="cpu"))


@pytest.fixture(scope="session")
def feast_folder(tmp_path_factory):
    """Where the registry (registry.db) and the offline files (offline/) of `feast_store` are."""
    return tmp_path_factory.mktemp("feast")


@pytest.fixture(scope="session")
def feast_project():
    """A Feast project that no other session has."""
    return project(f"t{os.urandom(6).hex()}")


@pytest.fixture(scope="session")
def feast_store(feast_folder, feast_project, redis_url):
    """Feast's own store, our definitions applied."""
    return apply(feast_folder / "registry.db", feast_project, redis_url, feast_folder / "offline")


class Tiny:
    """Tiny models by kind, saved and opened once."""

    def __init__(self, home):
        self._home = home
        self._opened = {}

    def folder(self, kind):
        folder = self._home / kind
        return folder if folder.exists() else saved(folder, kind)

    def opened(self, kind, **asked):
        return open_reasoner(self.folder(kind), ReasonerSettings(device="cpu", cache=self._home, **asked))

    def __call__(self, kind, **asked):
        key = (kind, *asked.items())
        if key not in self._opened:
            self._opened[key] = self.opened(kind, **asked)
        return self._opened[key]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """`tiny("llama")`: a reasoner over a randomly initialised model of width 32; `tiny.folder("llama")`: its folder."""
    return Tiny(tmp_path_factory.mktemp("tiny"))
