"""The result: one table of arms, one of ratios, and the same as flat JSON with every raw block beside it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy import figures
from tests.benchmarks import quix
from tests.benchmarks.ratios import Ratio, percentiles
from tests.benchmarks.rounds import Measured

COMMAND = "bench-stream"
VALID_HAND_LOOP = 3.0
FEWEST_ROUNDS = 6
"""With fewer blocks the bootstrap interval means little, and no ratio is called outside the noise."""
CONTENDED = 20.0
"""PSI some avg10 above which tails say more about the neighbours than about us."""
RATES: dict[str, tuple[str, str, str]] = {
    "state_vs_noop_faust": ("state", "noop_faust", "2.0, aim 5.0"),
    "whole_vs_noop_faust": ("whole", "noop_faust", "1.0, aim 3.0"),
    "vs_hand_loop": ("state", "hand_loop", "0.7, aim 0.95"),
    "vs_hand_loop_without_rows": ("state_without_rows", "hand_loop", "-"),
    "vs_hand_loop_unfenced": ("state", "hand_loop_unfenced", "-"),
    "hand_loop_vs_noop_faust": ("hand_loop", "noop_faust", "3.0 or void"),
    "vs_quix": ("state", "quix", "1.0, aim 1.5"),
    "state_without_rows_vs_noop_faust": ("state_without_rows", "noop_faust", "-"),
    "state_with_queries_vs_noop_faust": ("state_with_queries", "noop_faust", "-"),
}
"""A ratio of rates: arm, peer, and what is asked of it."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the figures were measured under."""

    seed: int
    is_quick: bool
    equal_values: int
    many_users: int
    began_s: float


def tell(measured: Measured, pairs: Mapping[str, Any], about: Circumstances, shown: Console) -> None:
    """Prints the tables; writes `.out/bench-stream.json` and the raw blocks."""
    ratios = _ratios(measured, pairs)
    shown.print(_arms(measured))
    shown.print(_table(ratios, about))
    found = _figures(measured, ratios, pairs, about)
    target = figures.write(COMMAND, found)
    raw = {arm: [dataclasses.asdict(block) for block in blocks] for arm, blocks in measured.blocks.items()}
    raw_path = Path(target).with_name(f"{COMMAND}-blocks.json")
    raw_path.write_text(json.dumps({"blocks": raw, "psi": measured.pressure}, indent=1))
    if (measured.busiest or 0) > CONTENDED:
        shown.print(f"[yellow]contended: others wanted the cores up to {measured.busiest:.0f} % of the time[/yellow]")
    shown.print(f"[dim]{target}; every block: {raw_path}; {(time.monotonic() - about.began_s) / 60:.1f} min[/dim]")


def _ratios(measured: Measured, pairs: Mapping[str, Any]) -> dict[str, tuple[Ratio | None, str]]:
    found: dict[str, tuple[Ratio | None, str]] = {"a_a": (measured.ratio("state_again", "state"), "noise")}
    for name, (arm, peer, asked) in RATES.items():
        known = arm in measured.blocks and peer in measured.blocks
        found[name] = (measured.ratio(arm, peer) if known else None, asked)
    writes, reads = pairs["writes"], pairs["reads"]
    found |= {
        "workers_cpu_per_event": (pairs.get("workers_cpu_per_event"), "<= 1.25"),
        "users_1m_over_10k": (pairs.get("users_1m_over_10k"), "<= 1.25"),
        "users_1m_over_10k_zipf": (pairs.get("users_1m_over_10k_zipf"), "<= 1.25"),
        "users_1m_over_10k_without_visits": (pairs.get("users_1m_over_10k_without_visits"), "-"),
        "history_10k_over_10": (pairs.get("history_10k_over_10"), "<= 1.3"),
        "writes_vs_feast_push": (writes.ratio("ours", "feast_push", (100, 1)), "50, aim 200"),
        "writes_vs_feast_batch_100": (writes.ratio("ours", "feast_batch_100", (100, 100)), "2, aim 4"),
        "read_vs_raw_redis": (reads.ratio("raw", "ours"), "<= 1.5, aim 1.15"),
    }
    return found


def _figures(
    measured: Measured,
    ratios: Mapping[str, tuple[Ratio | None, str]],
    pairs: Mapping[str, Any],
    about: Circumstances,
) -> dict[str, figures.Figure]:
    told: dict[str, figures.Figure] = {}
    for name, (ratio, _) in ratios.items():
        if name != "a_a":
            told[name] = None if ratio is None else ratio.value
        told[f"{name}_low"] = None if ratio is None else ratio.low
        told[f"{name}_high"] = None if ratio is None else ratio.high
    told["cpu_us_per_event"] = measured.median("state", lambda block: block.all_cpu_us)
    told["hand_loop_is_void"] = _is_void(ratios)
    for arm, blocks in measured.blocks.items():
        p50, _ = percentiles([block.rate for block in blocks])
        told |= {
            f"{arm}_events_per_s": p50,
            f"{arm}_cpu_us": measured.median(arm, lambda block: block.cpu_us),
            f"{arm}_all_cpu_us": measured.median(arm, lambda block: block.all_cpu_us),
        }
    for name in ("writes", "reads"):
        for way, seconds in pairs[name].seconds.items():
            p50, p99 = percentiles(seconds)
            told |= {f"{name}_{way}_p50_ms": 1e3 * p50, f"{name}_{way}_p99_ms": 1e3 * p99, f"{name}_n": len(seconds)}
    return told | {
        "n_rounds": len(measured.blocks["state"]),
        "n_events_state": sum(block.events for block in measured.blocks["state"]),
        "equal_values": about.equal_values,
        "users_many": about.many_users,
        "seed": about.seed,
        "quick": about.is_quick,
        "psi_some_avg10_max": measured.busiest,
        "version_quixstreams": quix.VERSION if quix.interpreter() else None,
    }


def _is_void(ratios: Mapping[str, tuple[Ratio | None, str]]) -> bool:
    hand = ratios["hand_loop_vs_noop_faust"][0]
    return hand is None or hand.value < VALID_HAND_LOOP


def _arms(measured: Measured) -> Table:
    shown = Table(title="Arms, medians over blocks", title_justify="left", pad_edge=False, box=None)
    for column in ("arm", "events/s", "slowest", "CPU us", "Valkey", "Kafka", "blocks", "events"):
        shown.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for arm, blocks in measured.blocks.items():
        rates = [block.rate for block in blocks]
        shown.add_row(
            arm,
            f"{percentiles(rates)[0]:,.0f}",
            f"{min(rates):,.0f}",
            f"{measured.median(arm, lambda block: block.cpu_us):.1f}",
            f"{measured.median(arm, lambda block: 1e6 * block.store_cpu_s / block.events):.1f}",
            f"{measured.median(arm, lambda block: 1e6 * (block.broker_cpu_s or 0) / block.events):.1f}",
            str(len(blocks)),
            f"{sum(block.events for block in blocks):,}",
        )
    return shown


def _table(ratios: Mapping[str, tuple[Ratio | None, str]], about: Circumstances) -> Table:
    size = f"many users = {about.many_users:,}; " if about.is_quick else ""
    title = f"Ratios, 95 % interval ({size}{about.equal_values:,} values equal in all arms, seed {about.seed})"
    shown = Table(title=title, title_justify="left", pad_edge=False, box=None)
    for column in ("ratio", "value", "low", "high", "n", "asked", ""):
        shown.add_column(column, justify="left" if column in {"ratio", "asked", ""} else "right", no_wrap=bool(column))
    band = ratios["a_a"][0]
    for name, (ratio, asked) in ratios.items():
        if ratio is None:
            shown.add_row(name, "-", "", "", "", asked, "no time" if name != "vs_quix" else "not installed")
            continue
        note = "" if band is None or name == "a_a" or ratio.is_outside(band) else "within the noise"
        if ratio.rounds < FEWEST_ROUNDS or (name in RATES and band is not None and band.rounds < FEWEST_ROUNDS):
            note = "too few blocks for an interval"
        if name == "vs_hand_loop" and _is_void(ratios):
            note = "void"
        shown.add_row(
            name, f"{ratio.value:.2f}", f"{ratio.low:.2f}", f"{ratio.high:.2f}", str(ratio.rounds), asked, note
        )
    return shown
