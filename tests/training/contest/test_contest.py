"""The comparison in a tiny world: kept fits, honest queries, figures that the raw ranks confirm."""

from dataclasses import replace

import numpy as np
import pytest

from features.knowledge import KnowledgeBase
from tests.training.builders import intent
from training.contest.answers import answers
from training.contest.arms import BY_KEY, ENTRIES, TRIALS
from training.contest.cell import CellName, cell
from training.contest.figures import LastRound, Results, interval
from training.contest.fits import Task, cold_intents, fitted, measured
from training.contest.picture import picture
from training.contest.plan import FULL, HIGH, SHORT, Plan
from training.contest.queries import Encoded, Query, bag_of_facts, trial
from training.contest.table import Report, markdown

NAME = CellName(11, 1.0, users=40, rounds=4)
PHRASES = {f"about_{n}": [f"need word{n} now", f"the word{n} of mine"] for n in range(12)}
PLAN = Plan(
    users=40, rounds=4, worlds=(11,), seeds=(1, 2), untouched_seeds=1, variant_seeds=1, placebos=("shuffled",)
)  # fmt: skip


@pytest.fixture(scope="module")
def kb():
    families = ("delivery", "payment", "goods", "shop")
    return KnowledgeBase(tuple(intent(f"about_{n}", families[n % 4]) for n in range(12)))


@pytest.fixture(scope="module")
def lived(kb, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    made = cell(NAME, kb, PHRASES, folder)
    again = cell(NAME, kb, PHRASES, folder)
    assert np.array_equal(made.need, again.need)
    assert made.dataset.decision_id == again.dataset.decision_id
    return made


@pytest.fixture(scope="module")
def encoded(kb, lived):
    """Words hashed: queries that tell something, without a model."""
    blank = Encoded(
        prompts=dict.fromkeys(lived.prompt_of.values(), np.zeros(48, np.float32)),
        state=np.zeros((12, 48), np.float32),
        text=np.eye(12, 16, dtype=np.float32),
        intent_prompts=tuple(one.canonical_text for one in kb.intents),
        families=tuple(one.family for one in kb.intents),
    )
    return bag_of_facts(lived, blank)


@pytest.fixture(scope="module")
def results(lived, encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    arms = ("qerec", "two_tower", "popularity")
    tasks = [Task(NAME, arm, seed) for arm in arms for seed in PLAN.seeds_of(11, arm)]
    return Results({task: fitted(task, lived, encoded, folder) for task in tasks}, {NAME: LastRound.of(lived)}), folder


def test_the_test_is_the_end_of_the_log_and_the_oracle_is_best_where_words_tell(lived):
    assert 0.6 < lived.test_from / len(lived.dataset) < 0.9
    test = LastRound.of(lived)
    assert test.bayes["auc"].mean() > test.blind["auc"].mean()
    assert (lived.dataset.eligible[np.arange(len(lived.need)), lived.need] | (lived.need < 0)).all()


def test_placebos_keep_the_queries_but_not_whose_they_are(lived, encoded):
    own, shuffled = (trial(lived, encoded, kind, seed=1) for kind in (Query.OWN, Query.SHUFFLED))
    border = lived.test_from
    assert not np.array_equal(own.query, shuffled.query)
    for part in (slice(None, border), slice(border, None)):
        assert np.array_equal(np.sort(own.query[part], axis=0), np.sort(shuffled.query[part], axis=0))
    assert not trial(lived, encoded, Query.NONE, seed=1).has_query.any()


def test_a_kept_fit_is_not_made_again(results, lived, encoded):
    told, folder = results
    task = next(iter(told.fits))
    path = folder / task.file_name
    before = path.stat().st_mtime_ns
    assert np.array_equal(fitted(task, lived, encoded, folder)["rank"], told.fits[task]["rank"])
    assert path.stat().st_mtime_ns == before


def test_the_rank_and_auc_of_a_need_are_those_of_a_plain_count():
    scores, eligible = np.array([[3.0, 1.0, 2.0, 9.0]]), np.array([[True, True, True, False]])
    told = measured(scores, eligible, np.array([2]))
    assert (told["rank"].tolist(), told["auc"].tolist()) == ([2.0], [0.5])
    assert len(measured(scores, eligible, np.array([-1]))["rank"]) == 0


def test_cold_intents_are_never_seen_in_training(lived, encoded):
    cold = cold_intents(12, 11)
    train = trial(lived, encoded, Query.OWN, 1).without(cold)
    shown = train.dataset.exposed[train.dataset.seen]
    assert cold.sum() == 2
    assert not cold[shown].any()
    assert not train.dataset.eligible[:, cold].any()
    assert (train.intents[0][cold] == 0).all()


def test_an_interval_holds_its_mean_and_shrinks_with_users():
    rng = np.random.default_rng(0)
    few, many = (rng.normal(0.5, 1, (3, users)) for users in (50, 5000))
    wide, narrow = (interval([values], [np.arange(values.shape[1])]) for values in (few, many))
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_repeating_a_users_requests_makes_no_interval_narrower():
    values, user = np.random.default_rng(0).normal(0, 1, (2, 200)), np.arange(200)
    once = interval([values], [user])
    thrice = interval([np.tile(values, 3)], [np.tile(user, 3)])
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_differences_are_paired_by_seed_and_request(results):
    told, _ = results
    mine, theirs = (told.values(NAME, arm, "gauc") for arm in ("qerec", "popularity"))
    found = told.difference([NAME], "qerec", "popularity", "gauc")
    assert found.mean == pytest.approx((mine - theirs).mean())
    assert found.low <= found.mean <= found.high


def test_the_report_says_what_is_there_and_what_is_left(results):
    told, _ = results
    keys = answers(told, PLAN)
    assert keys["seeds"] == 2
    assert keys["qerec_minus_two_tower_gauc_low"] <= keys["qerec_minus_two_tower_gauc"]
    assert keys["cold_recall3"] is None
    report = Report(told, PLAN, keys, left=7)
    text, drawn = markdown(report), picture(report)
    assert "7 fits are still to be done" in text
    assert f"| 8 | {BY_KEY['qerec'].title} |" in text
    assert drawn.startswith("<svg")
    assert "minus two-tower" in drawn


def test_every_arm_has_as_many_trials():
    tuned = [entry for entry in ENTRIES if entry.key != "zero_shot" and not entry.like]
    assert {len(entry.grid) for entry in tuned} == {TRIALS}
    assert {entry.number for entry in ENTRIES} >= {"0", "1", "2", "3", "4", "5", "6", "7", "7b", "8", "D"}


@pytest.mark.parametrize("plan", [SHORT, FULL])
def test_a_plan_has_five_seeds_in_every_cell_of_its_tuning_worlds(plan):
    tasks = set(plan.tasks())
    for share in (0.0, 0.3, 0.6, 1.0):
        for arm in ("qerec", "two_tower", "lightgbm_cosine"):
            mine = [t for t in tasks if (t.cell, t.arm, t.is_cold) == (plan.cell(11, share), arm, False)]
            assert len(mine) >= 5
    assert {t.cell.seed for t in tasks} >= {11, 101, 102}
    assert all(t.cell.share == HIGH for t in tasks if t.is_cold)


def test_an_arm_learns_nothing_from_the_need_of_a_request(lived, encoded, tmp_path):
    """The needs of the training requests are exchanged: nothing changes, for no arm may look at them."""
    rng, border = np.random.default_rng(0), lived.test_from
    need = lived.need.copy()
    need[:border] = rng.permutation(need[:border])
    other = replace(lived, need=need)
    one, two = (
        fitted(Task(NAME, "two_tower", 5), told, encoded, tmp_path / name)
        for told, name in ((lived, "a"), (other, "b"))
    )
    assert np.array_equal(one["rank"], two["rank"])
