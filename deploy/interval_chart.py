"""Dots with intervals as an SVG picture: a panel a subject, a line a competitor, all on one scale from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from training.metrics import Interval

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7f7f7f", "#a0a0a0", "#a0a0a0")
"""Told apart by colour-blind people too; a competitor beyond the last takes the last."""

_LABEL, _PLOT, _RIGHT = 330, 260, 24
_TITLE, _LINE, _AXIS, _GAP = 44, 17, 26, 16
_COLUMNS = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of a panel: `value` is a filled dot with its interval, `other` a hollow one."""

    label: str
    colour: int
    value: Interval
    other: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, its lines from top to bottom, and the value at which a dashed line stands."""

    title: str
    marks: tuple[Mark, ...]
    chance: float


def chart(title: str, note: str, panels: Sequence[Panel]) -> str:
    """The whole picture as SVG text, two panels a row."""
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    heights = [max(_height(panel) for panel in row) + _GAP for row in rows]
    width, height = _COLUMNS * (_LABEL + _PLOT + _RIGHT) + _GAP, 64 + sum(heights)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_GAP, 26, title, size=17, weight="bold"),
        _text(_GAP, 46, note, size=12, fill="#555555"),
    ]
    top = 64
    for row, row_height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            shift = _GAP + column * (_LABEL + _PLOT + _RIGHT)
            lines += [f'<g transform="translate({shift} {top})">', *_drawn(panel), "</g>"]
        top += row_height
    return "\n".join([*lines, "</svg>", ""])


def _height(panel: Panel) -> int:
    return _TITLE + _LINE * len(panel.marks) + _AXIS


def _drawn(panel: Panel) -> Iterator[str]:
    bottom = _TITLE + _LINE * len(panel.marks)
    yield _text(0, 22, panel.title, size=13, weight="bold")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield f'<path d="M{_x(tick):.1f} {_TITLE - 8}V{bottom}" stroke="#e3e3e3"/>'
        yield _text(_x(tick), bottom + 15, f"{tick:g}", size=10, fill="#555555", anchor="middle")
    yield f'<path d="M{_x(panel.chance):.1f} {_TITLE - 8}V{bottom}" stroke="#888888" stroke-dasharray="3 3"/>'
    for line, mark in enumerate(panel.marks):
        yield from _line(mark, _TITLE + _LINE * line + 4)


def _line(mark: Mark, y: int) -> Iterator[str]:
    colour = COLOURS[min(mark.colour, len(COLOURS) - 1)]
    yield _text(_LABEL - 12, y + 4, mark.label, size=11, anchor="end")
    yield f'<path d="M{_x(mark.value.low):.1f} {y}H{_x(mark.value.high):.1f}" stroke="{colour}" stroke-width="2"/>'
    if mark.other is not None:
        yield f'<circle cx="{_x(mark.other):.1f}" cy="{y}" r="3.2" fill="#ffffff" stroke="{colour}"/>'
    yield f'<circle cx="{_x(mark.value.mean):.1f}" cy="{y}" r="4" fill="{colour}"/>'


def _x(value: float) -> float:
    return _LABEL + _PLOT * min(max(value, 0.0), 1.0)


def _text(
    x: float, y: float, text: str, *, size: int, fill: str = "#111111", weight: str = "normal", anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
