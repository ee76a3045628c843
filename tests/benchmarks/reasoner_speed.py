"""Tokens a second of every engine and batch size over the same texts, in alternation, once the vectors are equal."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks import sentences
from tests.benchmarks.embedding_process import EmbeddingProcess
from tests.benchmarks.meter import Block
from tests.benchmarks.prompts import Lengths, mixed
from tests.benchmarks.reasoner_ways import ALL, Way
from tests.benchmarks.rounds import Measured, alternate

MIXED, WORLD = "log-normal", "world"
EQUAL_COSINE = 0.999
CHECKED = 12
Advance = Callable[[str, int, int], None]


class VectorsDiffer(AssertionError):
    """An engine at equal arithmetic does not give the peer's vectors: its speed means nothing."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way, how many texts go into it at once (0 = all), and which texts."""

    way: str
    batch: int
    mix: str = MIXED
    is_again: bool = False

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        size = "all" if self.batch == ALL else str(self.batch)
        return (
            f"{self.way}/{size}" + (f" {self.mix}" if self.mix != MIXED else "") + (" again" if self.is_again else "")
        )


@dataclass(slots=True)
class Race:
    """Engines that are loaded, and the texts of each round: `prompts` of them, others in every round."""

    engines: Mapping[str, EmbeddingProcess]
    told: Sequence[str]
    lengths: Lengths
    prompts: int
    seed: int

    def texts(self, mix: str, number: int) -> list[str]:
        """The texts of a round: the same for all engines, none twice."""
        if mix == WORLD:
            rng = np.random.default_rng([self.seed, number + 1])
            return [self.told[i] for i in rng.choice(len(self.told), self.prompts, replace=False)]
        return mixed(self.told, self.prompts, self.seed * 1000 + number, self.lengths)

    def block(self, variant: Variant, texts: Sequence[str]) -> Block:
        """One variant's turn; its events are tokens, counted once each and without padding."""
        wall_s, cpu_s = self.engines[variant.way].call(texts, variant.batch or len(texts))
        return Block(variant.name, sum(map(self.lengths, texts)), wall_s, cpu_s, 0.0, 0.0)

    def run(self, variants: Sequence[Variant], *, rounds: int, budget_s: float, advance: Advance) -> Measured:
        """All variants in alternation; the first round is discarded."""
        by_name = {variant.name: variant for variant in variants}
        return alternate(
            {name: lambda asked: self.block(*asked) for name in by_name},
            lambda name, number: (by_name[name], self.texts(by_name[name].mix, number)),
            rounds=rounds,
            budget_s=budget_s,
            seed=self.seed,
            advance=lambda done, total: advance("engines in alternation", done, total),
        )


@contextlib.contextmanager
def loaded(ways: Mapping[str, Way], folder: Path, advance: Advance) -> Iterator[dict[str, EmbeddingProcess]]:
    """A process for each way, all loaded; those of sentence-transformers are absent where it cannot be installed."""
    python = sentences.interpreter()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rgalign-bench-")))
        readable, engines = sentences.readable(folder, scratch / "model"), {}
        for place, (name, way) in enumerate(ways.items()):
            is_peer = way.engine == "sentence_transformers"
            if is_peer and python is None:
                continue
            told = way.told(folder, readable)
            engines[name] = stack.enter_context(EmbeddingProcess(name, told, python if is_peer else None))
            assert engines[name].provider
            advance("load the engines", place + 1, len(ways))
        yield engines


def check_equality(race: Race, ways: Mapping[str, Way]) -> dict[str, tuple[float, float]]:
    """The least cosine of each way's vectors with its peer's, raw and centred, over both mixes.

    Ways without a peer are told against the first one. Raises `VectorsDiffer` below `EQUAL_COSINE` at equal arithmetic.
    """
    texts = [text for mix in (MIXED, WORLD) for text in race.texts(mix, -1)[:CHECKED]]
    with tempfile.TemporaryDirectory() as folder:
        vectors = {}
        for name, engine in race.engines.items():
            engine.call(texts, 8, Path(folder) / f"{name}.npy")
            vectors[name] = np.load(Path(folder) / f"{name}.npy")
    found = {}
    for name in race.engines:
        peer = ways[name].peer or next(iter(race.engines))
        if peer not in vectors or peer == name:
            continue
        raw = least_cosine(vectors[name], vectors[peer])
        mean = vectors[peer].mean(axis=0)
        found[name] = raw, least_cosine(vectors[name] - mean, vectors[peer] - mean)
        if ways[name].peer and raw <= EQUAL_COSINE:
            raise VectorsDiffer(
                f"{name} gives vectors of cosine {raw:.5f} with those of {peer}, expected more than {EQUAL_COSINE}: "
                "is it the same model, tokenizer, pooling and arithmetic?"
            )
    return found


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The least cosine between rows of two matrices.

    >>> least_cosine(np.eye(2), np.array([[2.0, 0.0], [1.0, 1.0]])).__round__(3)
    0.707
    """
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / norms).min())
