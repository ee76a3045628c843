"""The report measures what is there: a way that knows the answer, one that is blind, and what must not win."""

import numpy as np
import pytest

from features.prompt import SLOT
from features.vectors import Source
from training.kept_encodings import KeptTexts, KeptVectors
from training.pooled_states import POOLINGS
from training.questions import Answer, Question, QuestionSet
from training.reasoner_quality import LanguageModel, SentenceEncoder, evaluated

TOPICS = ("apple", "brick", "cloud", "drum", "eagle", "flute", "grape", "harp")
WIDTH = 4 * len(TOPICS)


def _vector(text):
    """A topic's own direction, beside an offset that all texts share and a little of the text's own."""
    rng = np.random.default_rng(list(text.encode()))
    told = rng.normal(size=WIDTH) * 0.1
    for place, topic in enumerate(TOPICS):
        told[place] += topic in text
    return told + 30


class Topics:
    """An encoder that knows the topics, or (blind) only the texts' own noise; `poolings` vectors side by side."""

    def __init__(self, poolings, *, is_blind=False):
        self.base_id, self.width = f"{poolings}-{is_blind}".ljust(64, "0"), poolings * WIDTH
        self.poolings, self.is_blind = poolings, is_blind

    def embed(self, texts, progress=None):
        seen = [text[::-1] if self.is_blind else text for text in texts]
        return np.array([np.tile(_vector(text), self.poolings) for text in seen], np.float32)


def _kept(encoder, folder):
    return KeptVectors(Source(encoder.base_id, lambda: encoder), folder)


def _question(number, truth):
    words = f"{number} wants {TOPICS[truth] if truth is not None else 'nothing'}"
    posterior = None if truth is None else np.eye(len(TOPICS))[truth]
    return Question(words, f"Told: {words}.{SLOT}", None if truth is None else TOPICS[truth], f"c{number}", posterior)


def _set(truths):
    answers = tuple(Answer(topic, f"a {topic}", f"About: {topic}.{SLOT}") for topic in TOPICS)
    return QuestionSet("topics", "Topics", answers, tuple(_question(*pair) for pair in enumerate(truths)))


@pytest.fixture
def rows(tmp_path):
    def measured(truths, most_generated=0):
        queries = KeptTexts("q" * 64, lambda prompts: [f"more {prompt[-80:-70]}" for prompt in prompts], tmp_path)
        models = [LanguageModel("llm", "LLM", _kept(Topics(len(POOLINGS)), tmp_path), queries)]
        encoders = [SentenceEncoder("blind", "Blind", _kept(Topics(1, is_blind=True), tmp_path))]
        found = evaluated(
            _set(truths), models, encoders, most_generated=most_generated, seed=1, progress=lambda *_: None
        )
        return {row.way.key: row for row in found}

    return measured


EVEN = [number % len(TOPICS) for number in range(64)]


def test_a_way_that_knows_finds_all_and_is_the_reference(rows):
    found = rows(EVEN)["llm_slot"]
    assert found.centred.recall_at_1.mean == 1.0
    assert found.gain is None
    assert found.ms_per_text is not None


def test_a_blind_way_loses_to_the_reference_beyond_doubt(rows):
    gain = rows(EVEN)["blind_prompt"].gain
    assert gain is not None
    assert gain.high < 0


def test_the_placebo_does_not_beat_chance(rows):
    found = rows(EVEN)
    assert found["placebo"].centred.recall_at_3.low <= found["chance"].centred.recall_at_3.mean


def test_shared_words_need_no_model_and_the_ceiling_is_the_simulations_own(rows):
    found = rows(EVEN)
    assert found["words"].centred.mrr.mean == found["ceiling"].centred.mrr.mean == 1.0


def test_mode_g_is_compared_with_mode_p_on_its_own_sample(rows):
    found = rows(EVEN, most_generated=10)["llm_generated"]
    assert found.centred.n == 10
    assert found.gain is not None
    assert "llm_generated" not in rows(EVEN)


def test_questions_out_of_scope_are_told_apart_and_not_counted_as_missed(rows):
    found = rows([*EVEN, *[None] * 20])
    assert found["llm_slot"].centred.n == len(EVEN)
    assert found["llm_slot"].centred.recall_at_1.mean == 1.0
    assert found["llm_slot"].auroc is not None
    assert found["llm_slot"].auroc.mean > 0.95
    assert "ceiling" not in found
