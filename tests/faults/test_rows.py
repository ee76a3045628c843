"""A few of the fault experiments, at a quick pace; `make faults` runs them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.arena import QUICK, Arena
from tests.faults.rows import MUTANTS, ROWS
from tests.faults.runs import Task, run

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


def test_every_mutant_is_of_a_row() -> None:
    assert MUTANTS.keys() <= ROWS.keys()
