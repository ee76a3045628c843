"""How well each way of making a latent query finds the true intent: model x pooling x mode, mean kept and subtracted.

The reference is the first model in mode P, pooled at the slot, its means subtracted: every other way is compared with
it on the same questions. Intents are centred by their own mean, questions by that of other people's questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.greedy_query import with_query
from features.models import Progress
from features.prompt import SLOT
from training.kept_encodings import KeptTexts, KeptVectors
from training.metrics import Interval
from training.pooled_states import split
from training.questions import QuestionSet, sampled
from training.retrieval import (
    I64,
    Retrieval,
    centred,
    centred_apart,
    chance,
    cosines,
    mrr_difference,
    retrieval,
    scope_auroc,
    true_ranks,
)
from training.shared_words import shared_words

F64 = NDArray[np.float64]
Vectors = NDArray[np.float32]

WAYS = {
    "slot": "last token, at the slot",
    "mean": "mean of all tokens",
    "text_end": "last token, no slot",
    "eos": "EOS, no slot",
    "slot_eos": "EOS after the slot",
}
"""The poolings of `training.pooled_states`, for people."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal LLM: all poolings of its states, and the query that it generates for a prompt (mode G)."""

    key: str
    title: str
    states: KeptVectors
    queries: KeptTexts


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """A model whose vector of a text is used as it comes."""

    key: str
    title: str
    vectors: KeptVectors


@dataclass(frozen=True, slots=True)
class Way:
    """One way to turn a question into a vector; `key` names it in flat figures."""

    key: str
    model: str
    pooled: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A way on a set of questions, its means subtracted (`centred`) and kept (`raw`).

    `gain` is MRR less the reference's, centred, on the same questions; None for the reference itself and for chance.
    """

    way: Way
    centred: Retrieval
    raw: Retrieval | None = None
    gain: Interval | None = None
    auroc: Interval | None = None
    ms_per_text: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """The true answers' ranks, centred and raw, and the centred scores of all questions f64[B, N]."""

    centred: I64
    raw: I64
    scores: F64


CHANCE = Way("chance", "chance", "a random order")
PLACEBO = Way("placebo", "placebo", "the reference, questions shuffled")
CEILING = Way("ceiling", "ceiling", "the world's own Bayes posterior")
WORDS = Way("words", "TF-IDF", "shared words, no model")


def evaluated(
    questions: QuestionSet,
    models: Sequence[LanguageModel],
    encoders: Sequence[SentenceEncoder],
    *,
    most_generated: int,
    seed: int,
    progress: Progress,
) -> list[Measured]:
    """Every way on one set, the reference first, mode G on at most `most_generated` questions (0: not at all)."""
    ranked = list(_states(questions, models, seed, progress))
    ranked += _encoded(questions, encoders, seed, progress)
    reference = ranked[0][1]
    rows = []
    for way, found, ms_per_text in ranked:
        row = _measured(questions, way, found, None if found is reference else reference, seed)
        rows.append(replace(row, ms_per_text=ms_per_text))
    for model in models if most_generated else ():
        rows += _generated(questions, model, most_generated, seed, progress)
    rows += _ceiling(questions, reference, seed)
    return [*rows, _placebo(questions, reference, seed), Measured(CHANCE, chance(len(questions.answers)))]


def _states(
    questions: QuestionSet, models: Sequence[LanguageModel], seed: int, progress: Progress
) -> Iterator[tuple[Way, _Ranked, float | None]]:
    for model in models:
        asked, answers = _prompt_states(questions, model, progress)
        for pooling, title in WAYS.items():
            found = _compared(questions, asked[pooling], answers[pooling], seed)
            yield Way(f"{model.key}_{pooling}", model.title, title), found, model.states.ms_per_text


def _prompt_states(
    questions: QuestionSet, model: LanguageModel, progress: Progress
) -> tuple[dict[str, Vectors], dict[str, Vectors]]:
    """The states of questions and answers by pooling."""
    told = _under(f"{questions.name}: {model.title}", progress)
    prompts = [question.prompt for question in questions.questions]
    states = model.states.of([*prompts, *(answer.prompt for answer in questions.answers)], told)
    return split(states[: len(prompts)]), split(states[len(prompts) :])


def _encoded(
    questions: QuestionSet, encoders: Sequence[SentenceEncoder], seed: int, progress: Progress
) -> Iterator[tuple[Way, _Ranked, float | None]]:
    """Sentence encoders on the prompt, and on the bare words where they are another text; last the words themselves."""
    words = [question.words for question in questions.questions]
    bodies = [question.prompt.removesuffix(SLOT) for question in questions.questions]
    readings = [("words", "mean of tokens, bare words", words), ("prompt", "mean of tokens, the prompt", bodies)]
    answers = [answer.words for answer in questions.answers]
    for encoder in encoders:
        told = _under(f"{questions.name}: {encoder.title}", progress)
        for key, title, texts in readings if words != bodies else readings[1:]:
            vectors = encoder.vectors.of([*texts, *answers], told)
            found = _compared(questions, vectors[: len(texts)], vectors[len(texts) :], seed)
            yield Way(f"{encoder.key}_{key}", encoder.title, title), found, encoder.vectors.ms_per_text
    shared = cosines(*shared_words(words, answers))
    yield WORDS, _ranked(questions, shared, shared), None


def _generated(
    questions: QuestionSet, model: LanguageModel, most: int, seed: int, progress: Progress
) -> Iterator[Measured]:
    """Mode G, [prompt; query; slot] pooled at the slot, against mode P of the same model on the same sample."""
    some = replace(questions, questions=sampled(questions.in_scope, most, seed))
    told = _under(f"{questions.name}: {model.title}, mode G", progress)
    prompts = [question.prompt for question in some.questions]
    queries = model.queries.of(prompts, told)
    answers = model.states.of([answer.prompt for answer in some.answers], told)
    after = model.states.of([with_query(*pair) for pair in zip(prompts, queries, strict=True)], told)
    plain = model.states.of(prompts, told)
    found, reference = (
        _compared(some, split(states)["slot"], split(answers)["slot"], seed) for states in (after, plain)
    )
    way = Way(f"{model.key}_generated", model.title, "mode G, at the slot (gain: on mode P, same questions)")
    yield replace(_measured(some, way, found, reference, seed), ms_per_text=_cost(model))


def _cost(model: LanguageModel) -> float | None:
    """What generating and pooling cost together."""
    costs = (model.queries.ms_per_text, model.states.ms_per_text)
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _ceiling(questions: QuestionSet, reference: _Ranked, seed: int) -> Iterator[Measured]:
    """What a simulation knows to be the best that anybody can do with what happened so far."""
    posteriors = [question.posterior for question in questions.questions if question.posterior is not None]
    if questions.questions and len(posteriors) == len(questions.questions):
        found = _ranked(questions, np.stack(posteriors), np.stack(posteriors))
        yield replace(_measured(questions, CEILING, found, reference, seed), raw=None)


def _placebo(questions: QuestionSet, reference: _Ranked, seed: int) -> Measured:
    """The reference when every question is given another one's vector: what a leak would lift above chance."""
    scores = reference.scores[_known(questions)]
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    found = true_ranks(scores[shuffled], questions.truths())
    return Measured(PLACEBO, retrieval(found, [question.cluster for question in questions.in_scope], seed))


def _compared(questions: QuestionSet, asked: Vectors, answers: Vectors, seed: int) -> _Ranked:
    """By cosine, with the means subtracted and kept."""
    clusters = [question.cluster for question in questions.questions]
    scores = cosines(centred_apart(asked, clusters, seed), centred(answers))
    return _ranked(questions, scores, cosines(asked, answers))


def _ranked(questions: QuestionSet, scores: F64, raw: F64) -> _Ranked:
    known, truths = _known(questions), questions.truths()
    return _Ranked(true_ranks(scores[known], truths), true_ranks(raw[known], truths), scores)


def _known(questions: QuestionSet) -> NDArray[np.bool_]:
    return np.array([question.truth is not None for question in questions.questions])


def _measured(questions: QuestionSet, way: Way, found: _Ranked, reference: _Ranked | None, seed: int) -> Measured:
    clusters = [question.cluster for question in questions.in_scope]
    known, best = _known(questions), found.scores.max(axis=1)
    return Measured(
        way=way,
        centred=retrieval(found.centred, clusters, seed),
        raw=retrieval(found.raw, clusters, seed),
        gain=None if reference is None else mrr_difference(found.centred, reference.centred, clusters, seed),
        auroc=None if known.all() else scope_auroc(best[known], best[~known], seed),
    )


def _under(name: str, progress: Progress) -> Progress:
    """The same progress under a name that says what is computed."""
    return lambda what, done, total: progress(f"{name}, {what}", done, total)
