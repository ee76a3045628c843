"""A trained ranker with the names of its intents: what a training round ends in, saved as safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from features.schema import CATEGORICAL, NUMERIC, SEQUENCE_LENGTH, Encoded, fingerprint
from training.qerec import QERec, create
from training.qerec_shape import QERecShape
from training.scoring import Features, Intents


class CheckpointMismatch(ValueError):
    """A checkpoint that this program cannot go on from."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model, the intents its ID rows stand for (row i + 1 is intent_ids[i]) and what was measured."""

    model: QERec
    intent_ids: tuple[str, ...]
    families: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)

    def intents(
        self, ids: Sequence[str], families: Sequence[str], text: NDArray[np.float32], state: NDArray[np.float32]
    ) -> Intents:
        """The intent tower's inputs for any intents: id_index i64[N], text f32[N,E], raw state f32[N,H], family i64[N].

        Places count from 1, 0 is an unknown id or family. Families are numbered in the order of their sorted names,
        as `export.session` does.
        """
        id_index = {name: place for place, name in enumerate(self.intent_ids, start=1)}
        family_index = {name: place for place, name in enumerate(sorted(set(self.families)), start=1)}
        return (
            torch.tensor([id_index.get(name, 0) for name in ids], dtype=torch.int64),
            torch.from_numpy(np.ascontiguousarray(text, np.float32)),
            torch.from_numpy(np.ascontiguousarray(state, np.float32)),
            torch.tensor([family_index.get(name, 0) for name in families], dtype=torch.int64),
        )

    def logits(
        self, encoded: Encoded, query: NDArray[np.float32], has_query: NDArray[np.bool_], intents: Intents
    ) -> NDArray[np.float32]:
        """Scores f32[B,N] in evaluation mode, in bounded memory."""
        self.model.eval()
        features = tensors(encoded, query, has_query)
        with torch.no_grad():
            reprs = self.model.tower(*intents)
            parts = [
                self.model.head(*features.take(index).tensors(), *reprs)
                for index in torch.split(torch.arange(len(encoded)), 256)
            ]
        return np.asarray(torch.cat(parts).numpy() if parts else np.zeros((0, len(intents[0]))), np.float32)

    def save(self, path: Path) -> None:
        """Writes weights and names as safetensors."""
        told = {
            "shape": asdict(self.model.shape),
            "intent_ids": self.intent_ids,
            "families": self.families,
            "metrics": dict(self.metrics),
            "schema": fingerprint(),
        }
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(weights, path, metadata={"qerec": orjson.dumps(told).decode()})

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """What `save` wrote. Raises `CheckpointMismatch` when another feature schema wrote it."""
        with safe_open(path, framework="pt") as file:
            told = orjson.loads((file.metadata() or {}).get("qerec", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if told.get("schema") != fingerprint():
            raise CheckpointMismatch(
                f"{path.name} was trained on schema {told.get('schema')}, this program has {fingerprint()}: train anew"
            )
        told["shape"]["categories"] = tuple(told["shape"]["categories"])
        model = create(QERecShape(**told["shape"]), seed=0)
        model.load_state_dict(weights)
        return cls(model, tuple(told["intent_ids"]), tuple(told["families"]), told["metrics"])


def shape_for(intents: int, families: int, text_width: int, query_width: int) -> QERecShape:
    """The sizes of a model over this program's feature schema."""
    return QERecShape(
        numeric=len(NUMERIC),
        categories=tuple(CATEGORICAL.values()),
        event_kinds=CATEGORICAL["trigger_kind"],
        sequence=SEQUENCE_LENGTH,
        text_width=text_width,
        query_width=query_width,
        intents=intents,
        families=families,
    )


def tensors(encoded: Encoded, query: NDArray[np.float32], has_query: NDArray[np.bool_]) -> Features:
    """Requests as the model takes them; queries that are not there become zeros."""
    known = np.where(has_query[:, None], query, np.float32(0.0)).astype(np.float32)
    return Features(
        numeric=torch.from_numpy(encoded.numeric),
        categorical=torch.from_numpy(encoded.categorical),
        event_kinds=torch.from_numpy(encoded.event_kinds),
        event_ages=torch.from_numpy(encoded.event_ages),
        query=torch.from_numpy(known),
        has_query=torch.from_numpy(has_query.astype(np.float32)),
    )
