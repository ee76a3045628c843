import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export import bundle, parity, session
from export.bundle import BundleRejected, Facts, Opened
from export.session import DeviceUnavailable
from features import schema


def changed(built, *, facts=None, **parts):
    """The bundle with other parts or facts, sealed again: only its meaning can give it away."""
    opened = bundle.read(built)
    told = {name: getattr(opened.manifest, name) for name in Facts.model_fields} | (facts or {})
    files = {**opened.files, **{name.replace("__", "."): part for name, part in parts.items()}}
    return bundle.packed(files, Facts(**told))


def refusal(opened: Opened, **expected):
    with pytest.raises(BundleRejected) as caught:
        session.opened(opened, **expected)
    return caught.value.reason


@pytest.fixture(scope="module")
def ranker(built):
    return session.load(built)


def test_the_serving_path_imports_no_torch(built):
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path;"
        "from export import parity, registry, session;"
        f"r = session.load(Path({str(built)!r})); print(r.score(*parity.requests(r.query_width)).shape);"
        "assert not any(name.split('.')[0] == 'training' for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "(8, 7)"), done.stderr


def test_a_request_scores_alike_alone_and_in_a_batch(ranker):
    encoded, query, has_query = parity.requests(ranker.query_width, seed=5)
    together = ranker.score(encoded, query, has_query)
    one = np.array([3])
    np.testing.assert_allclose(ranker.score(encoded.take(one), query[one], has_query[one])[0], together[3], atol=1e-5)


def test_no_request_gives_no_scores(ranker):
    encoded, query, has_query = parity.requests(ranker.query_width, rows=0)
    assert ranker.score(encoded, query, has_query).shape == (0, 7)


def test_no_intent_gives_no_scores(ranker):
    none = ranker.with_intents((), ranker.text[:0], ranker.state[:0])
    assert none.score(*parity.requests(ranker.query_width)).shape == (8, 0)


def test_without_a_query_its_values_are_ignored_even_nan(ranker):
    encoded, query, has_query = parity.requests(ranker.query_width)
    broken = np.where(has_query[:, None], query, np.float32(np.nan))
    np.testing.assert_array_equal(ranker.score(encoded, broken, has_query), ranker.score(encoded, query, has_query))


def test_probability_rises_with_the_score(ranker):
    p = ranker.probability(np.array([[-100.0, -1.0, 0.0, 1.0, 100.0]], np.float32))
    assert (np.diff(p[0, 1:4]) > 0).all()
    assert (p >= 0).all()
    assert (p <= 1).all()


def test_the_same_intents_in_another_order_get_the_same_scores(ranker):
    order = np.array([6, 2, 0, 1, 3, 5, 4])
    other = ranker.with_intents([ranker.intent_ids[i] for i in order], ranker.text[order], ranker.state[order])
    requests = parity.requests(ranker.query_width)
    np.testing.assert_allclose(other.score(*requests), ranker.score(*requests)[:, order], atol=1e-5)


def test_a_new_intent_ranks_by_its_vectors_and_the_others_stay(ranker):
    ids = (*ranker.intent_ids, "brand_new")
    text, state = np.vstack([ranker.text, ranker.text[:1]]), np.vstack([ranker.state, ranker.state[:1]])
    other = ranker.with_intents(ids, text, state)
    requests = parity.requests(ranker.query_width)
    scores = other.score(*requests)
    np.testing.assert_allclose(scores[:, :-1], ranker.score(*requests), atol=1e-5)
    assert np.isfinite(scores[:, -1]).all()
    assert other.intent_ids == ids
    assert len(ranker.intent_ids) == 7


def test_rows_that_do_not_fit_the_ids_are_refused(ranker):
    with pytest.raises(ValueError, match="one row an intent"):
        ranker.with_intents(ranker.intent_ids, ranker.text[:3], ranker.state)


def test_another_schema_is_refused_with_what_to_do(built):
    with pytest.raises(BundleRejected, match="deploy the program built with this bundle") as caught:
        session.load(built, expected_fingerprint="0" * 16)
    assert caught.value.reason == "wrong_schema"
    assert session.load(built).manifest.schema_fingerprint == schema.fingerprint()


def test_another_space_is_refused(built):
    assert refusal(bundle.read(built), expected_space="f" * 64) == "wrong_space"


def test_a_graph_of_other_weights_fails_its_golden_requests(built):
    model = onnx.load_model_from_string(bundle.read(built).files["ranker.onnx"])
    weight = next(t for t in model.graph.initializer if len(t.raw_data) > 1000)
    weight.raw_data = np.zeros(len(weight.raw_data), np.uint8).tobytes()
    assert refusal(changed(built, ranker__onnx=model.SerializeToString())) == "parity"


def test_weights_outside_of_the_graph_are_refused_before_it_is_run(built):
    model = onnx.load_model_from_string(bundle.read(built).files["ranker.onnx"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    assert refusal(changed(built, ranker__onnx=model.SerializeToString())) == "external_weights"


def test_operators_of_other_domains_are_refused(built):
    model = onnx.load_model_from_string(bundle.read(built).files["intent_tower.onnx"])
    model.opset_import.add(domain="com.example", version=1)
    assert refusal(changed(built, intent_tower__onnx=model.SerializeToString())) == "bad_graph"


@pytest.mark.parametrize("part", ["ranker__onnx", "intent_tower__onnx", "intents__safetensors", "golden__safetensors"])
def test_parts_that_are_noise_are_refused(built, part):
    assert refusal(changed(built, **{part: b"\x08noise" * 20})) in {"bad_graph", "bad_parts"}


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"a": 0, "b": 0}', b'{"a": -1, "b": 0}', b'{"a": "x", "b": 0}', b"[1]"])
def test_a_calibrator_that_could_turn_the_order_is_refused(built, raw):
    assert refusal(changed(built, calibrator__json=raw or b" ")) == "bad_parts"


def test_vectors_of_other_intents_are_refused(built):
    assert refusal(changed(built, facts={"intent_ids": ("one",), "intent_families": ("even",)})) == "bad_parts"


def test_cuda_never_falls_back_by_itself(built):
    if "CUDAExecutionProvider" in ort.get_available_providers():
        assert session.load(built, device="cuda")._ranker.get_providers()[0] == "CUDAExecutionProvider"
        return
    with pytest.raises(DeviceUnavailable, match="set device=cpu"):
        session.load(built, device="cuda")
