"""The judge promotes who knows more, and nobody else: not itself, not chance, not a placebo, not on a few clicks."""

from dataclasses import dataclass

import numpy as np
import pytest

from export.judge import MIN_CLICKED, effective_rank, judge
from features.intent import Intent
from features.knowledge import KnowledgeBase
from training.dataset import build, permuted_clicks
from training.first_day import FIRST_DAY_MS, lived
from training.world import World


@dataclass(frozen=True)
class Table:
    """A scorer that looks its logits up; a request's query is its row number."""

    intent_ids: tuple[str, ...]
    logits: np.ndarray

    def score(self, encoded, query, has_query):
        return self.logits[query[:, 0].astype(int)]

    def probability(self, logits):
        return 1 / (1 + np.exp(-logits))


def intent(number):
    name = f"i{number:02}"
    return Intent(id=name, family=f"f{number % 4}", title=f"About {name}", description="One.", examples=("a", "b", "c"))


@pytest.fixture(scope="module")
def played():
    """A world of 16 intents, 600 sessions of its first day as a dataset, and the need behind each example."""
    kb = KnowledgeBase(tuple(map(intent, range(16))))
    world = World(kb, {}, seed=9)
    log = list(lived(world, kb, 600, FIRST_DAY_MS))
    ids = tuple(i.id for i in kb.intents)
    table = build([e.decision for _, e in log], [o for _, e in log for o in e.outcomes], ids)
    needs = {e.decision.decision_id: session.need_at(e.decision.trigger_event) for session, e in log}
    return world, table, [needs[d] for d in table.decision_id]


def rows(table):
    return np.arange(len(table), dtype=np.float32)[:, None], np.ones(len(table), np.bool_)


def logit(p):
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p)).astype(np.float32)


def oracle(played):
    world, table, needs = played
    return Table(
        table.intent_ids, logit(np.array([[world.relevance(need, i) for i in table.intent_ids] for need in needs]))
    )


def uniform(played):
    _, table, _ = played
    rate = table.clicks[table.positions == 1].mean()
    noise = np.random.default_rng(0).normal(0, 0.01, (len(table), len(table.intent_ids)))
    return Table(table.intent_ids, (logit(rate) + noise).astype(np.float32))


def popular(played, table):
    """Scores by click rate of each intent in `table`, smoothed."""
    n = len(table.intent_ids)
    seen = table.seen
    shown = np.bincount(table.exposed[seen], minlength=n) + 20
    clicks = np.bincount(table.exposed[seen], table.clicks[seen], minlength=n) + 1
    return Table(table.intent_ids, np.tile(logit(clicks / shown), (len(played[1]), 1)))


def test_who_knows_the_need_wins_over_chance(played):
    verdict = judge(uniform(played), oracle(played), played[1], *rows(played[1]), seed=1)
    assert verdict.promote
    assert verdict.verdict == "promote"
    assert verdict.low > 0.1
    assert verdict.n_clicked > MIN_CLICKED
    assert verdict.challenger.gauc_all > 0.9
    assert verdict.champion.gauc_all < 0.7
    assert verdict.challenger.recall3 > verdict.champion.recall3
    assert verdict.challenger.logloss < verdict.champion.logloss


def test_chance_does_not_replace_who_knows(played):
    verdict = judge(oracle(played), uniform(played), played[1], *rows(played[1]), seed=1)
    assert not verdict.promote
    assert verdict.high < 0
    assert any("logloss" in reason for reason in verdict.reasons)


def test_a_ranker_is_not_promoted_over_itself(played):
    for ranker in (oracle(played), uniform(played)):
        verdict = judge(ranker, ranker, played[1], *rows(played[1]), seed=1)
        assert (verdict.promote, verdict.delta, verdict.verdict) == (False, 0.0, "reject")


def test_one_that_learned_from_permuted_clicks_is_refused(played):
    table = played[1]
    honest = popular(played, table)
    for seed in range(5):
        placebo = popular(played, permuted_clicks(table, seed))
        assert not judge(honest, placebo, table, *rows(table), seed=1).promote


def test_chance_is_promoted_over_chance_as_seldom_as_the_interval_allows(played):
    table, rng = played[1], np.random.default_rng(7)
    base = uniform(played)
    lucky = [Table(base.intent_ids, base.logits + rng.normal(0, 0.01, base.logits.shape)) for _ in range(20)]
    assert sum(judge(base, other, table, *rows(table), seed=1).promote for other in lucky) <= 2


def test_few_clicks_are_no_evidence(played):
    table = played[1]
    few = np.flatnonzero(table.has_click)[: MIN_CLICKED - 1]
    verdict = judge(uniform(played), oracle(played), table.take(few), few[:, None].astype(np.float32), few >= 0, seed=1)
    assert (verdict.promote, verdict.verdict) == (False, "insufficient evidence")
    assert "29 clicked requests are too few" in verdict.reasons[0]


def test_an_empty_held_out_set_is_no_evidence(played):
    none = played[1].take(np.array([], np.int64))
    verdict = judge(uniform(played), oracle(played), none, np.zeros((0, 1), np.float32), np.zeros(0, np.bool_), seed=1)
    assert verdict.verdict == "insufficient evidence"
    assert verdict.delta is None


def test_scores_that_are_not_numbers_or_all_equal_are_refused(played):
    table, best = played[1], oracle(played)
    broken = Table(best.intent_ids, np.where(best.logits > 0, np.nan, best.logits))
    assert "not all finite" in judge(uniform(played), broken, table, *rows(table), seed=1).reasons[0]
    flat = Table(best.intent_ids, np.zeros_like(best.logits))
    assert "same score" in judge(uniform(played), flat, table, *rows(table), seed=1).reasons[0]


def test_collapsed_queries_are_refused(played):
    table, rng = played[1], np.random.default_rng(0)
    wide = np.concatenate([rows(table)[0], rng.normal(0, 300, (len(table), 7))], axis=1).astype(np.float32)
    narrow = wide * np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)
    verdict = judge(uniform(played), oracle(played), table, wide, rows(table)[1], seed=1, challenger_query=narrow)
    assert not verdict.promote
    assert "collapsed" in verdict.reasons[0]
    assert effective_rank(np.eye(8, dtype=np.float32)) == pytest.approx(7.0)


def test_columns_are_matched_by_intent_and_strangers_rank_last(played):
    table, best = played[1], oracle(played)
    order = np.random.default_rng(0).permutation(len(best.intent_ids))
    shuffled = Table(tuple(best.intent_ids[i] for i in order), best.logits[:, order])
    assert judge(best, shuffled, table, *rows(table), seed=1).delta == 0.0
    partial = Table(best.intent_ids[1:], best.logits[:, 1:])
    assert judge(best, partial, table, *rows(table), seed=1).delta < 0
