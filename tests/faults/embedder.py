"""A real embedder, spoiled: its reasoner fails in turns, or takes many times as long.

`FAULTS_SPOIL` holds JSON: {"acts": ["oom", "hang", "width", "nan"], "every": 2} or {"slower": 100}. The product has no
hook for any of it: the loaded reasoner is wrapped here, then `stream.embedder.main` runs as ever.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

import stream.embedder
from features.settings import Connections
from stream.settings import EmbedderSettings

log = structlog.get_logger(__name__)

ACTS = ("oom", "hang", "width", "nan")
F32 = NDArray[np.float32]


class Spoiled:
    """An encoder around the real one. `hang_s` is how long a hanging call takes."""

    def __init__(self, real: Any, spoil: dict[str, Any], hang_s: float) -> None:
        self._real, self._hang_s = real, hang_s
        self.base_id, self.width, self.provider = real.base_id, real.width, real.provider
        self._slower, every = spoil.get("slower", 1), spoil.get("every", 1)
        plain = [""] * (every - 1)
        self._acts = itertools.cycle([each for act in spoil.get("acts", [""]) for each in (*plain, act)])

    def embed(self, texts: Sequence[str], progress: Any = None) -> F32:
        """What the real one answers, or what its turn brings."""
        act = next(self._acts)
        if act:
            log.warning("failpoint", act=act, texts=len(texts))
        if act == "oom":
            raise _out_of_memory()
        if act == "hang":
            time.sleep(self._hang_s)
        began_s = time.monotonic()
        states: F32 = self._real.embed(texts, progress)
        time.sleep((self._slower - 1) * (time.monotonic() - began_s))
        if act == "nan":
            states[0, 0] = np.nan
        return states[:, :-1] if act == "width" else states


def _out_of_memory() -> RuntimeError:
    import torch

    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB (failpoint)")


def main() -> None:
    """Spoils the reasoner as told, then runs the embedder."""
    spoil = json.loads(os.environ["FAULTS_SPOIL"])
    real, hang_s = stream.embedder.load_models, 1.5 * EmbedderSettings().batch_deadline_s

    def load(connections: Connections) -> Any:
        reasoner, text = real(connections)
        return Spoiled(reasoner, spoil, hang_s), text

    stream.embedder.Embedder = functools.partial(stream.embedder.Embedder, load=load)  # type: ignore[misc, assignment]
    stream.embedder.main()


if __name__ == "__main__":
    main()
