"""A bundle at work: ONNX Runtime sessions that score requests against intents. No torch anywhere on this path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from export.bundle import BundleRejected, Manifest, Opened, read
from export.parity import TOLERANCE, Golden
from features import schema
from features.schema import Encoded

F32 = NDArray[np.float32]
Device = Literal["cpu", "cuda"]

RANKER_INPUTS = frozenset(
    {"numeric", "categorical", "event_kinds", "event_ages", "query", "has_query", "intent_repr", "intent_key"}
)
TOWER_INPUTS = frozenset({"id_index", "text", "state", "family"})


class DeviceUnavailable(RuntimeError):
    """The device asked for is not there; nothing falls back by itself."""


@dataclass(frozen=True, eq=False)
class Ranker:
    """One verified bundle and the intents it ranks, in the order of `intent_ids` (N of them).

    `text` f32[N,E] and `state` f32[N,H] are the intents' frozen vectors; `families` their families.
    """

    manifest: Manifest
    manifest_sha256: str
    intent_ids: tuple[str, ...]
    families: tuple[str, ...]
    text: F32
    state: F32
    slope: float
    intercept: float
    _ranker: Any
    _tower: Any
    _intent_repr: F32
    _intent_key: F32

    @property
    def version(self) -> str:
        """The bundle's version, e.g. v0003-1c9e7b02."""
        return self.manifest.version

    @property
    def space_id(self) -> str:
        """The space that queries must be of."""
        return self.manifest.space_id

    @property
    def kb_version(self) -> str:
        """The knowledge base that the bundle was built with."""
        return self.manifest.kb_version

    @property
    def query_width(self) -> int:
        """H: the width of a query."""
        return int(self.state.shape[1])

    def score(self, encoded: Encoded, query: F32, has_query: NDArray[np.bool_]) -> F32:
        """Logits f32[B,N] of B requests; query f32[B,H] is ignored where has_query bool[B] is False.

        With B = 0 or N = 0 the graph is not run: some releases of ONNX Runtime then divide by zero and end the process.
        """
        if not (len(has_query) and self.intent_ids):
            return np.empty((len(has_query), len(self.intent_ids)), np.float32)
        feed = {
            "numeric": encoded.numeric,
            "categorical": encoded.categorical,
            "event_kinds": encoded.event_kinds,
            "event_ages": encoded.event_ages,
            "query": np.where(has_query[:, None], query, np.float32(0.0)).astype(np.float32),
            "has_query": has_query.astype(np.float32),
            "intent_repr": self._intent_repr,
            "intent_key": self._intent_key,
        }
        return np.asarray(self._ranker.run(["logits"], feed)[0], np.float32)

    def probability(self, logits: F32) -> F32:
        """Click probability at position 1 (equation (21)), same shape as `logits`."""
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (self.slope * logits + self.intercept)), np.float32)

    def with_intents(self, ids: Sequence[str], text: F32, state: F32, families: Sequence[str] | None = None) -> Ranker:
        """The same model over another list of intents: text f32[N,E], raw state f32[N,H].

        An intent the model has not met ranks by its vectors alone. `families` may be left out for intents that the
        model knows; an unknown family is none.
        """
        known = dict(zip(self.manifest.intent_ids, self.manifest.intent_families, strict=True))
        named = tuple(families) if families is not None else tuple(known.get(i, "") for i in ids)
        intent_repr, intent_key = _encoded(self._tower, self.manifest, ids, named, (text, state))
        return replace(
            self,
            intent_ids=tuple(ids),
            families=named,
            text=text,
            state=state,
            _intent_repr=intent_repr,
            _intent_key=intent_key,
        )


def load(
    directory: Path,
    expected_manifest_sha256: str | None = None,
    expected_fingerprint: str | None = None,
    expected_space: str | None = None,
    device: Device = "cpu",
) -> Ranker:
    """The ranker of a bundle, verified byte for byte before anything is parsed, then against its golden requests.

    `expected_fingerprint` defaults to this program's own schema. Raises `BundleRejected`, and `DeviceUnavailable`
    for a device that ONNX Runtime cannot give.
    """
    return opened(read(directory, expected_manifest_sha256), expected_fingerprint, expected_space, device)


def opened(
    bundle: Opened,
    expected_fingerprint: str | None = None,
    expected_space: str | None = None,
    device: Device = "cpu",
) -> Ranker:
    """The ranker of a bundle that is already verified; raises as `load`."""
    manifest = bundle.manifest
    _check_meaning(manifest, expected_fingerprint or schema.fingerprint(), expected_space)
    try:
        text, state = _vectors(bundle)
        slope, intercept = _calibration(bundle.files["calibrator.json"])
        golden = Golden.from_bytes(bundle.files["golden.safetensors"])
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BundleRejected("bad_parts", f"{type(error).__name__}: {error}", "parts that fit together") from None
    ranker = _session(bundle.files, "ranker.onnx", RANKER_INPUTS, device)
    tower = _session(bundle.files, "intent_tower.onnx", TOWER_INPUTS, device)
    ids, families = manifest.intent_ids, manifest.intent_families
    reprs = _encoded(tower, manifest, ids, families, (text, state))
    loaded = Ranker(
        manifest, bundle.manifest_sha256, ids, families, text, state, slope, intercept, ranker, tower, *reprs
    )
    _check_parity(loaded, golden)
    return loaded


def _check_meaning(manifest: Manifest, fingerprint: str, space: str | None) -> None:
    if manifest.schema_fingerprint != fingerprint:
        raise BundleRejected(
            "wrong_schema",
            f"bundle {manifest.version} of feature schema {manifest.schema_fingerprint}",
            f"schema {fingerprint}, which this program serves",
            "deploy the program built with this bundle, or publish a bundle of this program",
        )
    if space is not None and manifest.space_id != space:
        raise BundleRejected("wrong_space", f"space {manifest.space_id}", f"space {space}")


def _vectors(bundle: Opened) -> tuple[F32, F32]:
    tensors: Mapping[str, Any] = load_tensors(bundle.files["intents.safetensors"])
    text, state, count = tensors["text"], tensors["state"], len(bundle.manifest.intent_ids)
    for name, tensor in (("text", text), ("state", state)):
        if tensor.dtype != np.float32 or tensor.ndim != 2 or len(tensor) != count or not np.isfinite(tensor).all():
            raise ValueError(f"{name} is {tensor.dtype}{list(tensor.shape)}, expected finite float32[{count}, width]")
    return text, state


def _calibration(raw: bytes) -> tuple[float, float]:
    told = orjson.loads(raw)
    slope, intercept = float(told["a"]), float(told["b"])
    if not (0.0 < slope < 1e3 and abs(intercept) < 1e3):
        raise ValueError(f"calibrator a={slope} b={intercept}, expected 0 < a < 1000 and |b| < 1000")
    return slope, intercept


def _session(files: Mapping[str, bytes], name: str, inputs: frozenset[str], device: Device) -> Any:
    import onnxruntime as ort  # noqa: PLC0415 - a third of a second, which `--help` and the tests of names can spare

    raw = files[name]
    _check_graph(name, raw)
    options, providers = _options(ort, device)
    try:
        session = ort.InferenceSession(raw, options, providers=providers)
    except Exception as error:  # noqa: BLE001 - the runtime's own errors share no base but Exception
        raise BundleRejected("bad_graph", f"{name}: {str(error)[:300]}", "a graph that ONNX Runtime loads") from None
    if session.get_providers()[0] != providers[0]:
        raise DeviceUnavailable(f"{name} runs on {session.get_providers()[0]}, expected {providers[0]}: use device=cpu")
    found = {entry.name for entry in session.get_inputs()}
    if found != inputs:
        raise BundleRejected("bad_graph", f"{name} with inputs {sorted(found)}", f"{sorted(inputs)}")
    return session


def _options(ort: Any, device: Device) -> tuple[Any, list[str]]:
    """One thread that never spins and no arena: many workers share a machine, batches vary (platform.md 6)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cpu":
        return options, ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise DeviceUnavailable(
            f"device=cuda was asked for, this ONNX Runtime offers {ort.get_available_providers()}: "
            "install the gpu extra (`make install GPU=1`) or set device=cpu"
        )
    ort.preload_dlls()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options, ["CUDAExecutionProvider"]


def _check_graph(name: str, raw: bytes) -> None:
    """Standard operators and no weights outside of the file."""
    import onnx  # noqa: PLC0415 - as onnxruntime above

    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:  # noqa: BLE001 - protobuf's errors share no base but Exception
        raise BundleRejected("bad_graph", f"{name}: {str(error)[:300]}", "an ONNX model") from None
    domains = {entry.domain for entry in model.opset_import} - {"", "ai.onnx"}
    if domains or model.functions:
        raise BundleRejected("bad_graph", f"{name} with operators of {sorted(domains)}", "standard operators only")
    if outside := [tensor.name for tensor in _tensors(model.graph) if tensor.data_location or tensor.external_data]:
        raise BundleRejected(
            "external_weights", f"{name} with weights of {outside[:3]} elsewhere", "all weights inside"
        )


def _tensors(graph: Any) -> Iterable[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
            yield from _tensors(inner)


def _encoded(
    tower: Any, manifest: Manifest, ids: Sequence[str], families: Sequence[str], vectors: tuple[F32, F32]
) -> tuple[F32, F32]:
    """(intent_repr, intent_key), f32[N,d] each; index 0 stands for what the model has not met."""
    id_index = {intent_id: place for place, intent_id in enumerate(manifest.intent_ids, start=1)}
    family_index = {family: place for place, family in enumerate(sorted(set(manifest.intent_families)), start=1)}
    text, state = vectors
    feed: dict[str, NDArray[Any]] = {
        "id_index": np.array([id_index.get(intent_id, 0) for intent_id in ids], np.int64),
        "text": np.ascontiguousarray(text, np.float32),
        "state": np.ascontiguousarray(state, np.float32),
        "family": np.array([family_index.get(family, 0) for family in families], np.int64),
    }
    if len({len(column) for column in feed.values()}) != 1:
        raise ValueError(f"{len(ids)} ids, text {text.shape}, state {state.shape}: expected one row an intent")
    try:
        intent_repr, intent_key = tower.run(["intent_repr", "intent_key"], feed)
    except Exception as error:  # noqa: BLE001 - the runtime's own errors share no base but Exception
        raise BundleRejected("bad_graph", f"intent_tower.onnx: {str(error)[:300]}", "a tower that runs") from None
    return intent_repr, intent_key


def _check_parity(ranker: Ranker, golden: Golden) -> None:
    try:
        difference = golden.difference(ranker.score(golden.encoded, golden.query, golden.has_query))
    except Exception as error:  # noqa: BLE001 - the runtime's own errors share no base but Exception
        raise BundleRejected("bad_graph", f"ranker.onnx: {str(error)[:300]}", "a ranker that runs") from None
    if not difference <= TOLERANCE:
        raise BundleRejected("parity", f"golden logits off by {difference:.3g}", f"at most {TOLERANCE}")
