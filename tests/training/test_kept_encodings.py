"""What was computed stays; a stopped evaluation goes on where it was."""

import numpy as np
import pytest

from features.vectors import Source
from training.kept_encodings import KeptTexts, KeptVectors


class Letters:
    """Counts letters, and remembers what it was asked."""

    base_id, width = "f" * 64, 26

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def embed(self, texts, progress=None):
        if self.fails_at in texts:
            raise RuntimeError("stopped")
        self.asked += texts
        return np.array([[text.count(chr(97 + place)) for place in range(26)] for text in texts], np.float32)


def _quiet(*_):
    return None


def test_rows_are_in_the_order_asked_and_equal_texts_are_computed_once(tmp_path):
    letters = Letters()
    found = KeptVectors(Source(letters.base_id, lambda: letters), tmp_path).of(["b", "a", "b"], _quiet)
    np.testing.assert_array_equal(found, letters.embed(["b", "a", "b"]))
    assert letters.asked[:2] == ["a", "b"]


def test_after_a_stop_only_the_rest_is_computed(tmp_path):
    texts = [f"{number:03} text" for number in range(200)]
    first, second = Letters(fails_at="150 text"), Letters()
    with pytest.raises(RuntimeError, match="stopped"):
        KeptVectors(Source(first.base_id, lambda: first), tmp_path).of(texts, _quiet)
    KeptVectors(Source(second.base_id, lambda: second), tmp_path).of(texts, _quiet)
    assert len(first.asked) > 0
    assert [*first.asked, *second.asked] == texts


def test_the_cost_of_a_text_outlives_the_run_that_paid_it(tmp_path):
    letters = Letters()
    source = Source(letters.base_id, lambda: letters)
    assert KeptVectors(source, tmp_path).ms_per_text is None
    KeptVectors(source, tmp_path).of(["a", "b"], _quiet)
    paid = KeptVectors(source, tmp_path).ms_per_text
    KeptVectors(source, tmp_path).of(["a", "b"], _quiet)
    assert paid is not None
    assert paid > 0
    assert KeptVectors(source, tmp_path).ms_per_text == paid


def test_generated_texts_are_kept_and_a_cut_line_is_made_again(tmp_path):
    asked = []

    def shout(texts):
        asked.extend(texts)
        return [text.upper() for text in texts]

    assert KeptTexts("n" * 64, shout, tmp_path).of(["a", "b"], _quiet) == ["A", "B"]
    (file,) = (tmp_path / "queries").glob("*.jsonl")
    file.write_text(file.read_text()[:-3])
    assert KeptTexts("n" * 64, shout, tmp_path).of(["b", "a"], _quiet) == ["B", "A"]
    assert asked == ["a", "b", "b"]
