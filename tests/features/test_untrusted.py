"""What may stand in a prompt of what others wrote: short, visible, without structure, and soon found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.untrusted import MAX_TEXT_BYTES, clean, visible


@given(st.text(max_size=400), st.integers(8, 200))
@settings(deadline=None)
def test_a_clean_text_is_short_visible_and_without_structure(text, max_bytes):
    told = clean(text, max_bytes)
    assert len(told.encode()) <= max_bytes
    assert visible(told) == told
    assert not set(told) & set('":;<>{}|\\=#@')


@given(st.text(max_size=60))
@settings(deadline=None)
def test_marks_that_nobody_sees_change_nothing(text):
    hidden = "".join(f"{character}\u200b\u034f\ufe0f" for character in text)
    assert clean(hidden) == clean("".join(character for character in hidden if character not in "\u200b\u034f\ufe0f"))


def test_a_long_text_ends_with_a_whole_word():
    told = clean("parcel " * 100)
    assert set(told.split()) == {"parcel"}
    assert MAX_TEXT_BYTES - 8 < len(told) <= MAX_TEXT_BYTES


@pytest.mark.parametrize(
    "text",
    ["a-" * 999, "!" * 999 + "x", ",please" * 199 + "x", "1-a" * 499, "@" * 999, "a at " * 299, "(at)" * 299,
     "x" * 1999, "order no " * 199, "instruction " * 99, "hi " * 499, "#a" * 499, "[at].dot " * 199, "A1b" * 499,
     "dot at " * 199],
)  # fmt: skip
@pytest.mark.timeout(5)
def test_no_text_is_slow_to_clean(text):
    for end in ("", "1", "x", " "):
        assert len(clean(text + end).encode()) <= MAX_TEXT_BYTES
