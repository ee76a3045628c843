"""An editor's mistakes: each is told with its line, what was found and what to do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.knowledge import KbError, KnowledgeBase, load

GOOD = """\
family: delivery
intents:
  - id: track
    title: Where is it?
    description: Tells where it is.
    examples:
      - How far is it?
      - Is it here?
      - When is it here?
"""


def faults(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(KbError) as caught:
        load(path)
    return str(caught.value).replace(f"{path}:", "").splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "family.yaml"


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("    title: Where is it?\n", "", "3: intent track: `title` is missing; expected it here: add `title:`"),
        ("title: W", "titel: W", "4: unknown field 'titel' in the intent; expected a known name: did you mean title?"),
        ("Where is it?", "w" * 81, "4: intent track: `title` has 81 characters; expected at most 80: shorten 'www"),
        ("Tells where it is.", "", "5: intent track: `description` is empty; expected a text: write one"),
        (
            "- How",
            "How",
            "7: intent track: `examples` is 'How far is it? - Is it here? - When",
        ),
        ("      - Is it here?\n", "", "7: intent track: `examples` has 2; expected at least 3: add more"),
        ("Is it here?", "where is IT?", "8: intent track: the example 'where is IT?' repeats the title"),
        ("id: track", "id: Track it", "3: intent Track it: `id` is 'Track it'; expected the form"),
        ("    title", "    title: T\n    title", "5: `title` stands twice in the intent; expected it once"),
        ("    title", "    status: off\n    title", "4: intent track: `status` is 'off'; expected 'draft', 'active'"),
        ("    title", "    texts: {es: {title: x}}\n    title", "4: intent track: `texts.es.description` is missing"),
        ("    title", "    texts: {es: {titulo: x}}\n    title", "4: unknown field 'titulo' in the text"),
        ("    title", "    texts: {Spanish: {title: x, description: y}}\n    title", "4: intent track: `texts.Spanish"),
        ("    title", "    eligibility: {needs: [a]}\n    title", "4: unknown field 'needs' in eligibility"),
        ("family: delivery\n", "", "1: the file has no `family`; expected `family:`"),
        ("family: delivery", "family: delivery\nother: 1", "2: unknown field 'other' in the file"),
        ("  - id: track", "  - &a track\n  - *a\n  - id: track", "3: a YAML anchor is used a second time"),
        ("Is it here?", "Is it: here?", "8: intent track: `examples.1`"),
        ("Is it here?", "[broken", "expected YAML: check the indentation"),
    ],
)
def test_a_mistake_is_told_with_its_line(path: Path, right: str, wrong: str, told: str):
    assert right in GOOD
    assert any(told in line for line in faults(path, GOOD.replace(right, wrong, 1)))


def test_an_unknown_fact_is_answered_with_the_nearest_one(path: Path):
    text = GOOD + "    eligibility:\n      needs_any: [order:in_transt]\n"
    assert faults(path, text) == [
        "11: unknown fact 'order:in_transt'; expected a known name: did you mean order:in_transit?"
    ]


def test_a_doubled_id_names_both_places(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(KbError, match=r"b\.yaml:3: the id track is also at .*a\.yaml:3; .*rename or remove one"):
        load(tmp_path)


def test_every_mistake_is_told_at_once_up_to_twenty(path: Path):
    assert len(faults(path, "family: a\nintents:\n" + "  - id: X\n" * 30)) == 21


@pytest.mark.parametrize(
    "text", ["", "just words", "- a list", "family: a\nintents: none", "? [a]\n: b", "\x00", "a: \xff"]
)
def test_what_is_no_knowledge_base_is_a_kb_error(path: Path, text: str):
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(KbError, match=r"family\.yaml:[12]: .*expected"):
        load(path)


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path):
    with pytest.raises(KbError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(KbError, match="found no"):
        load(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_no_flipped_byte_crashes_the_reader(path: Path, at: int, byte: int):
    raw = bytearray(GOOD.encode())
    raw[at] = byte
    path.write_bytes(raw)
    with suppress(KbError):
        assert isinstance(load(path), KnowledgeBase)


def test_words_that_yaml_takes_for_values_stay_words(path: Path):
    path.write_text(GOOD.replace("Where is it?", "No", 1).replace("Is it here?", "2026-01-01", 1))
    (intent,) = load(path).intents
    assert (intent.title, intent.examples[1]) == ("No", "2026-01-01")
