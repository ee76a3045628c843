"""The README names every module in the words of the module itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.file_map import BEGIN, END, written

ROOT = Path(__file__).parents[2]


def test_the_readme_holds_the_map_of_this_tree():
    readme = (ROOT / "README.md").read_text()
    assert written(readme, ROOT) == readme, "the file map is stale: run `make map`"


def test_a_new_module_makes_the_map_stale(tmp_path: Path):
    for room in ("deploy", "stream", "export", "training", "features"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f'"""Room {room}."""\n')
    before = written(f"{BEGIN}{END}", tmp_path)
    (tmp_path / "stream" / "new.py").write_text('"""Does something new."""\n')
    assert "`new.py` Does something new." in written(before, tmp_path)
    assert written(before, tmp_path) != before


def test_a_readme_without_a_place_for_the_map_is_refused():
    with pytest.raises(ValueError, match="put the two lines back"):
        written("# no map", ROOT)
