import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from export import parity, to_onnx
from training.checkpoint import Checkpoint, shape_for, tensors
from training.qerec import create


@pytest.fixture(scope="module")
def exported():
    model = create(shape_for(165, 13, 24, 32), seed=1)
    rng = np.random.default_rng(0)
    model.settle(torch.rand(64, model.shape.numeric), torch.from_numpy(rng.standard_normal((165, 32), np.float32)))
    model.trust().fill_(0.7)
    graphs = to_onnx.graphs(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        name: ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for name, graph in graphs.items()
    }
    ids = tuple(f"i{n}" for n in range(165))
    return Checkpoint(model, ids, tuple(f"f{n % 13}" for n in range(165))), sessions


def intents(checkpoint, count):
    rng = np.random.default_rng(count)
    text, state = rng.standard_normal((count, 24), np.float32), rng.standard_normal((count, 32), np.float32)
    ids = (*checkpoint.intent_ids[: count - 1], "never_seen")
    return checkpoint.intents(ids, (*checkpoint.families[: count - 1], "no_family"), text, state)


@pytest.mark.parametrize("requests", [1, 3, 8])
@pytest.mark.parametrize("count", [1, 5, 165])
def test_the_graphs_score_as_torch_does(exported, requests, count):
    checkpoint, sessions = exported
    encoded, query, has_query = parity.requests(32, seed=requests, rows=requests)
    chosen = intents(checkpoint, count)
    feed = dict(zip(to_onnx.TOWER_INPUTS, (part.numpy() for part in chosen), strict=True))
    reprs = sessions["intent_tower.onnx"].run(list(to_onnx.TOWER_OUTPUTS), feed)
    features = [part.numpy() for part in tensors(encoded, query, has_query).tensors()]
    feed = dict(zip(to_onnx.RANKER_INPUTS, [*features, *reprs], strict=True))
    logits = sessions["ranker.onnx"].run(["logits"], feed)[0]
    assert np.abs(logits - checkpoint.logits(encoded, query, has_query, chosen)).max() <= 1e-4


def test_the_graphs_are_plain_and_hold_every_weight(exported):
    checkpoint, _ = exported
    for name, graph in to_onnx.graphs(checkpoint.model).items():
        model = onnx.load_model_from_string(graph)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", to_onnx.OPSET)]
        assert not model.functions
        assert not [node.op_type for node in model.graph.node if "Sequence" in node.op_type]
        weights = (checkpoint.model.head if name == "ranker.onnx" else checkpoint.model.tower).state_dict()
        assert {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer} == {
            key: tuple(weight.shape) for key, weight in weights.items()
        }


def test_a_spoiled_cache_is_made_again(exported, tmp_path):
    checkpoint, _ = exported
    fresh = to_onnx.graphs(checkpoint.model, tmp_path)
    stored = sorted((tmp_path / "graphs").iterdir())
    assert len(stored) == 2
    stored[0].write_bytes(stored[0].read_bytes()[:-1] + b"?")
    assert to_onnx.graphs(checkpoint.model, tmp_path) == fresh == to_onnx.graphs(checkpoint.model)


def test_exporting_says_nothing(capfd):
    axes = ({0: torch.export.Dim("rows")},)
    to_onnx._graph(torch.nn.Linear(3, 2), (torch.zeros(4, 3),), ("x",), ("y",), axes)
    assert capfd.readouterr() == ("", "")
