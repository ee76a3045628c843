"""Two processes that share every batch end in the weights of one."""

import subprocess
import sys
from pathlib import Path

import torch

from tests.training.test_trainer import problem
from training.across import Team, team
from training.trainer import Schedule, fit

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys
import torch
from tests.training.test_across import fitted
torch.save(fitted(), sys.argv[1] + "." + os.environ["RANK"])
"""


def fitted():
    """The weights of a short fit without dropout, whose draws would differ between the processes."""
    model, examples = problem(dropout=0.0, query_null_share=0.0, id_drop_share=0.0)
    fit(model, examples, Schedule(epochs=2), seed=3)
    return model.state_dict()


def test_one_process_is_a_team_of_its_own():
    alone = team()
    assert (alone.rank, alone.size) == (0, 1)
    assert alone.share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]


def test_shares_of_a_batch_are_disjoint_and_whole():
    parts = [Team(rank, 3).share(torch.arange(10)).tolist() for rank in range(3)]
    assert sorted(row for part in parts for row in part) == list(range(10))


def test_two_processes_under_torchrun_train_to_the_weights_of_one(tmp_path):
    script, out = tmp_path / "fit.py", tmp_path / "weights"
    script.write_text(SCRIPT)
    python, environment = sys.executable, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, str(script), str(out)], check=True, env=environment, timeout=150, capture_output=True)
    first, second = (torch.load(f"{out}.{rank}", weights_only=True) for rank in (0, 1))
    for name, weight in fitted().items():
        torch.testing.assert_close(first[name], weight, atol=2e-4, rtol=2e-3)
        assert torch.equal(first[name], second[name])
