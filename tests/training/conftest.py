"""Builders of small valid objects for the tests of training."""

import pytest

from features.intent import Intent
from features.knowledge import KnowledgeBase


def intent(intent_id, family, **eligibility):
    return Intent(
        id=intent_id,
        family=family,
        title=f"About {intent_id}?",
        description=f"Tells about {intent_id}.",
        examples=("One way.", "Another way.", "A third way."),
        eligibility=eligibility,
    )


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
