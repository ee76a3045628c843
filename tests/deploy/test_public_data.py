"""The public data is used where it is, and a wrong folder is refused."""

import pytest

from deploy.public_data import NEAR, public_data


def test_a_told_folder_is_used(tmp_path):
    assert public_data(tmp_path) == tmp_path


def test_a_told_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        public_data(tmp_path / "nowhere")


def test_without_a_word_the_near_folder_is_used_if_it_is_there(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert public_data(None) is None
    (tmp_path / "work" / NEAR).resolve().mkdir(parents=True)
    assert public_data(None) == NEAR
