"""What the arms' code does, as one name: a kept fit is good as long as nothing that shaped it has changed."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_TRAINING = Path(__file__).parents[1]
_SHAPING = (
    "across", "autoint", "dataset", "examples", "held_out", "losses", "meeting", "negatives", "qerec", "qerec_shape",
    "query_trust", "scoring", "trainer", "trial", "user_tower", "contest/cell", "contest/fits", "contest/queries",
)  # fmt: skip


@cache
def version() -> str:
    """The sha256 over the modules that shape a fit, blind to layout, comments and docstrings."""
    digest = hashlib.sha256()
    files = [*(_TRAINING / f"{name}.py" for name in _SHAPING), *sorted((_TRAINING / "baselines").glob("*.py"))]
    for path in files:
        digest.update(ast.dump(_bare(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_words(part)]  # type: ignore[attr-defined]
    return tree


def _is_words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
