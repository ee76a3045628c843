"""Worlds that differ in the semantic share differ in words alone, and at a share of 0 the words tell nothing."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from features.contract import to_ms
from features.decisions import OutcomeKind
from features.events import EventKind
from features.knowledge import load
from features.prompt import state_hash
from training.dataset import build
from training.dials import SCIENCE, SHARES, TUNING_SEEDS, UNTOUCHED_SEEDS, Dials
from training.needs import DAY_MS
from training.science_world import HOURS, START_MS, bank, requests, visits
from training.words import GENERAL, Words, load_phrases
from training.world import World

SMALL = Dials(semantic_share=1.0, users=30, noise=0.0, pace_s=20.0)


def said(kb):
    return {i.id: [f"{i.id} {word}" for word in ("north", "south", "east", "west")] for i in kb.intents}


def made(kb, share=1.0, seed=3, rounds=3, **dials):
    return list(requests(World(kb, said(kb), seed, replace(SMALL, semantic_share=share, **dials)), kb, rounds))


def without_words(request):
    decision, told = request.decision, [(o.kind, o.intent_id, o.time) for o in request.outcomes]
    slate = [(p.intent_id, p.propensity) for p in decision.prompts]
    return decision.trigger_event, decision.time, request.need, slate, told, decision.candidates


def test_equal_seeds_give_equal_requests(kb):
    first, second = made(kb), made(kb)
    assert [r.decision for r in first] == [r.decision for r in second]
    assert [r.outcomes for r in first] == [r.outcomes for r in second]
    assert [r.decision for r in made(kb, seed=4)] != [r.decision for r in first]


def test_the_share_changes_words_and_nothing_else(kb):
    by_share = {share: made(kb, share) for share in SHARES}
    told = {share: [*map(without_words, log)] for share, log in by_share.items()}
    assert all(told[share] == told[0.0] for share in SHARES)
    assert [r.prompt for r in by_share[1.0]] != [r.prompt for r in by_share[0.0]]


def information(pairs):
    """The plug-in mutual information of a text and a need, in nats."""
    n, both = len(pairs), Counter(pairs)
    texts, needs = Counter(text for text, _ in pairs), Counter(need for _, need in pairs)
    return sum(c / n * np.log(c * n / (texts[text] * needs[need])) for (text, need), c in both.items())


def words_and_needs(kb, share):
    """(words, need) of every event that has words, by its kind."""
    pairs = defaultdict(list)
    world = World(kb, said(kb), 3, replace(SMALL, semantic_share=share))
    for session in visits(world, 12):
        for event, need in zip(session.events, session.needs, strict=True):
            if text := event.data.query or event.data.text or event.data.topic or event.data.error:
                pairs[event.kind].append((text, need))
    return pairs


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_words_tell_of_the_need_by_the_share_alone(kb, share):
    pairs, rng = words_and_needs(kb, share), np.random.default_rng(0)
    for kind in (EventKind.SEARCHED, EventKind.CHAT_OPENED, EventKind.HELP_PAGE_OPENED):
        texts, needs = zip(*pairs[kind], strict=True)
        found = information(pairs[kind])
        placebo = [information([*zip(texts, rng.permutation(needs), strict=True)]) for _ in range(100)]
        if share:
            assert found > max(placebo) + 0.1, kind
        else:
            assert np.quantile(placebo, 0.005) <= found <= np.quantile(placebo, 0.995), kind


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_that_share_of_needy_searches_is_about_the_need(kb, share):
    world = World(kb, said(kb), 3, replace(SMALL, semantic_share=share))
    told = [
        need == event.data.query.split()[0]
        for session in visits(world, 30)
        for event, need in zip(session.events, session.needs, strict=True)
        if event.kind is EventKind.SEARCHED and need
    ]
    assert np.mean(told) == pytest.approx(share + (1 - share) * 0.5 / 8, abs=3 * 0.5 / np.sqrt(len(told)))


def test_noise_takes_words_from_the_whole_family(kb):
    intents, track = kb.intents, next(n for n, i in enumerate(kb.intents) if i.id == "track")
    searches = Words(intents, said(kb), Dials(semantic_share=1.0, noise=0.4)).of("en", 0).searches
    mass = Counter()
    for text in searches.options:
        mass[text.split()[0]] += searches.likelihood(text)[track]
    assert (mass["track"], mass["late"]) == (pytest.approx(0.8), pytest.approx(0.2))


def test_prompts_stand_in_the_bank_and_hash_to_what_was_logged(kb):
    known, log = set(bank(kb, said(kb))), made(kb)
    assert {request.prompt for request in log} <= known
    assert all(state_hash(r.prompt) == r.decision.embedding.state_hash for r in log)


def test_the_bank_of_our_own_knowledge_base_can_be_embedded_once():
    assert 2000 < len(bank(load(), load_phrases())) <= 2500


def test_new_words_were_never_said_before(kb):
    from_ms = START_MS + 3 * DAY_MS
    log = made(kb, rounds=6, new_words_from_ms=from_ms)
    chats = defaultdict(set)
    for request in log:
        for event in request.session.events:
            if event.data.text:
                chats[to_ms(event.time) >= from_ms].add(event.data.text)
    assert chats[True]
    assert chats[True] & chats[False] <= set(GENERAL)


def test_new_intents_are_offered_from_their_launch_on_only(kb):
    from_ms = START_MS + 2 * DAY_MS
    log = made(kb, rounds=4, new_intents=0.25, new_from_ms=from_ms)
    offered = {True: set(), False: set()}
    for request in log:
        offered[to_ms(request.decision.time) >= from_ms] |= set(request.decision.candidates.intent_ids)
    assert len(offered[True] - offered[False]) == 2


def test_visits_come_once_a_round_at_the_shoppers_own_hours(kb):
    world = World(kb, said(kb), 3, replace(SMALL, users=300))
    sessions = [*visits(world, 2, round_days=3.0)]
    assert Counter(s.shopper.id for s in sessions).most_common()[-1][1] == 2
    first = sessions[:300]
    assert [s.start_ms for s in first] == sorted(s.start_ms for s in first)
    assert {s.number // 300 for s in first} == {0}
    hours = [(s.start_ms // 3_600_000 + s.shopper.utc_offset_h) % 24 for s in sessions]
    night = sum(HOURS[1:6]) / sum(HOURS)
    assert np.mean([1 <= hour < 6 for hour in hours]) == pytest.approx(night, abs=0.04)


def test_the_log_becomes_a_dataset_with_every_click(kb):
    log = made(kb)
    outcomes = [outcome for request in log for outcome in request.outcomes]
    table = build((request.decision for request in log), outcomes, [i.id for i in kb.intents])
    clicks = sum(outcome.kind is OutcomeKind.CLICKED for outcome in outcomes)
    assert table.clicks.sum() == clicks > 20
    assert (table.dropped.orphan_outcomes, table.dropped.outside_window) == (0, 0)


def test_after_a_click_nothing_is_needed_in_the_same_visit(kb):
    solved = set()
    for request in made(kb):
        if request.session.number in solved:
            assert request.need is None
        if any(outcome.kind is OutcomeKind.CLICKED for outcome in request.outcomes):
            solved.add(request.session.number)
    assert solved


def test_the_grid_and_the_seeds_are_those_that_were_committed():
    assert SHARES == (0.0, 0.3, 0.6, 1.0)
    assert not set(TUNING_SEEDS) & set(UNTOUCHED_SEEDS)
    assert len(TUNING_SEEDS) >= 5
    assert len(UNTOUCHED_SEEDS) == 2
    assert SCIENCE.semantic_share == max(SHARES)
