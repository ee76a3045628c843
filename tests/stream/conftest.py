"""A small real bundle, exported once for all stream tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stream import stage


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle over the project's knowledge base, to be published by each test in its own registry."""
    return stage.draft(tmp_path_factory.mktemp("bundle"))
