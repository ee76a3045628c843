"""The real reasoner, loaded once for all tests that need it."""

import warnings

import pytest

from features.models import ensure_reasoner
from features.reasoner import Reasoner
from features.settings import Connections


@pytest.fixture(scope="session")
def reasoner():
    """The small language model on the CPU, from the shared cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reasoner(ensure_reasoner(Connections().cache), device="cpu")
