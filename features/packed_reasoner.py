"""A causal language model as an encoder, whatever runs it: texts -> tokens -> trees of shared beginnings -> states."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.greedy_query import CPU_SAMPLE, QUERY_TOKENS, asking, finished, quoted, with_query
from features.prefix_cache import PrefixCache
from features.prompt import PREFIX
from features.prompt_tokens import PromptTokens
from features.reasoner_settings import Device, Mode
from features.token_tree import Tokens, batches, shared_length

F32 = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

QUERIES_KEPT = 4096
"""How many generated queries are remembered, so that explaining what was embedded costs nothing."""


class TooManyForCpu(ValueError):
    """More texts than mode G is for on a CPU, where it costs ten times mode P."""


class Forward(Protocol):
    """A loaded model. `provider` is what really runs it, "torch fp32 cpu"; `budget` the new tokens it likes at once."""

    provider: str
    device: Device
    width: int
    budget: int

    def past(self, tokens: Tokens) -> Any:
        """The keys and values of a beginning."""
        ...

    def cut(self, past: Any, length: int) -> Any:
        """The keys and values of the first `length` tokens."""
        ...

    def states(self, sequences: Sequence[Tokens], skip: int, past: Any) -> F32:
        """f32[B, width] of B sequences whose first `skip` tokens are those of `past`."""
        ...

    def continued(self, sequences: Sequence[Tokens], limit: int, is_over: Callable[[Tokens], bool]) -> list[list[int]]:
        """The greedy continuation of each sequence, until it is over or `limit` tokens long."""
        ...


class PackedReasoner:
    """One model folder's encoder: h = H[b, max{j: mask_bj = 1}] (algorithm.md eq 1), mean not subtracted.

    Every distinct text is computed once, every beginning that texts of a batch share once, and `PREFIX` once for all.
    """

    def __init__(self, forward: Forward, folder: Path, base_id: str, mode: Mode) -> None:
        self._forward = forward
        self._tokens = PromptTokens(folder)
        self.mode = mode
        self._prefixes: PrefixCache[Any] = PrefixCache(forward.past, forward.cut)
        self._queries: OrderedDict[str, str] = OrderedDict()
        self.base_id = base_id
        self.width = forward.width

    @property
    def provider(self) -> str:
        """What really runs the model: runtime, dtype and device, e.g. "torch fp32 cpu"."""
        return self._forward.provider

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self._forward.device

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> F32:
        """Prompts -> states f32[B, H], in the order given; long prompts keep their end.

        Raises ValueError for a text without a token, `TooManyForCpu` in mode G.
        """
        read = list(map(with_query, texts, self.explain(texts))) if self.mode == "G" else list(texts)
        tokens = self._tokens.of(read)
        distinct = list(dict.fromkeys(tokens))
        place = {sequence: row for row, sequence in enumerate(distinct)}
        vectors = self._vectors(distinct, progress)
        return vectors[[place[sequence] for sequence in tokens]]

    def explain(self, texts: Sequence[str]) -> list[str]:
        """The query that mode G generates for each prompt. Raises `TooManyForCpu`; RuntimeError in mode P."""
        if self.mode != "G":
            raise RuntimeError(
                f"this reasoner runs in mode {self.mode}, which generates no text: set RGALIGN_REASONER_MODE=G"
            )
        missing = [text for text in dict.fromkeys(texts) if text not in self._queries]
        if self.device == "cpu" and len(missing) > CPU_SAMPLE:
            raise TooManyForCpu(
                f"{len(missing)} texts for mode G on a CPU, expected at most {CPU_SAMPLE} (a sample): "
                "set RGALIGN_REASONER_MODE=P, or RGALIGN_DEVICE=cuda where there is one"
            )
        made = dict(zip(missing, self._generated(missing), strict=True))
        self._queries.update(made)
        told = [self._queries[text] for text in texts]
        while len(self._queries) > QUERIES_KEPT:
            self._queries.popitem(last=False)
        return told

    def _generated(self, texts: Sequence[str]) -> list[str]:
        if not texts:
            return []
        text, end = self._tokens.text, self._tokens.end
        made = self._forward.continued(
            self._tokens.of(map(asking, texts)),
            QUERY_TOKENS,
            lambda tokens: tokens[-1] == end or finished(text(tokens)),
        )
        return [quoted(text(tokens)) for tokens in made]

    def _vectors(self, sequences: Sequence[Tokens], progress: Progress | None) -> F32:
        vectors = np.empty((len(sequences), self.width), dtype=np.float32)
        planned = list(batches(sequences, self._forward.budget))
        if planned:
            self._learn(sequences, len(planned))
        done = 0
        for rows in planned:
            batch = [sequences[row] for row in rows]
            skip, past = self._prefixes.shared(batch)
            vectors[rows] = self._forward.states(batch, skip, past)
            done += len(rows)
            if progress is not None:
                progress("embed texts", done, len(sequences))
        return vectors

    def _learn(self, sequences: Sequence[Tokens], count: int) -> None:
        """Keeps the prompts' common prefix and, if there are several batches, whatever all of these share."""
        (prefix,) = self._tokens.of([PREFIX])
        if shared_length(prefix, sequences[0]) == len(prefix):
            self._prefixes.learn(prefix)
        if count > 1:
            self._prefixes.learn(reduce(lambda one, other: one[: shared_length(one, other)], sequences))
