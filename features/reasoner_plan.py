"""What the reasoner's settings come to on this machine: backend, device, arithmetic, mode and the space served."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from features.greedy_query import ASK
from features.parity_record import stored
from features.reasoner_graphs import graph_path
from features.reasoner_identity import reasoner_identity
from features.reasoner_settings import Backend, Device, Dtype, Mode, ReasonerSettings

ONNX_ON_CPU = "onnxruntime fp32 CPUExecutionProvider"

_BACKENDS: Mapping[Backend, str] = {"torch": "features.reasoner_torch", "onnx": "features.reasoner_onnx"}
_DTYPES: Mapping[tuple[Backend, Device], tuple[Dtype, ...]] = {
    ("torch", "cpu"): ("fp32", "bf16"),
    ("torch", "cuda"): ("bf16", "fp32"),
    ("onnx", "cpu"): ("fp32", "int8"),
    ("onnx", "cuda"): ("fp32",),
}
"""What a backend can calculate in, its default first."""


class NoSuchBackend(RuntimeError):
    """Settings that nothing here can keep: nothing falls back by itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every `auto` of the settings decided."""

    backend: Backend
    device: Device
    dtype: Dtype
    mode: Mode
    base_id: str


def planned(folder: Path, settings: ReasonerSettings) -> Plan:
    """What the settings come to for a model folder. Raises `NoSuchBackend`, `NotAModel`."""
    device = _device(settings)
    mode = _mode(settings, device)
    base_id = reasoner_identity(folder, mode, ASK)
    backend = _backend(folder, settings, device, base_id) if settings.backend == "auto" else settings.backend
    if backend == "onnx" and mode == "G":
        raise NoSuchBackend(
            "the onnx backend was asked for mode G and has mode P: set RGALIGN_REASONER_BACKEND=torch, or "
            "RGALIGN_REASONER_MODE=P"
        )
    return Plan(backend, device, _dtype(settings, backend, device), mode, base_id)


def space_of(folder: Path, settings: ReasonerSettings) -> str:
    """The base_id that `planned` comes to, without looking for a device unless the mode hangs on it."""
    mode = settings.mode if settings.mode != "auto" else _mode(settings, _device(settings))
    return reasoner_identity(folder, mode, ASK)


def module_of(backend: Backend) -> Any:
    """The module that runs a backend, and with it torch or ONNX Runtime, loaded now."""
    return import_module(_BACKENDS[backend])


def _backend(folder: Path, settings: ReasonerSettings, device: Device, base_id: str) -> Backend:
    """ONNX Runtime where it was proved to give the reference's states in fp32 on a CPU, else torch."""
    if device == "cuda" or settings.dtype not in {"auto", "fp32"}:
        return "torch"
    record = stored(settings.cache, base_id, ONNX_ON_CPU)
    is_proved = record is not None and record.holds and graph_path(settings.cache, folder, "fp32").exists()
    return "onnx" if is_proved else "torch"


def _device(settings: ReasonerSettings) -> Device:
    if settings.device == "cpu":
        return "cpu"
    backend: Backend = "onnx" if settings.backend == "onnx" else "torch"
    has_cuda = _has_driver() and module_of(backend).has_cuda()
    if settings.device == "cuda" and not has_cuda:
        raise NoSuchBackend(
            f"the reasoner was asked to run on CUDA and {backend} sees none: install a driver and the gpu extra "
            "(`make install GPU=1`), or set RGALIGN_DEVICE to auto or cpu"
        )
    return "cuda" if has_cuda else "cpu"


def _has_driver() -> bool:
    """Whether NVIDIA's driver is there: asked first, for asking torch loads torch."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _mode(settings: ReasonerSettings, device: Device) -> Mode:
    if settings.mode != "auto":
        return settings.mode
    return "G" if device == "cuda" and settings.backend != "onnx" else "P"


def _dtype(settings: ReasonerSettings, backend: Backend, device: Device) -> Dtype:
    possible = _DTYPES[backend, device]
    wanted = possible[0] if settings.dtype == "auto" else settings.dtype
    if wanted not in possible:
        raise NoSuchBackend(
            f"{backend} on {device} was asked for {wanted}, it has {' and '.join(possible)}: "
            "set RGALIGN_REASONER_DTYPE to one of them, or to auto"
        )
    return wanted
