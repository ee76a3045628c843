"""The live loop in the terminal: counts that tick and the last decisions; plain lines where there is no terminal."""

from __future__ import annotations

import asyncio
import time

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deploy.simulate import Tally
from features.decisions import Decision

REFRESH_S = 0.5
PLAIN_EVERY_S = 10.0
SHOWN = 8


class Screen:
    """Follows a tally until its task is cancelled; `say` prints a line above the live part."""

    def __init__(self, to: Console, tally: Tally) -> None:
        self._to, self.tally = to, tally
        self._started_s = time.monotonic()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._to.print(f"[dim]{time.monotonic() - self._started_s:6.1f} s[/dim]  {line}")

    async def run(self) -> None:
        """Redraws until cancelled."""
        if not self._to.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_EVERY_S)
                self.say(self.tally.describe())
        with Live(self._drawn(), console=self._to, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(self._drawn(), refresh=True)

    def _drawn(self) -> Group:
        last = Table("shopper", "after", "decision", "prompts or reason", "query", "model", "ms", expand=True, box=None)
        for decision in self.tally.recent[:SHOWN]:
            last.add_row(*_row(decision))
        return Group(Text(f"{time.monotonic() - self._started_s:6.1f} s  {self.tally.describe()}"), last)


def _row(decision: Decision) -> tuple[str, ...]:
    offered = " · ".join(prompt.text for prompt in decision.prompts) or decision.reason
    colour = {"show": "green", "silent": "dim", "holdout": "yellow"}[decision.decision]
    return (
        escape(decision.user[:14]),
        decision.trigger_type,
        f"[{colour}]{decision.decision}[/{colour}]",
        escape(offered[:90]),
        decision.embedding.state,
        decision.versions.model[:14],
        f"{decision.latency_ms:.0f}",
    )
