"""The arms by name."""

from __future__ import annotations

from tests.benchmarks import hand_loop, noop_faust, our_line
from tests.benchmarks.launching import Arm

ARMS: dict[str, Arm] = {
    "noop_faust": noop_faust.noop,
    "state": our_line.state,
    "state_again": our_line.state,
    "state_with_queries": our_line.state_with_queries,
    "state_without_rows": our_line.state_without_rows,
    "whole": our_line.whole,
    "hand_loop": hand_loop.fenced,
    "hand_loop_unfenced": hand_loop.unfenced,
}
