"""Which language model reasons, and how: read from the environment once, at a program's edge."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Backend = Literal["torch", "onnx"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["fp32", "bf16", "int8"]
Mode = Literal["P", "G"]


class ReasonerSettings(BaseSettings):
    """Model, backend, device, arithmetic and mode. Environment variables as named by each field's alias."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True)

    folder: Path | None = Field(
        default=None,
        alias="RGALIGN_REASONER",
        description="the folder of any causal language model as Hugging Face saves it; not set: SmolLM2-135M-Instruct",
    )
    backend: Literal["auto", "torch", "onnx"] = Field(
        default="auto",
        alias="RGALIGN_REASONER_BACKEND",
        description="torch, or onnx for ONNX Runtime; auto = onnx where `rgalign reasoner check` proved it on this "
        "machine's CPU in fp32, else torch",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", alias="RGALIGN_DEVICE", description="where the reasoner runs; auto = CUDA where there is one"
    )
    dtype: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="auto",
        alias="RGALIGN_REASONER_DTYPE",
        description="auto = fp32 on a CPU, bf16 on CUDA with torch; int8 = 8-bit weights, onnx on a CPU only",
    )
    mode: Literal["auto", "P", "G"] = Field(
        default="auto",
        alias="RGALIGN_REASONER_MODE",
        description="P = pool the prompt's state, G = generate a query and pool after it; auto = G on CUDA with torch",
    )
    threads: int = Field(
        default=1, alias="RGALIGN_LLM_THREADS", ge=1, le=256, description="CPU threads of the reasoner"
    )
    cache: Path = Field(
        default=Path.home() / ".cache" / "rgalign",
        alias="RGALIGN_CACHE",
        description="where exported graphs and parity records are kept",
    )
