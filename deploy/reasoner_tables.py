"""The reasoner's quality as people read it: the same cells as Markdown, on the screen, as a picture and as figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from deploy.figures import Figure
from deploy.interval_chart import Mark, Panel, chart
from training.metrics import Interval
from training.reasoner_quality import Measured

HEADER = (
    "model", "pooled", "n", "recall@1", "recall@3 [95 %]", "mean kept", "MRR [95 %]", "gain in MRR [95 %]", "ms/text",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """One set of questions and all that was measured on it."""

    name: str
    title: str
    answers: int
    rows: tuple[Measured, ...]

    @property
    def heading(self) -> str:
        """The title with the sizes."""
        return f"{self.title} (n = {self.rows[0].centred.n}, {self.answers} intents)"


def markdown(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """The report as Markdown."""
    lines = [f"# {title}", "", *(f"- {note}" for note in notes), ""]
    for section in sections:
        lines += [f"## {section.heading}", "", *_piped(section), ""]
    return "\n".join(lines)


def _piped(section: Section) -> Iterator[str]:
    header = (*HEADER, *_extra(section))
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in section.rows:
        yield f"| {' | '.join(_cells(row, section))} |"


def table(section: Section) -> Table:
    """One section for the screen."""
    shown = Table(title=section.heading, title_justify="left", pad_edge=False)
    for place, name in enumerate((*HEADER, *_extra(section))):
        shown.add_column(name, justify="left" if place < 2 else "right")
    for row in section.rows:
        shown.add_row(*_cells(row, section))
    return shown


def _extra(section: Section) -> tuple[str, ...]:
    return ("AUROC in/out of scope",) if _has_scope(section) else ()


def _has_scope(section: Section) -> bool:
    return any(row.auroc is not None for row in section.rows)


def _cells(row: Measured, section: Section) -> list[str]:
    n = str(row.centred.n) if row.centred.n else "-"
    cells = [
        row.way.model,
        row.way.pooled,
        n,
        f"{row.centred.recall_at_1.mean:.3f}",
        _spread(row.centred.recall_at_3),
        "-" if row.raw is None else f"{row.raw.recall_at_3.mean:.3f}",
        _spread(row.centred.mrr),
        "-" if row.gain is None else _spread(row.gain, sign="+"),
        "-" if row.ms_per_text is None else f"{row.ms_per_text:.0f}",
    ]
    return [*cells, "-" if row.auroc is None else _spread(row.auroc)] if _has_scope(section) else cells


def _spread(interval: Interval, sign: str = "") -> str:
    """A mean with its interval; nothing in brackets where nothing is uncertain.

    >>> _spread(Interval(0.5, 0.4, 0.61)), _spread(Interval(0.25, 0.25, 0.25))
    ('0.500 [0.400, 0.610]', '0.250')
    """
    shown = f"{interval.mean:{sign}.3f}"
    if interval.low == interval.high == interval.mean:
        return shown
    return f"{shown} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def picture(title: str, note: str, sections: Sequence[Section]) -> str:
    """The report as SVG: recall@3 of every way on every set."""
    models = list(dict.fromkeys(row.way.model for section in sections for row in section.rows))
    panels = [
        Panel(
            section.heading,
            tuple(_mark(row, models.index(row.way.model)) for row in section.rows if row.way.key != "chance"),
            chance=next(row.centred.recall_at_3.mean for row in section.rows if row.way.key == "chance"),
        )
        for section in sections
    ]
    return chart(title, note, panels)


def _mark(row: Measured, colour: int) -> Mark:
    label = f"{row.way.model}: {row.way.pooled.partition(' (')[0]}"
    return Mark(label, colour, row.centred.recall_at_3, None if row.raw is None else row.raw.recall_at_3.mean)


def figures(sections: Sequence[Section]) -> dict[str, Figure]:
    """Flat figures, `<set>_<way>_<metric>`; intervals as `_low` and `_high`."""
    found: dict[str, Figure] = {}
    for section in sections:
        for row in section.rows:
            start = f"{section.name}_{row.way.key}"
            told: dict[str, Interval | None] = {
                "recall_at_1": row.centred.recall_at_1,
                "recall_at_3": row.centred.recall_at_3,
            }
            told |= {"mrr": row.centred.mrr, "mrr_gain": row.gain, "scope_auroc": row.auroc}
            told |= {} if row.raw is None else {"raw_recall_at_3": row.raw.recall_at_3, "raw_mrr": row.raw.mrr}
            found[f"{start}_n"], found[f"{start}_ms_per_text"] = row.centred.n, row.ms_per_text
            for metric, interval in told.items():
                if interval is not None:
                    found |= {f"{start}_{metric}": interval.mean, f"{start}_{metric}_low": interval.low}
                    found[f"{start}_{metric}_high"] = interval.high
    return found
