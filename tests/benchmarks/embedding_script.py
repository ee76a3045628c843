"""A process that embeds texts when told to, by sentence-transformers or by our reasoner, and says what it took.

It is told its engine in its argument, and one call a line on stdin; it answers a line each. Both engines are timed by
the same code, from strings to float32 vectors.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

Encode = Callable[[list[str], int], Any]
"""encode(texts, batch) -> vectors [B, H]."""


def sentence_transformers(folder: str, dtype: str, device: str) -> tuple[Encode, str]:
    """`encode` of a SentenceTransformer over the folder with last-token pooling, and what it runs on."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    words = Transformer(folder, model_kwargs={"dtype": getattr(torch, dtype), "attn_implementation": "sdpa"})
    pooling = Pooling(words.get_embedding_dimension(), pooling_mode="lasttoken")
    model = SentenceTransformer(modules=[words, pooling], device=device)

    def encode(texts: list[str], batch: int) -> Any:
        return model.encode(texts, batch_size=batch, show_progress_bar=False)

    return encode, f"torch {dtype} {model.device}"


def main(told: dict[str, Any], calls: TextIO, answers: TextIO) -> None:
    """Answers until stdin ends."""
    engine = told.pop("engine")
    if engine == "sentence_transformers":
        encode, provider = sentence_transformers(**told)
    else:
        from tests.benchmarks.reasoner_ways import opened

        encode, provider = opened(**told)
    print(json.dumps({"provider": provider}), file=answers, flush=True)
    for line in calls:
        call = json.loads(line)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        vectors = np.asarray(encode(call["texts"], call["batch"]), np.float32)
        took = {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}
        if call.get("keep"):
            np.save(call["keep"], vectors)
        print(json.dumps(took), file=answers, flush=True)


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print must not stand between the answers
    main(json.loads(sys.argv[1]), sys.stdin, own)
