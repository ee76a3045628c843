"""A log is ranked before it is learned from, and what can be learned is."""

import tracemalloc

import numpy as np
import pytest

from training import progressive
from training.impression_arrays import Arrays, hashed
from training.impression_figures import judge
from training.impressions import Impression

TEXTS = {f"c{n}": f"topic {word}" for n, word in enumerate(("parcel", "refund", "size", "voucher", "account", "gift"))}


def log(impressions, *, tells="context", seed=0, step_ms=1):
    """Slates of four of six; the one that is wanted is clicked if shown; `tells` says where it is written."""
    rng = np.random.default_rng(seed)
    for number in range(impressions):
        shown = [f"c{n}" for n in rng.permutation(6)[:4]]
        wanted = f"c{rng.integers(6)}"
        yield Impression(
            time_ms=number * step_ms,
            user=f"u{number % 50}",
            candidates=tuple(shown),
            clicked={wanted: 1.0} if wanted in shown else {},
            context={"wants": wanted if tells == "context" else "?"},
            text=TEXTS[wanted] if tells == "text" else "",
        )


def validated(impressions, **settings):
    *_, (done, figures) = progressive.validate(impressions, TEXTS, Arrays(TEXTS, hashed), seed=1, **settings)
    return done, figures


def test_what_the_context_tells_is_learned_as_the_log_goes_by():
    done, figures = validated(log(1200), warm_up=800)
    assert done == 1200
    assert figures.impressions == pytest.approx(400, abs=progressive.ROWS)
    assert figures.figures()["qerec"]["GAUC"].low > 0.7
    assert figures.difference("qerec", "clicks so far")["GAUC"].low > 0


def test_where_nothing_tells_the_need_nothing_is_gained():
    _, figures = validated(log(900, tells="nothing"))
    assert abs(figures.figures()["qerec"]["GAUC"].mean - 0.5) < 0.06


def test_words_that_name_the_candidate_need_no_training():
    _, figures = validated(log(300, tells="text"))
    assert figures.figures()["cosine"]["GAUC"].mean > 0.95


def test_nothing_is_ranked_after_its_own_click_was_learned():
    """The context names each impression and its answer alone: only a ranker that saw the answer could use it."""
    planted = [
        Impression(one.time_ms, one.user, one.candidates, one.clicked, {"leak": f"{number}"}, ())
        for number, one in enumerate(log(400))
    ]
    twice = [copy for one in planted for copy in (one, one)]
    _, figures = validated(planted)
    assert abs(figures.figures()["qerec"]["GAUC"].mean - 0.5) < 0.08
    _, again = validated(twice)
    assert abs(again.figures()["qerec"]["GAUC"].mean - 0.5) < 0.08


def test_one_moment_is_never_split():
    told = list(log(10, step_ms=0))
    assert [len(chunk) for chunk in progressive.chunks(told, 4)] == [10]
    assert [len(chunk) for chunk in progressive.chunks(log(10), 4)] == [4, 4, 2]


def test_a_long_moment_is_ranked_whole_before_it_is_learned_from():
    done, figures = validated(log(8 * progressive.ROWS, step_ms=0))
    assert done == figures.impressions == 8 * progressive.ROWS
    assert abs(figures.figures()["qerec"]["GAUC"].mean - 0.5) < 0.1


def test_memory_does_not_grow_with_the_log():
    arrays, peaks = Arrays(TEXTS, hashed), []
    for impressions in (1100, 2200):
        tracemalloc.start()
        for _ in progressive.validate(log(impressions), TEXTS, arrays, seed=1):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_shares_are_judged_as_so_many_clicks():
    shares, scores = np.array([0.75, 0.25, 0.0]), np.array([1.0, 3.0, 2.0], np.float32)
    auc, mrr, _, recall = judge(shares, scores, np.arange(3), is_shared=True)
    assert auc == pytest.approx(0.75 * 0.0 + 0.25 * 1.0)
    assert mrr == pytest.approx(0.75 / 3 + 0.25)
    assert recall == 1.0


def test_a_slate_of_clicks_alone_has_no_auc():
    told = judge(np.array([1.0, 1.0]), np.array([1.0, 2.0], np.float32), np.arange(2), is_shared=False)
    assert np.isnan(told[0])
    assert told[1:].tolist() == [1.0, 1.0, 1.0]
