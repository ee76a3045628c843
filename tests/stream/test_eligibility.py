"""All rules asked at once say what each rule says by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from features.intent import FACT_NAMES, Eligibility, Intent
from stream.eligibility import REMEMBERED, EligibilityRules

FACTS = (*sorted(FACT_NAMES)[:5], "order:beamed_up")
some_facts = st.frozensets(st.sampled_from(FACTS))
rules_of = st.lists(
    st.builds(Eligibility, needs_all=some_facts.map(tuple), needs_any=some_facts.map(tuple)), max_size=12
)


def intents(rules: list[Eligibility]) -> list[Intent]:
    told = {"family": "f", "title": "t", "description": "d", "examples": ("a", "b", "c")}
    return [Intent(id=f"i{place}", eligibility=rule, **told) for place, rule in enumerate(rules)]


@given(rules_of, some_facts)
def test_the_matrices_say_what_the_rules_say(rules: list[Eligibility], facts: frozenset[str]) -> None:
    listed = intents(rules)
    eligible = EligibilityRules(listed).of(facts)
    expected = [intent.eligibility.holds(facts) for intent in listed]
    assert eligible.mask.tolist() == expected
    assert eligible.ids == [intent.id for intent, holds in zip(listed, expected, strict=True) if holds]
    assert eligible.ids == [listed[place].id for place in eligible.index]


def test_what_is_remembered_is_bounded():
    rules = EligibilityRules(intents([Eligibility(needs_any=(FACTS[0],))]))
    for number in range(REMEMBERED + 10):
        rules.of(frozenset({f"recent:{number}"}))
    assert len(rules._known) <= REMEMBERED
    assert rules.of(frozenset({FACTS[0]})).ids == ["i0"]
