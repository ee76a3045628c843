import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.reasoner_check import check_reasoner
from export.reasoner_graph import ensure_graph
from features.parity_prompts import ParityPrompts, parity_prompts
from features.parity_record import NoParity, stored
from features.prompt import PREFIX, SLOT
from features.reasoner import open_reasoner, opened_unproved
from features.reasoner_onnx import OtherProvider, open_session
from features.reasoner_plan import planned
from features.reasoner_settings import ReasonerSettings
from tests.features.tiny_model import saved

WORDS = st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=20), min_size=1, max_size=8)
PROMPTS = ParityPrompts(
    [f"{PREFIX}. {word}{SLOT}" for word in ("late", "refund", "broken", "voucher", "invoice")],
    [f"{PREFIX}. {word} please{SLOT}" for word in ("late", "refund", "broken", "voucher", "invoice")],
    [0, 1, 2, 3, 4],
)


class Model:
    """A tiny folder and a cache with its graphs."""

    def __init__(self, home):
        self.home, self.folder = home, saved(home / "model")

    def settings(self, **asked):
        return ReasonerSettings(device="cpu", cache=self.home, **asked)

    def unproved(self, **asked):
        asked = self.settings(**asked)
        return opened_unproved(self.folder, planned(self.folder, asked), asked)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = Model(tmp_path_factory.mktemp("graphs"))
    ensure_graph(made.folder, made.home, "int8")
    return made


@pytest.fixture(scope="module")
def pair(model):
    return open_reasoner(model.folder, model.settings(backend="torch")), model.unproved(backend="onnx")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS)
def test_the_graph_gives_the_models_states_alone_and_in_any_batch(pair, words):
    texts = [f"{PREFIX}. {word}{SLOT}" for word in words]
    torch_states, onnx_states = (reasoner.embed(texts) for reasoner in pair)
    alone = np.concatenate([pair[1].embed([text]) for text in texts[::-1]])[::-1]
    assert np.abs(torch_states - onnx_states).max() < 1e-4
    assert np.abs(alone - onnx_states).max() < 1e-4


def test_an_unproved_backend_is_refused_and_serves_once_it_is_proved(model):
    asked = model.settings(backend="onnx")
    with pytest.raises(NoParity, match="onnxruntime fp32 CPUExecutionProvider has no parity record"):
        open_reasoner(model.folder, asked)
    record = check_reasoner(model.folder, asked, PROMPTS)
    assert record.holds
    assert record.centred_cosine_min > 0.9999
    assert stored(model.home, record.base_id, record.provider) == record
    assert open_reasoner(model.folder, asked).provider == "onnxruntime fp32 CPUExecutionProvider"
    assert open_reasoner(model.folder, model.settings()).provider == "onnxruntime fp32 CPUExecutionProvider"


def test_eight_bits_are_measured_and_stay_out_where_they_are_too_coarse(model):
    record = check_reasoner(model.folder, model.settings(backend="onnx", dtype="int8"), PROMPTS)
    assert record.provider == "onnxruntime int8 CPUExecutionProvider"
    assert 0.5 < record.centred_cosine_min < 0.99999
    if not record.holds:
        with pytest.raises(NoParity, match="may not serve"):
            open_reasoner(model.folder, model.settings(backend="onnx", dtype="int8"))


def test_bf16_on_a_cpu_is_another_backend_than_the_reference(model):
    with pytest.raises(NoParity, match="torch bf16 cpu has no parity record"):
        open_reasoner(model.folder, model.settings(backend="torch", dtype="bf16"))


def test_a_session_on_another_provider_than_asked_for_is_refused(model):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has what the test asks for in vain")
    with pytest.raises(OtherProvider, match="CUDAExecutionProvider was asked for"):
        open_session(ensure_graph(model.folder, model.home, "fp32"), "cuda", threads=1)


def test_a_graph_is_exported_once(model):
    graph = ensure_graph(model.folder, model.home, "int8")
    before = graph.stat().st_mtime_ns
    assert ensure_graph(model.folder, model.home, "int8") == graph
    assert graph.stat().st_mtime_ns == before


def test_the_fixed_prompts_ask_for_every_intent():
    prompts = parity_prompts()
    assert set(prompts.truth) == set(range(len(prompts.intents)))
    assert len(prompts.queries) == len(prompts.truth) > 500
    assert all(text.endswith(SLOT) for text in (*prompts.intents, *prompts.queries))
