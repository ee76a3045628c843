import time

import numpy as np
import pytest

from stream.encoding import MOST_BARREN, Encoding, ReasonerBroken, failure_kind
from stream.reasoner_thread import MOST_STUCK, ReasonerStuck, ReasonerThread
from stream.retry_budget import RetryBudget

WIDTH = 3


class Failing:
    """An encoder that fails for batches that `fails` names; a text with "nan" gives NaN."""

    base_id, width = "b" * 64, WIDTH

    def __init__(self, fails=lambda texts: None):
        self.fails, self.sizes = fails, []

    def embed(self, texts, progress=None):
        self.sizes.append(len(texts))
        if (error := self.fails(texts)) is not None:
            raise error
        return np.array([[np.nan if "nan" in text else len(text), 1, 2] for text in texts], np.float32)


def prompts(count):
    return {f"h{number}": f"prompt {number}" for number in range(count)}


def encoding(encoder, budget=None, deadline_s=30.0):
    return Encoding(encoder, ReasonerThread(deadline_s), 8, budget or RetryBudget())


def out_of_memory_above(size):
    return lambda texts: RuntimeError("CUDA out of memory. Tried to allocate 2 GiB") if len(texts) > size else None


async def test_out_of_memory_halves_the_batch_until_it_fits():
    work = encoding(Failing(out_of_memory_above(2)))
    found = await work.encode(prompts(8))
    assert found.vectors.keys() == prompts(8).keys()
    assert (found.failed, work.size) == ({}, 2)


async def test_the_size_that_fits_is_remembered_and_grows_again():
    work = encoding(Failing(out_of_memory_above(4)))
    await work.encode(prompts(8))
    work.reasoner.sizes.clear()
    work.reasoner.fails = lambda texts: None
    await work.encode(prompts(8))
    assert work.reasoner.sizes == [4, 4]
    for _ in range(20):
        await work.encode(prompts(8))
    assert work.size == 8


async def test_one_bad_prompt_fails_alone():
    work = encoding(Failing(lambda texts: RuntimeError("bad token") if "prompt 5" in texts else None))
    found = await work.encode(prompts(8))
    assert found.failed.keys() == {"h5"}
    assert len(found.vectors) == 7


async def test_without_a_budget_a_batch_is_tried_once():
    work = encoding(Failing(lambda texts: RuntimeError("device lost")), RetryBudget(left=0.0))
    found = await work.encode(prompts(4))
    assert (work.reasoner.sizes, len(found.failed)) == ([4], 4)


async def test_what_is_not_finite_is_never_given_out():
    found = await encoding(Failing()).encode({"good": "prompt", "bad": "nan"})
    assert (found.vectors.keys(), found.failed.keys()) == ({"good"}, {"bad"})


async def test_vectors_of_another_width_are_never_given_out():
    work = encoding(Failing())
    work.reasoner.width = WIDTH + 1
    found = await work.encode(prompts(2))
    assert (found.vectors, len(found.failed)) == ({}, 2)


async def test_a_batch_that_does_not_end_is_left_behind_and_halved():
    slow = Failing(lambda texts: time.sleep(0.4) if len(texts) > 4 else None)
    found = await encoding(slow, deadline_s=0.1).encode(prompts(8))
    assert len(found.vectors) == 8
    assert slow.sizes == [8, 4, 4]


async def test_a_device_that_hangs_ends_the_process():
    hanging = Failing(lambda texts: time.sleep(0.3))
    with pytest.raises(ReasonerStuck, match="started again"):
        await encoding(hanging, deadline_s=0.02).encode(prompts(8))
    assert len(hanging.sizes) == MOST_STUCK


async def test_a_model_that_gives_nothing_sound_ends_the_process():
    work = encoding(Failing())
    for _ in range(MOST_BARREN - 1):
        await work.encode({"bad": "nan"})
    with pytest.raises(ReasonerBroken, match="older vectors or the null query"):
        await work.encode({"bad": "nan"})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "oom"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"), "oom"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 4096"), "oom"),
        (RuntimeError("std::bad_alloc"), "oom"),
        (RuntimeError("CUDA error: device-side assert triggered"), "error"),
    ],
)
def test_a_runtimes_words_are_understood(error, kind):
    assert failure_kind(error) == kind
