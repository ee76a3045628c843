"""A few of the fault experiments, at a quick pace; `make faults` runs them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import runs
from tests.faults.arena import QUICK, Arena
from tests.faults.rows import MUTANTS, ROWS
from tests.faults.runs import Result, Task, run, save, saved

pytestmark = pytest.mark.timeout(180)

SEED = 1


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(tmp_path_factory.mktemp("faults")) as started:
        yield started


@pytest.mark.parametrize("row", [1, 3, 9, 13, 16])
def test_nothing_is_lost_and_nothing_applied_twice(row: int, arena: Arena) -> None:
    result = run(Task(row, SEED), arena, QUICK)
    assert result.passed, f"{ROWS[row].fault}: {result.failed_checks} {result.error} {result.facts}"
    assert (result.lost, result.double_applied) == (0, 0)


def test_a_saved_result_holds_until_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, result = (
        Task(13, SEED),
        Result(13, SEED, None, passed=True, failed_checks=[], facts={}, lost=0, double_applied=0, took_s=1.0),
    )
    save(task, result, tmp_path)
    assert saved(task, tmp_path) == result
    monkeypatch.setattr(runs, "code", lambda: "other")
    assert saved(task, tmp_path) is None


def test_every_mutant_is_of_a_row() -> None:
    assert MUTANTS.keys() <= ROWS.keys()
