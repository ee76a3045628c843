"""A small knowledge base for the tests of training."""

import pytest

from features.knowledge import KnowledgeBase
from tests.training.builders import intent


@pytest.fixture(scope="session")
def kb():
    """Eight intents in five families; four of them ask for facts."""
    return KnowledgeBase(
        (
            intent("track", "delivery", needs_any=("order:in_transit", "order:delayed")),
            intent("late", "delivery", needs_all=("order:delayed",)),
            intent("declined", "payment", needs_all=("recent:payment_failed", "cart:nonempty")),
            intent("code", "voucher", needs_all=("recent:voucher_rejected",)),
            intent("sizes", "goods"),
            intent("colours", "goods"),
            intent("hours", "shop"),
            intent("jobs", "shop"),
        )
    )
