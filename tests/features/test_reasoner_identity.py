import json

import pytest

from features.reasoner_identity import NotAModel, reasoner_identity


@pytest.fixture
def folder(tmp_path):
    """A folder of two shards; what is in them does not matter to a name."""
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "dtype": "bfloat16"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name in shards.values():
        (tmp_path / name).write_text(name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return tmp_path


def named(folder, mode="P", ask="ask"):
    return reasoner_identity(folder, mode, ask)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model-00001-of-00002.safetensors", "other weights"),
        ("model-00002-of-00002.safetensors", "other weights"),
        ("tokenizer.json", '{"other": 1}'),
        ("config.json", '{"hidden_size": 8, "rope_theta": 5}'),
    ],
)
def test_whatever_shapes_a_state_names_the_space(folder, name, content):
    before = named(folder)
    (folder / name).write_text(content)
    assert named(folder) != before


def test_how_a_folder_was_saved_does_not_name_the_space(folder):
    before = named(folder)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "transformers_version": "9", "dtype": "float32"}))
    assert named(folder) == before


def test_the_mode_and_what_mode_g_asks_name_the_space(folder):
    assert named(folder, "G") != named(folder) == named(folder, ask="another")
    assert named(folder, "G", "another") != named(folder, "G")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"])
def test_a_folder_that_lacks_a_part_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(NotAModel, match=f"has no {name}"):
        named(folder)
