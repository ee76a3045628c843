"""A world of one sentence: a shopper wants exactly one intent, and either a feature or the query says which."""

import numpy as np

from features.schema import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, Encoded
from features.vectors import IntentVectors
from training.dataset import Dataset

INTENTS = tuple(f"intent_{i}" for i in range(6))
FAMILIES = {intent_id: ("even", "odd")[i % 2] for i, intent_id in enumerate(INTENTS)}
WIDTH = 24


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    text = rng.standard_normal((len(INTENTS), 16), np.float32)
    return IntentVectors(INTENTS, text, 3.0 + rng.standard_normal((len(INTENTS), WIDTH), np.float32))


def dataset(requests=600, *, tells="feature", seed=1):
    """(dataset, query f32[B,H], need i64[B]); slates of three show the need half of the time, and then it is clicked.

    `tells`: "feature" puts the need into the page of the trigger, "query" into a noisy copy of the intent's centred
    state, "nothing" nowhere.
    """
    rng = np.random.default_rng(seed)
    need = rng.integers(0, len(INTENTS), requests)
    exposed = np.argsort(rng.random((requests, len(INTENTS))), axis=1)[:, :3]
    clicks = (exposed == need[:, None]).astype(np.float32)
    state = vectors().state - vectors().state.mean(0)
    signal = state[need] if tells == "query" else np.zeros((requests, WIDTH), np.float32)
    query = (signal + 0.3 * rng.standard_normal((requests, WIDTH))).astype(np.float32)
    rows = Dataset(
        intent_ids=INTENTS,
        encoded=encoded(rng, need if tells == "feature" else np.zeros_like(need)),
        exposed=exposed,
        positions=np.tile(np.arange(1, 4), (requests, 1)),
        clicks=clicks,
        propensity=np.full(exposed.shape, 1 / len(INTENTS), np.float32),
        eligible=np.ones((requests, len(INTENTS)), np.bool_),
        state_hash=tuple(f"{row:064x}" for row in range(requests)),
        user=tuple(f"demo:u{row}" for row in range(requests)),
        decision_id=tuple(f"d{row}" for row in range(requests)),
        made_ms=np.arange(requests),
    )
    return rows, query, need


def encoded(rng, page):
    """Random features whose trigger page is `page`."""
    requests = len(page)
    categorical = np.zeros((requests, len(CATEGORICAL)), np.int64)
    categorical[:, list(CATEGORICAL).index("trigger_page")] = page
    return Encoded(
        numeric=rng.random((requests, len(NUMERIC)), np.float32),
        categorical=categorical,
        event_kinds=rng.integers(0, 4, (requests, SEQUENCE_LENGTH)),
        event_ages=rng.random((requests, SEQUENCE_LENGTH), np.float32),
    )


def hit_rate(logits, need):
    """The share of requests whose best intent is the needed one."""
    return float((logits.argmax(1) == need).mean())
