"""Builders of small valid objects for the tests of training."""

from features.intent import Intent


def intent(intent_id, family, **eligibility):
    return Intent(
        id=intent_id,
        family=family,
        title=f"About {intent_id}?",
        description=f"Tells about {intent_id}.",
        examples=("One way.", "Another way.", "A third way."),
        eligibility=eligibility,
    )
