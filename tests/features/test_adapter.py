import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.adapter import Adapter, AdapterMismatch, space_id


def trained(seed, width=12, rank=5):
    draw = np.random.default_rng(seed).standard_normal
    shapes = (width,), (width, rank), (rank,), (rank, width)
    return Adapter(*(draw(shape).astype(np.float32) for shape in shapes))


def states(seed, count=3, width=12):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


@given(st.integers(0, 2**31), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_new_adapter_only_subtracts_the_mean(seed, rank):
    mean = states(seed, 1)[0]
    h = states(seed + 1)
    assert np.array_equal(Adapter.identity(mean, rank, seed).apply(h), h - mean)


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_row_does_not_depend_on_the_rows_beside_it(seed):
    adapter, h = trained(seed), states(seed + 1, 6)
    alone = np.concatenate([adapter.apply(row[None]) for row in h])
    assert np.allclose(adapter.apply(h), alone, atol=1e-5)


def test_saved_and_loaded_it_is_the_same_space(tmp_path):
    adapter = trained(1)
    adapter.save(tmp_path / "adapter.safetensors")
    loaded = Adapter.load(tmp_path / "adapter.safetensors")
    assert loaded.adapter_id == adapter.adapter_id
    assert np.array_equal(loaded.apply(states(2)), adapter.apply(states(2)))


@given(st.sampled_from(["mean", "w1", "b1", "w2"]))
@settings(deadline=None)
def test_changing_any_weight_is_another_space(name):
    adapter, other = trained(1), trained(1)
    getattr(other, name).flat[0] += 1e-3
    assert space_id("b", other.adapter_id) != space_id("b", adapter.adapter_id)


def test_states_of_another_width_are_refused():
    with pytest.raises(AdapterMismatch, match=r"expected \[B, 12\]"):
        trained(1).apply(states(1, width=11))


def test_weights_that_do_not_fit_each_other_are_refused():
    good = trained(1)
    with pytest.raises(AdapterMismatch, match="have shapes"):
        Adapter(good.mean[:-1], good.w1, good.b1, good.w2)


def test_it_computes_what_torch_computes():
    import torch

    adapter, h = trained(3), states(4)
    c = torch.from_numpy(h - adapter.mean)
    inner = torch.nn.functional.gelu(
        c @ torch.from_numpy(adapter.w1) + torch.from_numpy(adapter.b1), approximate="tanh"
    )
    assert np.allclose(adapter.apply(h), (c + inner @ torch.from_numpy(adapter.w2)).numpy(), atol=1e-5)
