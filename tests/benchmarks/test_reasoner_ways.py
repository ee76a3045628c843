"""Our side of the race is the reasoner that serves."""

import numpy as np
import pytest

from features.reasoner import open_reasoner
from features.reasoner_settings import ReasonerSettings
from tests.benchmarks.reasoner_ways import opened
from tests.features.tiny_model import saved


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_any_batch_size_gives_the_states_that_are_served(tmp_path, batch):
    folder, texts = saved(tmp_path / "model"), ["where is it", "refund", "a voucher"]
    encode, provider = opened(str(folder), backend="torch", dtype="fp32", device="cpu")
    served = open_reasoner(folder, ReasonerSettings(backend="torch", dtype="fp32", device="cpu", mode="P", threads=1))
    assert provider == "torch fp32 cpu"
    np.testing.assert_allclose(encode(texts, batch), served.embed(texts), atol=1e-4)
