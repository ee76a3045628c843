"""Questions of the simulated world: one a visit, with the need that was behind it and the best that could be known."""

import numpy as np
import pytest

from features.prompt import SLOT
from training.dials import Dials
from training.retrieval import true_ranks
from training.words import load_phrases
from training.world import World
from training.world_questions import TITLES, world_questions


@pytest.fixture(scope="module")
def asked(kb):
    def of(**dials):
        world = World(kb, load_phrases(), 5, Dials(users=100, **dials))
        sets = world_questions(kb, world, 40, 1, lambda *_: None)
        return {questions.name: questions for questions in sets}

    return of


def _tells_words(question):
    return "searched '" in question.words or "wrote '" in question.words


def test_sets_differ_in_words_and_language(asked):
    sets = asked()
    assert list(sets) == list(TITLES)
    assert all(question.prompt.endswith(SLOT) for found in sets.values() for question in found.questions)
    said = {name: np.mean([_tells_words(question) for question in found.questions]) for name, found in sets.items()}
    assert said["world_silent"] < 0.2, "only an earlier visit can have told words"
    assert said["world_typed"] > 0.9
    assert all("language es" in question.prompt for question in sets["world_spanish"].questions)
    assert not any("language es" in question.prompt for question in sets["world_typed"].questions)


def test_the_posterior_finds_needs_far_better_than_chance(asked):
    questions = asked(semantic_share=1.0)["world_typed"]
    posteriors = np.stack([question.posterior for question in questions.questions])
    assert (posteriors.sum(axis=1) <= 1 + 1e-9).all()
    assert (true_ranks(posteriors, questions.truths()) == 1).mean() > 3 / len(questions.answers)


def test_the_same_world_asks_the_same_questions(asked):
    assert asked() == asked()
