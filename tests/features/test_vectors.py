from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from features.intent import LocaleText
from features.knowledge import Intent, KnowledgeBase
from features.settings import Connections
from features.vectors import Source, UnsoundVectors, embed_kept, ensure_intent_vectors, sources


class Lengths:
    """An encoder whose vectors tell the length of a text, and that notes what it was asked."""

    base_id, width = "a" * 64, 2

    def __init__(self):
        self.asked = []

    def embed(self, texts, progress=None):
        self.asked.append(list(texts))
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


def intent(name, title):
    return Intent(id=name, family="orders", title=title, description="It tells.", examples=("a?", "b?", "c?"))


def test_only_what_is_new_is_computed(tmp_path):
    encoder = Lengths()
    source = Source(encoder.base_id, lambda: encoder)
    first = embed_kept(["a", "bb", "a"], tmp_path, source)
    second = embed_kept(["ccc", "bb"], tmp_path, source)
    assert encoder.asked == [["a", "bb"], ["ccc"]]
    assert first[:, 0].tolist() == [1, 2, 1]
    assert second[:, 0].tolist() == [3, 2]


def test_whoever_adds_at_once_loses_nothing(tmp_path):
    encoder = Lengths()
    source = Source(encoder.base_id, lambda: encoder)
    texts = [f"text {number}" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: embed_kept([text], tmp_path, source), texts))
    assert len(encoder.asked) == len(texts)
    embed_kept(texts, tmp_path, source)
    assert len(encoder.asked) == len(texts)


def test_a_known_knowledge_base_loads_no_model(tmp_path):
    encoder = Lengths()
    kb = KnowledgeBase((intent("one", "One"), intent("two", "Two more")))
    sound = Source("1" * 64, lambda: encoder), Source("2" * 64, lambda: encoder)
    made = ensure_intent_vectors(kb, tmp_path, *sound)
    dead = Source("1" * 64, Lengths), Source("2" * 64, Lengths)
    kept = ensure_intent_vectors(kb, tmp_path, *dead)
    assert kept.ids == made.ids == ("one", "two")
    assert np.array_equal(kept.state, made.state)
    assert len(encoder.asked) == 2


def test_an_edit_computes_one_intent_on_each_side(tmp_path):
    encoder = Lengths()
    both = Source("1" * 64, lambda: encoder), Source("2" * 64, lambda: encoder)
    ensure_intent_vectors(KnowledgeBase((intent("one", "One"), intent("two", "Two"))), tmp_path, *both)
    ensure_intent_vectors(KnowledgeBase((intent("one", "One"), intent("two", "Edited"))), tmp_path, *both)
    assert [len(asked) for asked in encoder.asked] == [2, 2, 1, 1]


def test_another_languages_words_change_no_vector(tmp_path):
    encoder = Lengths()
    both = Source("1" * 64, lambda: encoder), Source("2" * 64, lambda: encoder)
    english = intent("one", "One")
    spoken = english.model_copy(update={"texts": {"es": LocaleText(title="Uno", description="Lo cuenta.")}})
    ensure_intent_vectors(KnowledgeBase((english,)), tmp_path, *both)
    ensure_intent_vectors(KnowledgeBase((spoken,)), tmp_path, *both)
    assert len(encoder.asked) == 2


@pytest.mark.parametrize("spoiled", [np.array([[np.nan, 1]]), np.ones((1, 3)), np.ones((2, 2))])
def test_unsound_vectors_are_not_kept(tmp_path, monkeypatch, spoiled):
    encoder = Lengths()
    source = Source(encoder.base_id, lambda: encoder)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "embed", lambda texts, progress=None: spoiled.astype(np.float32))
        with pytest.raises(UnsoundVectors, match="expected finite"):
            embed_kept(["a"], tmp_path, source)
    assert embed_kept(["a"], tmp_path, source).tolist() == [[1, 1]]


@pytest.mark.slow
def test_like_intents_are_near_for_both_models(tmp_path, reasoner):
    text, _ = sources(Connections().cache)
    late = intent("late", "My parcel is late"), intent("slow", "The delivery of my parcel takes too long")
    other = intent("login", "I forgot my password and cannot sign in"), intent("size", "Which size fits me?")
    kb = KnowledgeBase((*late, *other))
    vectors = ensure_intent_vectors(kb, tmp_path, text, Source(reasoner.base_id, lambda: reasoner))
    assert vectors.text.shape == (4, 384)
    assert vectors.state.shape == (4, 576)
    near, far = vectors.ids.index("late"), vectors.ids.index("login")
    query = vectors.ids.index("slow")
    for side in (vectors.text, vectors.state - vectors.state_mean):
        assert side[query] @ side[near] > side[query] @ side[far]
