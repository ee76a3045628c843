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
