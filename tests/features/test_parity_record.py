import numpy as np
import pytest

from features.parity_record import NoParity, ParityRecord, agreement, known, recall, require, store, stored


def record(**changed):
    told = {
        "base_id": "ab" * 32, "provider": "torch bf16 cpu", "prompts_sha256": "cd" * 32, "prompts": 100,
        "centred_cosine_min": 0.99, "centred_cosine_mean": 0.999, "recall_reference": 0.5, "recall": 0.51,
    }  # fmt: skip
    return ParityRecord(**told | changed)


def test_a_backend_with_a_record_that_holds_may_serve(tmp_path):
    store(tmp_path, record())
    assert require(tmp_path, "ab" * 32, "torch bf16 cpu") == record()


@pytest.mark.parametrize(("base_id", "provider"), [("ef" * 32, "torch bf16 cpu"), ("ab" * 32, "torch bf16 cuda")])
def test_a_record_is_for_one_space_and_one_backend(tmp_path, base_id, provider):
    store(tmp_path, record())
    with pytest.raises(NoParity, match="run `rgalign reasoner check`"):
        require(tmp_path, base_id, provider)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"centred_cosine_min": 0.9799}, r"centred cosine of 0\.9799, expected at least 0\.98"),
        ({"recall": 0.4899}, r"differs by 1\.0 points, expected at most 1\.0"),
        ({"recall": 0.52}, r"differs by 2\.0 points"),
    ],
)
def test_a_record_that_fails_says_why(tmp_path, found, why):
    store(tmp_path, record(**found))
    with pytest.raises(NoParity, match=why):
        require(tmp_path, "ab" * 32, "torch bf16 cpu")
    assert "may NOT serve" in record(**found).told()


def test_what_is_known_of_a_space_is_told_by_backend(tmp_path):
    for provider in ("torch bf16 cpu", "torch bf16 cuda (NVIDIA H200)"):
        store(tmp_path, record(provider=provider))
    store(tmp_path, record(base_id="ef" * 32))
    told = known(tmp_path, "ab" * 32)
    assert set(told) == {"torch bf16 cpu", "torch bf16 cuda (NVIDIA H200)"}
    assert "centred cosine min 0.9900" in told["torch bf16 cpu"]


def test_a_spoiled_record_is_none(tmp_path):
    store(tmp_path, record()).write_text('{"holds": true}')
    assert stored(tmp_path, "ab" * 32, "torch bf16 cpu") is None


def test_centring_uncovers_a_collapse_that_raw_cosine_hides():
    rng = np.random.default_rng(0)
    offset = np.full(16, 20.0, np.float32)
    reference = offset + rng.standard_normal((50, 16), np.float32)
    collapsed = offset + rng.standard_normal((50, 16), np.float32)
    raw = (reference * collapsed).sum(1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(collapsed, axis=1)
    assert raw.min() > 0.98
    assert agreement(reference, collapsed).mean() < 0.3
    assert agreement(reference, 2 * reference + 3).min() > 0.999


def test_recall_counts_true_rows_among_the_first_three():
    intents = np.eye(5, dtype=np.float32)
    queries = np.stack([intents[0], -intents[1], intents[2] + 0.1 * intents[3]])
    assert recall(queries, intents, [0, 1, 2]) == pytest.approx(2 / 3)
