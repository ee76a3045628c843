"""`rgalign demo`: the whole loop on this machine, watched live, its books closed at the end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from deploy import figures
from deploy.accounting import Books, close, read_log
from deploy.demo_report import from_log, latencies
from deploy.demo_screen import Screen
from deploy.draining import drain, ledger_counts
from deploy.log_reader import whole_topic
from deploy.model_zero import ensure_model_zero, prepare
from deploy.screen import console, progress
from deploy.simulate import Crowd, Tally, world_of
from deploy.stack import ONE_THREAD, Stack
from deploy.supervise import EventKind
from features.contract import parse
from features.decisions import Decision, Outcome
from features.settings import Connections
from stream.topics import DECISIONS, EVENTS, OUTCOMES

RECALIBRATE_AT = 0.45
"""The share of the demo's time after which the clicks so far recalibrate the model."""
ENOUGH_OUTCOMES = 150
"""A round waits for so many outcomes, which hold more prompts seen than a round needs at least."""
KILL_AT = 0.25
AFTER_SHARE = 0.2
"""The share of the demo's time for which traffic goes on after the round, so that the new model is seen at work."""
RECALIBRATE_EVERY_S = 150.0
ROUND_DEADLINE_S = 300
HASTE = 2.0
"""The demo's shoppers act twice as fast as the declared world's."""
ROUND_REPORT = Path(".out/recalibrate.json")
SHOWN_ERRORS = 5
KILLABLE = {"worker": "worker", "broker": "kafka", "nothing": ""}
POLICY = {"RGALIGN_POLICY_EPSILON": "0.2"}
"""A demo of minutes explores more than a shop would, so that its few clicks teach something."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What `rgalign demo` was asked for. `seconds` 0: until Ctrl-C."""

    seconds: int = 0
    rate: float = 60.0
    seed: int = 7
    port: int = 8080
    kill: str = "nothing"

    def __post_init__(self) -> None:
        if self.kill not in KILLABLE:
            raise ValueError(f"--kill {self.kill!r} is not a part that can be killed; choose {', '.join(KILLABLE)}")


@dataclass(slots=True)
class Happenings:
    """What happened to the roles and the rounds while the demo ran."""

    deaths: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    rounds: list[dict[str, figures.Figure]] = field(default_factory=list)

    def note(self, name: str, event: EventKind, _detail: str) -> None:
        """A supervisor's listener."""
        if event == "died":
            self.deaths.append(name)

    @property
    def unexpected_deaths(self) -> list[str]:
        """Who died without the demo's order."""
        return list((Counter(self.deaths) - Counter(self.killed)).elements())


def run(settings: DemoSettings) -> int:
    """The demo from first line to summary. Returns 0 when the books close and nothing went wrong."""
    started_s = time.monotonic()
    screen = console()
    cache = Connections().cache
    screen.print("[bold]RGAlign-Rec[/bold]: events in, prompts out, clicks back, a recalibrated model swapped in.")
    screen.print(f"Preparing (fetched and built once, kept in {cache}):")
    with progress(screen) as advance:
        prepare(cache, seed=settings.seed, progress=advance)
    happenings = Happenings()
    stack = Stack(cache, http_port=settings.port, env=POLICY, listener=happenings.note, say=screen.print)
    with stack.start(lambda connections: ensure_model_zero(connections, seed=settings.seed).version):
        screen.print(f"\nThe page: [bold underline]{stack.url}/[/bold underline]   (Ctrl-C ends the demo)\n")
        tally = asyncio.run(_live(settings, stack, happenings, screen))
        screen.print("Draining and closing the books ...")
        drain(stack.connections)
        for name in happenings.unexpected_deaths:
            screen.print(f"[red]{name} died by itself and was started again[/red]; the errors in its log:")
            screen.print(_errors(stack.services.supervisor.log_path(name)), markup=False, highlight=False)
        summary, books = _summary(settings, stack.connections, tally, happenings, started_s)
    figures.report("demo", "What happened (shoppers and clicks are simulated)", summary, screen)
    screen.print(f"The books are {books.explain()}.")
    return 0 if books.is_closed and not summary["swap_errors"] and tally.first_show_s is not None else 1


async def _live(settings: DemoSettings, stack: Stack, happenings: Happenings, screen: Console) -> Tally:
    """Traffic, rounds of recalibration and, if ordered, a kill, until the time is up or Ctrl-C."""
    crowd = Crowd(stack.connections, stack.url, world_of(settings.seed, haste=HASTE), settings.rate)
    traffic = asyncio.create_task(crowd.run())
    view = Screen(screen, crowd.tally)
    extras = [
        asyncio.create_task(work)
        for work in (
            view.run(),
            _rounds(settings, stack, happenings, view),
            _kill(settings, stack, happenings, view.say),
        )
    ]
    try:
        await asyncio.wait([traffic], timeout=settings.seconds or None)
        if not extras[1].done():
            view.say("waiting for the round to end, traffic goes on ...")
            await asyncio.wait([extras[1]], timeout=ROUND_DEADLINE_S)
            await asyncio.sleep(settings.seconds * AFTER_SHARE)
    except asyncio.CancelledError:
        screen.print("\nstopping ...")
    crowd.stop()
    tally = await traffic
    for task in extras:
        task.cancel()
    await asyncio.gather(*extras, return_exceptions=True)
    return tally


async def _rounds(settings: DemoSettings, stack: Stack, happenings: Happenings, view: Screen) -> None:
    """One recalibration at `RECALIBRATE_AT` of the time; in an endless demo one every `RECALIBRATE_EVERY_S`."""
    while True:
        await asyncio.sleep(settings.seconds * RECALIBRATE_AT or RECALIBRATE_EVERY_S)
        while view.tally.outcomes_acked < ENOUGH_OUTCOMES:  # noqa: ASYNC110 - the tally is a plain count
            await asyncio.sleep(1.0)
        view.say("recalibrating from the clicks so far ...")
        log = stack.services.supervisor.log_path("recalibrate")
        report = await asyncio.to_thread(_one_round, settings.seed, stack.connections, log)
        happenings.rounds.append(report)
        view.say(_verdict(happenings.rounds[-1]))
        if settings.seconds:
            return


def _one_round(seed: int, connections: Connections, log: Path) -> dict[str, figures.Figure]:
    """`rgalign recalibrate` as the offline job that it is: a process of its own."""
    ROUND_REPORT.unlink(missing_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "recalibrate", "--seed", str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **ONE_THREAD, **connections.environment()},
            timeout=ROUND_DEADLINE_S,
            check=False,
        )
    if done.returncode != 0 or not ROUND_REPORT.exists():
        end = log.read_text(errors="replace").strip().splitlines()[-1:]
        return {"verdict": "failed", "why": (end or [f"exit code {done.returncode}"])[0]}
    report: dict[str, figures.Figure] = json.loads(ROUND_REPORT.read_text())
    return report


def _errors(log: Path) -> str:
    """What a role logged as an error or a traceback's end, newest last."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line[:600] for line in lines if "rror" in line][-SHOWN_ERRORS:])


def _verdict(report: dict[str, figures.Figure]) -> str:
    if report["verdict"] == "failed":
        return f"[red]the round failed[/red]: {report['why']}"
    return (
        f"judge: [bold]{report['verdict']}[/bold], gain {report['delta']:+.4f} "
        f"[{report['low']:+.4f}, {report['high']:+.4f}] on {report['n_clicked']} held-out clicks"
    )


async def _kill(settings: DemoSettings, stack: Stack, happenings: Happenings, say: Callable[[str], None]) -> None:
    part = KILLABLE[settings.kill]
    if not part:
        return
    await asyncio.sleep((settings.seconds or RECALIBRATE_EVERY_S) * KILL_AT)
    happenings.killed.append(part)
    say(f"[red]kill -9[/red] {part} (pid {stack.kill(part)})")


def _summary(
    settings: DemoSettings, connections: Connections, tally: Tally, happenings: Happenings, started_s: float
) -> tuple[dict[str, figures.Figure], Books]:
    books = close(read_log(connections, EVENTS.name), ledger_counts(connections, EVENTS), tally.acked)
    decisions = [parse(Decision, record.value) for record in whole_topic(connections, DECISIONS.name)]
    outcomes = [parse(Outcome, record.value) for record in whole_topic(connections, OUTCOMES.name)]
    first = next((d.versions.model for d in decisions if d.candidates.intent_ids), "none")
    p50_ms, p99_ms = latencies(tally.sent_s, tally.received_s)
    failed_rounds = sum(report["verdict"] == "failed" for report in happenings.rounds)
    without_model = sum("no_model" in d.degraded for d in decisions)
    last = happenings.rounds[-1] if happenings.rounds else {}
    first_prompt_s = tally.first_show_s - started_s if tally.first_show_s is not None else None
    return {
        "seed": settings.seed,
        "seconds": settings.seconds,
        "events_in": books.events_in,
        "applied": books.counts.applied,
        "late": books.counts.late,
        "duplicate": books.counts.duplicate,
        "dead_lettered": books.counts.dead_lettered,
        "replayed": books.counts.replayed,
        "fenced": books.counts.fenced,
        "books_difference": books.difference,
        "acked": len(tally.acked),
        "acked_not_in_log": books.acked_not_in_log,
        **from_log(decisions, outcomes, first, settings.seed),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "latency_n": len(tally.received_s.keys() & tally.sent_s.keys()),
        "killed": settings.kill,
        "unexpected_deaths": len(happenings.unexpected_deaths),
        "swap_errors": len(happenings.unexpected_deaths)
        + failed_rounds
        + without_model
        + tally.rejected
        + tally.unacknowledged,
        "judge_verdict": last.get("verdict", "none"),
        "judge_gain": last.get("delta"),
        "judge_gain_low": last.get("low"),
        "judge_gain_high": last.get("high"),
        "seconds_to_first_prompt": first_prompt_s,
    }, books
