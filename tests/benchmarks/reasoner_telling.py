"""The reasoner's bench told: a table of engines, one of ratios, one of worlds, and all of it as flat JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from deploy import figures
from tests.benchmarks import sentences
from tests.benchmarks.event_path import Timed
from tests.benchmarks.ratios import Ratio, percentiles
from tests.benchmarks.reasoner_findings import Refreshed, Speed
from tests.benchmarks.reasoner_speed import WORLD, Variant
from tests.benchmarks.telling import CONTENDED, FEWEST_ROUNDS

COMMAND = "bench-reasoner"
TAIL_SAMPLES = 10_000
"""With fewer on a side a p99 is a hint."""

Told = tuple[Ratio | None, str]
"""A ratio and what is asked of it."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the figures were measured under."""

    seed: int
    is_quick: bool
    flop_roofline: float | None
    began_s: float


def tell(
    speeds: Mapping[str, Speed], worlds: Mapping[str, Refreshed], timed: Timed, about: Circumstances, shown: Console
) -> None:
    """Prints the tables and writes `.out/bench-reasoner.json`."""
    ratios = _ratios(speeds, worlds, timed)
    for speed in speeds.values():
        shown.print(_engines(speed))
    shown.print(_table(ratios, timed))
    shown.print(_worlds(worlds))
    target = figures.write(COMMAND, _figures(ratios, speeds, worlds, timed, about))
    busiest = max((speed.measured.busiest or 0 for speed in speeds.values()), default=0)
    if max([busiest, *timed.pressure]) > CONTENDED:
        shown.print(f"[yellow]contended: PSI {busiest:.0f} in the race, {max(timed.pressure, default=0):.0f} after[/]")
    shown.print(f"[dim]{target}; {(time.monotonic() - about.began_s) / 60:.1f} min[/dim]")


def _ratios(speeds: Mapping[str, Speed], worlds: Mapping[str, Refreshed], timed: Timed) -> dict[str, Told]:
    cpu, cuda = speeds["cpu"], speeds.get("cuda")
    peer, peer_bf16 = cpu.best("st_fp32"), cpu.best("st_bf16")
    world = Variant("torch_fp32", 0, WORLD).name, Variant("st_fp32", 32, WORLD).name
    return {
        "a_a": (cpu.ratio("torch_fp32/all again", "torch_fp32/all"), "noise"),
        "cpu_vs_sentence_transformers": (cpu.ratio("torch_fp32/all", peer), "1.2, aim 2"),
        "cpu_vs_sentence_transformers_batch_8": (cpu.ratio("torch_fp32/8", "st_fp32/8"), "-"),
        "cpu_vs_sentence_transformers_batch_1": (cpu.ratio("torch_fp32/1", "st_fp32/1"), "-"),
        "cpu_vs_sentence_transformers_world": (cpu.ratio(*world), "-"),
        "cpu_bf16_vs_sentence_transformers": (cpu.ratio(cpu.best("torch_bf16"), peer_bf16), "-"),
        "onnx_fp32_vs_sentence_transformers": (cpu.ratio(cpu.best("onnx_fp32"), peer), "-"),
        "onnx_int8_vs_sentence_transformers_fp32": (cpu.ratio(cpu.best("onnx_int8"), peer), "a row of its own"),
        "gpu_a_a": (None if cuda is None else cuda.ratio("torch_cuda/all again", "torch_cuda/all"), "noise"),
        "gpu_vs_sentence_transformers": (
            None if cuda is None else cuda.ratio("torch_cuda/all", cuda.best("st_cuda")),
            "2, aim 4",
        ),
        "ndcg_kept": (worlds["declared"].kept.ratio, ">= 0.99"),
        "ndcg_kept_flipping": (worlds["flipping"].kept.ratio, "-"),
        "ndcg_kept_second_phase": (worlds["declared"].kept.second_ratio, "-"),
        "ndcg_kept_second_phase_flipping": (worlds["flipping"].kept.second_ratio, "-"),
        "event_a_a": (timed.noise(), "noise"),
        "event_p99_on_over_off": (timed.cost(), "<= 1.1"),
    }


def _figures(
    ratios: Mapping[str, Told],
    speeds: Mapping[str, Speed],
    worlds: Mapping[str, Refreshed],
    timed: Timed,
    about: Circumstances,
) -> dict[str, figures.Figure]:
    told: dict[str, figures.Figure] = {}
    for name, (ratio, _) in ratios.items():
        told[f"{name}_low"] = None if ratio is None else ratio.low
        told[f"{name}_high"] = None if ratio is None else ratio.high
        if not name.endswith("a_a"):
            told[name] = None if ratio is None else ratio.value
    for found in worlds.values():
        told |= {f"{key}{found.suffix}": value for key, value, _ in found.figures()}
        told |= {
            f"n_events{found.suffix}": found.spent.events,
            f"n_decisions_ranked{found.suffix}": len(found.kept.fresh),
            f"n_sessions_ranked{found.suffix}": found.kept.ratio.rounds,
        }
    for speed in speeds.values():
        told |= dict(_of_engines(speed))
    for side, blocks in timed.latencies_ms.items():
        p50, p99 = percentiles(timed.all(side).tolist())
        told |= {f"event_{side}_p50_ms": p50, f"event_{side}_p99_ms": p99, f"n_event_{side}": sum(map(len, blocks))}
    measured = speeds["cpu"].measured
    return told | {
        "flop_roofline": about.flop_roofline,
        "embedder_cores": timed.embedder_cores,
        "embedder_cores_race": timed.embedder_cores_race,
        "event_path_events_per_s": timed.events_per_s,
        "event_unanswered": timed.unanswered,
        "n_rounds": min(map(len, measured.blocks.values())),
        "simulated_events_per_s": worlds["declared"].events_per_s,
        "simulated_tokens_per_s": worlds["declared"].tokens_per_s,
        "seed": about.seed,
        "quick": about.is_quick,
        "psi_some_avg10_race_max": measured.busiest,
        "psi_some_avg10_event_path_max": max(timed.pressure, default=None),
        "version_sentence_transformers": sentences.VERSION if "st_fp32" in speeds["cpu"].providers else None,
    }


def _of_engines(speed: Speed) -> Iterator[tuple[str, figures.Figure]]:
    for name, blocks in speed.measured.blocks.items():
        key = name.replace("/", "_").replace(" ", "_")
        yield f"{key}_tokens_per_s", percentiles([block.rate for block in blocks])[0]
        yield f"{key}_prompts_per_s", percentiles([speed.prompts / block.wall_s for block in blocks])[0]
    for name, (raw, centred) in speed.cosines.items():
        yield f"{name}_least_cosine", raw
        yield f"{name}_least_centred_cosine", centred


def _engines(speed: Speed) -> Table:
    shown = _columns(
        f"Engines on {speed.device}, medians over blocks of {speed.prompts} prompts, one thread",
        ("way/batch", "provider", "tokens/s", "slowest", "prompts/s", "CPU ms/prompt", "cosine", "centred", "blocks"),
    )
    for name, blocks in speed.measured.blocks.items():
        way, rates = name.partition("/")[0], [block.rate for block in blocks]
        raw, centred = speed.cosines.get(way, (None, None))
        shown.add_row(
            name,
            speed.providers[way],
            f"{percentiles(rates)[0]:,.0f}",
            f"{min(rates):,.0f}",
            f"{percentiles([speed.prompts / block.wall_s for block in blocks])[0]:,.2f}",
            f"{percentiles([1000 * block.cpu_s / speed.prompts for block in blocks])[0]:,.1f}",
            "" if raw is None else f"{raw:.5f}",
            "" if centred is None else f"{centred:.5f}",
            str(len(blocks)),
        )
    return shown


def _table(ratios: Mapping[str, Told], timed: Timed) -> Table:
    shown = _columns("Ratios, 95 % interval", ("ratio", "value", "low", "high", "n", "asked", ""))
    samples = min(sum(map(len, blocks)) for blocks in timed.latencies_ms.values())
    for name, (ratio, asked) in ratios.items():
        if ratio is None:
            shown.add_row(name, "-", "", "", "", asked, "did not run")
            continue
        row = (f"{ratio.value:.3f}", f"{ratio.low:.3f}", f"{ratio.high:.3f}", str(ratio.rounds), asked)
        shown.add_row(name, *row, _note(name, ratio, ratios, samples))
    return shown


def _note(name: str, ratio: Ratio, ratios: Mapping[str, Told], samples: int) -> str:
    if name.startswith("ndcg"):
        return "simulated; n = sessions"
    if name.startswith("event") and samples < TAIL_SAMPLES:
        return f"only {samples:,} decisions a side"
    if ratio.rounds < FEWEST_ROUNDS:
        return "too few blocks for an interval"
    kind = "event_a_a" if name.startswith("event") else "gpu_a_a" if name.startswith("gpu") else "a_a"
    band = ratios[kind][0]
    return "" if band is None or name.endswith("a_a") or ratio.is_outside(band) else "within the noise"


def _worlds(worlds: Mapping[str, Refreshed]) -> Table:
    first = next(iter(worlds.values()))
    title = (
        f"SIMULATED: {first.spent.events:,} events at {first.events_per_s:g} a second, one embedder of "
        f"{first.tokens_per_s:,.0f} tokens a second"
    )
    shown = _columns(title, ("figure", *worlds))
    for rows in zip(*(found.figures() for found in worlds.values()), strict=True):
        shown.add_row(rows[0][2], *(f"{value:.4f}" for _, value, _ in rows))
    return shown


def _columns(title: str, names: tuple[str, ...]) -> Table:
    shown = Table(title=title, title_justify="left", pad_edge=False, box=None)
    left = {"way/batch", "provider", "ratio", "asked", "figure", ""}
    for name in names:
        shown.add_column(name, justify="left" if name in left else "right", no_wrap=bool(name))
    return shown
