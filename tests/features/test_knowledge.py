"""The knowledge base as a value: versions, differences and the records that carry them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import InvalidEvent, parse
from features.events import EventKind, OrderStatus
from features.knowledge import (
    FACT_NAMES,
    Eligibility,
    Intent,
    KnowledgeBase,
    LocaleText,
    changes,
    diff,
    from_changes,
)
from features.notices import IntentChange

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORDS = st.text(st.characters(exclude_categories=["C"]), max_size=20).map(lambda text: f"a {text}")
SLUGS = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
FACTS = st.lists(st.sampled_from(sorted(FACT_NAMES)), max_size=4).map(tuple)
INTENTS = st.builds(
    Intent,
    id=SLUGS,
    family=SLUGS,
    title=WORDS,
    description=WORDS,
    examples=st.lists(WORDS, min_size=3, max_size=6).map(tuple),
    eligibility=st.builds(Eligibility, needs_all=FACTS, needs_any=FACTS),
    status=st.sampled_from(["draft", "active", "disabled"]),
    texts=st.dictionaries(
        st.sampled_from(["es", "es-MX", "fr"]), st.builds(LocaleText, title=WORDS, description=WORDS), max_size=2
    ),
)
BASES = st.lists(INTENTS, max_size=3, unique_by=lambda intent: intent.id).map(
    lambda intents: KnowledgeBase(tuple(intents))
)


def an_intent(**fields: object) -> Intent:
    usual = {"id": "track", "family": "delivery", "title": "Where is it?", "description": "Tells where it is."}
    return Intent.model_validate({**usual, "examples": ["far?", "here?", "when?"], **fields})


@given(INTENTS)
def test_an_intent_survives_json(intent: Intent):
    assert Intent.model_validate_json(intent.model_dump_json()) == intent


@settings(max_examples=40)
@given(BASES, BASES)
def test_publishing_the_difference_turns_the_old_base_into_the_new_one(old: KnowledgeBase, new: KnowledgeBase):
    records = [parse(IntentChange, change.to_json()) for change in changes(diff(old, new), "demo", NOW)]
    for record in records:
        old = old.with_change(record)
    assert old == new
    assert old.version == new.version


@settings(max_examples=40)
@given(BASES)
def test_a_base_is_rebuilt_from_its_records_alone(base: KnowledgeBase):
    assert from_changes(changes(diff(KnowledgeBase(), base), "demo", NOW)) == base


@settings(max_examples=40)
@given(BASES)
def test_equal_bases_differ_in_nothing(base: KnowledgeBase):
    assert not diff(base, KnowledgeBase(tuple(reversed(base.intents))))


def test_a_record_without_an_intent_retires_it():
    base = KnowledgeBase((an_intent(),))
    gone = IntentChange(intent_id="track", kb_version="v", time=NOW)
    assert (
        base.with_change(gone).intents
        == from_changes([*changes(diff(KnowledgeBase(), base), "demo", NOW), gone]).intents
    )
    assert base.with_change(gone).intents == ()


@pytest.mark.parametrize("broken", [{"id": "track"}, an_intent(id="other").model_dump(mode="json")])
def test_a_record_with_a_broken_intent_is_an_invalid_event(broken: dict[str, object]):
    change = IntentChange(intent_id="track", kb_version="v", time=NOW, intent=broken)
    with pytest.raises(InvalidEvent, match="track") as caught:
        KnowledgeBase().with_change(change)
    assert caught.value.reason == "bad_intent"


def test_tomorrows_unknown_field_is_dropped():
    assert an_intent(colour="red") == an_intent()


def test_tomorrows_unknown_fact_never_holds():
    assert not an_intent(eligibility={"needs_any": ["weather:sunny"]}).eligibility.holds(FACT_NAMES)


def test_a_base_refuses_an_id_that_stands_twice():
    with pytest.raises(ValueError, match="track stands twice"):
        KnowledgeBase((an_intent(), an_intent(title="Again?")))


@pytest.mark.parametrize(
    "edit", [{"title": "New?"}, {"status": "draft"}, {"texts": {"es": {"title": "a", "description": "b"}}}]
)
def test_any_edit_changes_the_version(edit: dict[str, object]):
    assert KnowledgeBase((an_intent(),)).version != KnowledgeBase((an_intent(**edit),)).version


def test_only_the_canonical_words_change_the_content_hash():
    intent = an_intent()
    dressed = an_intent(status="draft", texts={"es": {"title": "a", "description": "b"}})
    assert intent.content_hash == dressed.content_hash != an_intent(examples=["far?", "here?", "why?"]).content_hash


@pytest.mark.parametrize(("asked", "used"), [("es-MX", "es"), ("es", "es"), ("fr", "en"), ("en-GB", "en")])
def test_display_falls_back_from_region_to_language_to_english(asked: str, used: str):
    intent = an_intent(texts={"es": {"title": "¿Dónde está?", "description": "Dice dónde está."}})
    shown = intent.display(asked)
    assert (shown.locale, shown.title) == (used, "¿Dónde está?" if used == "es" else "Where is it?")


def test_display_prefers_the_exact_region():
    words = {"es": {"title": "a", "description": "b"}, "es-MX": {"title": "c", "description": "d"}}
    assert an_intent(texts=words).display("es-MX") == ("c", "d", "es-MX")


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({"order:any", "order:lost"}, True),
        ({"order:any"}, False),
        ({"order:lost", "order:delayed"}, False),
        (set(), False),
    ],
)
def test_a_rule_needs_all_of_one_list_and_one_of_the_other(facts: set[str], holds: bool):  # noqa: FBT001
    rule = Eligibility(needs_all=("order:any",), needs_any=("order:lost", "order:delayed"))
    assert rule.holds(facts) is holds


def test_only_active_intents_are_eligible():
    base = KnowledgeBase((an_intent(id="a"), an_intent(id="b", status="draft"), an_intent(id="c", status="disabled")))
    assert [intent.id for intent in base.eligible(frozenset())] == ["a"]


def test_the_facts_cover_every_order_status_and_every_known_event():
    assert {f"order:{status}" for status in OrderStatus} < FACT_NAMES
    assert {f"recent:{kind}" for kind in EventKind} - FACT_NAMES == {"recent:other"}


def test_a_difference_reads_as_a_summary_and_one_line_an_edit():
    old = KnowledgeBase((an_intent(), an_intent(id="old", title="Old?")))
    new = KnowledgeBase((an_intent(title="Where now?"), an_intent(id="new", title="New?")))
    assert diff(old, new).render().splitlines() == [
        f"1 added, 1 changed, 1 removed -> version {new.version}",
        "+ new: New?",
        "~ track: Where now?",
        "    title: Where is it? -> Where now?",
        "- old: Old?",
    ]
