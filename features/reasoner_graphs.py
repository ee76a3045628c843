"""Where the exported graphs of a reasoner lie in the cache, by the content of its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from features.reasoner_identity import model_digests
from features.reasoner_settings import Dtype

FORM = "rgalign graph 1: past keys and values in, tree of tokens"
"""Names the graph's inputs and outputs: another form is another file."""


class GraphMissing(RuntimeError):
    """No graph was exported of this model folder."""


def graphs_folder(cache: Path, folder: Path) -> Path:
    """Where the graphs of a model folder lie, whether or not they are there."""
    name = hashlib.sha256("\n".join((FORM, *model_digests(folder))).encode()).hexdigest()[:16]
    return cache / "reasoners" / name


def graph_path(cache: Path, folder: Path, dtype: Dtype) -> Path:
    """Where the graph of a model folder in one arithmetic lies, whether or not it is there."""
    return graphs_folder(cache, folder) / f"{dtype}.onnx"


def graph_file(cache: Path, folder: Path, dtype: Dtype) -> Path:
    """The graph of a model folder in one arithmetic. Raises `GraphMissing`."""
    path = graph_path(cache, folder, dtype)
    if not path.exists():
        raise GraphMissing(
            f"{path} is not there; expected the {dtype} graph of {folder}: export it once, in a minute or two, by "
            "`rgalign reasoner check` with the same settings, or set RGALIGN_REASONER_BACKEND=torch"
        )
    return path
