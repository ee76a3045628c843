"""sentence-transformers as a peer: its own environment over this one's torch and transformers, made once."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from features.settings import Connections

VERSION = "6.2.0"
PACKAGES = (
    f"sentence-transformers=={VERSION}", "scikit-learn==1.9.1", "scipy==1.17.1", "joblib==1.6.0",
    "threadpoolctl==3.8.0",
)  # fmt: skip
INSTALL_DEADLINE_S = 180
_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "<|im_end|>",
    "eos_token": "<|im_end|>",
    "padding_side": "right",
    "clean_up_tokenization_spaces": False,
}


@functools.cache
def interpreter() -> Path | None:
    """The Python that has sentence-transformers, installed if it is not there; None where it cannot be.

    torch, transformers and numpy are this environment's own, so that both sides compute with the same libraries.
    """
    home = Connections().cache / f"bench-sentence-transformers-{VERSION}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    uv = Path(sys.executable).with_name("uv")
    try:
        for command in (["venv", "--clear", "--python", sys.executable, str(home)],
                        ["pip", "install", "--no-deps", "--python", str(python), *PACKAGES]):  # fmt: skip
            subprocess.run([uv, "--quiet", *command], check=True, timeout=INSTALL_DEADLINE_S, capture_output=True)
        [packages] = home.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    except (subprocess.SubprocessError, OSError, ValueError):
        shutil.rmtree(home, ignore_errors=True)
        return None
    (home / "complete").touch()
    return python


def readable(folder: Path, target: Path) -> Path:
    """The model folder as sentence-transformers can read it: the same weights and tokenizer, with a padding token."""
    target.mkdir()
    for path in folder.iterdir():
        if path.name != "tokenizer_config.json":
            (target / path.name).symlink_to(path)
    (target / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER))
    return target
