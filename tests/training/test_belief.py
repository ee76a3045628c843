"""The filter is calibrated, beats whatever sees less, and learns nothing from words that tell nothing."""

from dataclasses import replace

import numpy as np
import pytest

from features.events import EventKind
from training import metrics
from training.belief import Belief
from training.choices import NO_NEED
from training.dials import Dials
from training.science_world import requests
from training.world import World

DIALS = Dials(semantic_share=1.0, users=100, noise=0.2, flip=0.05, pace_s=20.0, season=0.3, outages=0.2)


def said(kb):
    return {i.id: [f"{i.id} {word}" for word in ("north", "south", "east", "west")] for i in kb.intents}


def played(kb, share):
    world = World(kb, said(kb), 3, replace(DIALS, semantic_share=share))
    return world, list(requests(world, kb, 8))


@pytest.fixture(scope="module")
def telling(kb):
    return played(kb, 1.0)


@pytest.fixture(scope="module")
def silent(kb):
    return played(kb, 0.0)


def truth(world, log):
    """Which need is true at every request, bool[R, N + 1]."""
    places = [NO_NEED if request.need is None else world.place[request.need] for request in log]
    table = np.zeros((len(log), len(world.intents) + 1), np.bool_)
    table[np.arange(len(log)), places] = True
    return table


@pytest.mark.parametrize("which", ["posterior", "blind"])
def test_the_posterior_is_calibrated(telling, which):
    world, log = telling
    beliefs = np.array([getattr(request, which) for request in log])
    assert beliefs.sum(axis=1) == pytest.approx(np.ones(len(log)))
    true = truth(world, log)
    assert metrics.ece(true[:, NO_NEED], beliefs[:, NO_NEED], bins=5) < 0.04
    assert metrics.ece(true.ravel(), beliefs.ravel()) < 0.01
    assert true.mean(axis=0) == pytest.approx(beliefs.mean(axis=0), abs=0.04)


def test_words_that_tell_nothing_teach_nothing(silent, telling):
    assert all(np.allclose(request.posterior, request.blind) for request in silent[1])
    assert not all(np.allclose(request.posterior, request.blind) for request in telling[1])


def needy(world, log):
    """(requests with a need, their candidates bool[R, N], their needs bool[R, N])."""
    rows = [request for request in log if request.need in request.decision.candidates.intent_ids]
    ids = [i.id for i in world.intents]
    candidates = np.array([[i in request.decision.candidates.intent_ids for i in ids] for request in rows])
    return rows, candidates, truth(world, rows)[:, :NO_NEED]


def request_aucs(scores, needs, candidates):
    """The AUC of each request among its candidates: one is needed, so the best mean is that of the true posterior."""
    rows, columns = np.nonzero(candidates)
    return metrics.group_aucs(needs[rows, columns], scores[rows, columns], rows).aucs


def test_nobody_who_sees_no_more_ranks_better_than_the_posterior(telling):
    world, log = telling
    rows, candidates, needs = needy(world, log)
    rng = np.random.default_rng(0)
    bayes = np.array([request.posterior[:NO_NEED] for request in rows])
    others = {
        "without words": np.array([request.blind[:NO_NEED] for request in rows]),
        "popularity": np.tile(needs.mean(axis=0), (len(rows), 1)),
        "a blurred posterior": bayes + rng.normal(0, 0.05, bayes.shape),
        "expected relevance": np.array([request.posterior @ world.relevances for request in rows]),
        "chance": rng.random(bayes.shape),
    }
    users = [request.decision.user for request in rows]
    best = request_aucs(bayes, needs, candidates)
    for name, scores in others.items():
        gain = metrics.paired_cluster_bootstrap(best - request_aucs(scores, needs, candidates), users)
        assert gain.high >= 0, name
        if name != "expected relevance":
            assert gain.low > 0, name


def clicked_gauc(world, log, scores):
    shown = [(n, request, p) for n, request in enumerate(log) if request.outcomes for p in request.decision.prompts]
    clicks = [any(o.intent_id == p.intent_id for o in request.outcomes) for _, request, p in shown]
    return metrics.gauc(
        clicks,
        [scores[n, world.place[p.intent_id]] for n, _, p in shown],
        [request.decision.user for _, request, _ in shown],
    ).value


def test_on_logged_clicks_the_latent_oracle_leads_the_posterior_and_words_lead_none(telling):
    world, log = telling
    latent = truth(world, log) @ world.relevances
    bayes, blind = (np.array([getattr(r, which) for r in log]) @ world.relevances for which in ("posterior", "blind"))
    assert clicked_gauc(world, log, latent) > clicked_gauc(world, log, bayes) > clicked_gauc(world, log, blind) > 0.6


def test_an_event_that_cannot_be_of_this_world_is_refused(kb):
    world = World(kb, said(kb), 3, DIALS)
    session = next(s for n in range(50) if (s := world.session(n, 0 + 10**12)).events)
    stranger = world.event("x", EventKind.CHAT_OPENED, {"text": "nobody says this"}, session.shopper, 10**12)
    with pytest.raises(ValueError, match="expected the log of a visit to this world"):
        Belief(world, session).saw(stranger)
