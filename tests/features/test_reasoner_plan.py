from pathlib import Path

import pytest

from features import reasoner_plan
from features.parity_record import store
from features.reasoner import open_reasoner, reasoner_id
from features.reasoner_graphs import GraphMissing, graph_path
from features.reasoner_plan import ONNX_ON_CPU, NoSuchBackend, planned
from features.reasoner_settings import ReasonerSettings
from tests.features.test_parity_record import record

HAS_CUDA = Path("/proc/driver/nvidia").exists()


def on_cpu(tiny, **asked):
    return planned(tiny.folder("llama"), ReasonerSettings(device="cpu", **asked))


def test_a_cpu_runs_the_reference_by_default(tiny, tmp_path):
    plan = on_cpu(tiny, cache=tmp_path)
    assert (plan.backend, plan.dtype, plan.mode) == ("torch", "fp32", "P")


def test_auto_takes_onnx_runtime_once_it_is_proved_and_exported(tiny, tmp_path):
    graph = graph_path(tmp_path, tiny.folder("llama"), "fp32")
    graph.parent.mkdir(parents=True)
    graph.touch()
    base_id = reasoner_id(tiny.folder("llama"))
    store(tmp_path, record(base_id=base_id, provider=ONNX_ON_CPU, centred_cosine_min=0.5))
    assert on_cpu(tiny, cache=tmp_path).backend == "torch"
    store(tmp_path, record(base_id=base_id, provider=ONNX_ON_CPU))
    assert on_cpu(tiny, cache=tmp_path).backend == "onnx"
    assert on_cpu(tiny, cache=tmp_path, dtype="bf16").backend == "torch"
    assert on_cpu(tiny, cache=tmp_path, mode="G").backend == "torch"
    graph.unlink()
    assert on_cpu(tiny, cache=tmp_path).backend == "torch"


def test_backend_and_arithmetic_do_not_name_the_space_but_the_mode_does(tiny):
    bases = {on_cpu(tiny, **asked).base_id for asked in ({"backend": "onnx", "dtype": "int8"}, {"dtype": "bf16"}, {})}
    assert len(bases) == 1
    assert on_cpu(tiny, mode="G").base_id not in bases


@pytest.mark.skipif(HAS_CUDA, reason="this machine has what the test asks for in vain")
@pytest.mark.parametrize("backend", ["auto", "torch", "onnx"])
def test_cuda_without_a_device_is_refused(tiny, backend):
    with pytest.raises(NoSuchBackend, match="set RGALIGN_DEVICE to auto or cpu"):
        open_reasoner(tiny.folder("llama"), ReasonerSettings(device="cuda", backend=backend))


def test_a_gpu_runs_mode_g_in_bf16_by_default(tiny, monkeypatch):
    monkeypatch.setattr(reasoner_plan, "_device", lambda _settings: "cuda")
    plan = planned(tiny.folder("llama"), ReasonerSettings())
    assert (plan.backend, plan.device, plan.dtype, plan.mode) == ("torch", "cuda", "bf16", "G")
    onnx = planned(tiny.folder("llama"), ReasonerSettings(backend="onnx"))
    assert (onnx.dtype, onnx.mode) == ("fp32", "P")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"backend": "torch", "dtype": "int8"}, "it has fp32 and bf16"),
        ({"backend": "onnx", "dtype": "bf16"}, "it has fp32 and int8"),
        ({"backend": "onnx", "mode": "G"}, "has mode P"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(tiny, asked, why):
    with pytest.raises(NoSuchBackend, match=why):
        on_cpu(tiny, **asked)


def test_a_graph_that_was_never_exported_is_asked_for(tiny, tmp_path):
    with pytest.raises(GraphMissing, match="rgalign reasoner check"):
        open_reasoner(tiny.folder("llama"), ReasonerSettings(device="cpu", backend="onnx", cache=tmp_path))
