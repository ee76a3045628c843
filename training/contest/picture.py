"""The comparison as one SVG picture: differences with intervals, learning curves and calibration, without a library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from training.contest.arms import BY_KEY
from training.contest.plan import HIGH
from training.contest.table import Report
from training.dials import SHARES, UNTOUCHED_SEEDS

F64 = NDArray[np.float64]
COLOURS = {
    "qerec": "#1b6ca8", "two_tower": "#c0392b", "lightgbm_cosine": "#27865a", "dcnv2": "#8e5ea2", "din": "#b8860b",
    "fm": "#7f8c8d", "bag": "#d2691e",
}  # fmt: skip
_WIDTH, _LEFT, _ROW, _HEIGHT = 900, 300, 22, 270


def picture(report: Report) -> str:
    """The SVG's text."""
    forest = [*_forest(report)]
    top = 60 + _ROW * len(forest)
    parts = [*_drawn_forest(forest), *_curves(report, top + 60), *_calibration(report, top + 60)]
    height = top + 400
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _forest(report: Report) -> Iterator[tuple[str, str, float, float, float]]:
    """(label, colour, mean, low, high) of every difference of QE-Rec in GAUC."""
    for kind, worlds in (("tuning", report.plan.worlds), ("untouched", UNTOUCHED_SEEDS)):
        for share in SHARES:
            for other in ("two_tower", "lightgbm_cosine"):
                if cells := report.cells(worlds, share, "qerec", other):
                    found = report.results.difference(cells, "qerec", other, "gauc")
                    label = f"{kind}, share {share:g}: minus {'two-tower' if other == 'two_tower' else 'LightGBM+cos'}"
                    yield label, COLOURS[other], *found


def _drawn_forest(rows: Sequence[tuple[str, str, float, float, float]]) -> Iterator[str]:
    yield _text(20, 28, "QE-Rec's difference in GAUC (all live intents), 95 % intervals over users and seeds", size=15)
    if not rows:
        return
    bounds = np.array([[low, high] for *_, low, high in rows])
    x = _scale(min(0.0, float(bounds.min())), max(0.0, float(bounds.max())), _LEFT, _WIDTH - 90)
    bottom = 48 + _ROW * len(rows)
    yield _line(x(0), 44, x(0), bottom, "#444")
    for place, (label, colour, mean, low, high) in enumerate(rows):
        y = 58 + _ROW * place
        yield _text(20, y + 4, label)
        yield _line(x(low), y, x(high), y, colour, width=2)
        yield f'<circle cx="{x(mean):.1f}" cy="{y}" r="4" fill="{colour}"/>'
        yield _text(_WIDTH - 80, y + 4, f"{mean:+.4f}")


def _curves(report: Report, top: int) -> Iterator[str]:
    """Recall@3 of the clicks at the end of training after every epoch, mean over seeds."""
    yield _text(20, top, f"Learning curves: held-out Recall@3 by epoch, share {HIGH:g}", size=14)
    curves = {key: _mean_curve(report, key) for key in COLOURS}
    drawn = {key: curve for key, curve in curves.items() if len(curve)}
    if not drawn:
        return
    longest, best = (max(told) for told in zip(*((len(c), float(c.max())) for c in drawn.values()), strict=True))
    yield from _frame(50, top + 20, 370, ("1", f"epoch {longest}"), ("0", f"{best:.2f}"))
    x, y = _scale(1, longest, 50, 420), _scale(0, best, top + 20 + _HEIGHT, top + 20)
    for place, (key, curve) in enumerate(drawn.items()):
        points = " ".join(f"{x(epoch):.1f},{y(float(value)):.1f}" for epoch, value in enumerate(curve, start=1))
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[key]}" stroke-width="2"/>'
        yield _text(235, top + 160 + 16 * place, _name(key), colour=COLOURS[key])


def _mean_curve(report: Report, key: str) -> F64:
    """As far as every seed was trained."""
    cells = report.cells(report.plan.worlds, HIGH, key)
    told = [fit["curve"][:, 1] for cell in cells for fit in report.results.fits_of(cell, key)]
    shortest = min((len(curve) for curve in told), default=0)
    return np.mean([curve[:shortest] for curve in told], axis=0) if shortest else np.empty(0)


def _calibration(report: Report, top: int) -> Iterator[str]:
    """The share of clicks against the predicted probability of shown prompts, in bins of equal mass."""
    yield _text(480, top, "Calibration: clicks by predicted probability", size=14)
    found = {key: _reliability(report, key) for key in ("qerec", "two_tower", "lightgbm_cosine")}
    drawn = {key: bins for key, bins in found.items() if len(bins)}
    if not drawn:
        return
    highest = max(float(bins[:, :2].max()) for bins in drawn.values())
    yield from _frame(510, top + 20, 350, ("0", f"predicted {highest:.2f}"), ("0", f"{highest:.2f}"))
    x, y = _scale(0, highest, 510, 860), _scale(0, highest, top + 20 + _HEIGHT, top + 20)
    yield _line(x(0), y(0), x(highest), y(highest), "#999")
    for place, (key, bins) in enumerate(drawn.items()):
        points = " ".join(f"{x(float(p)):.1f},{y(float(share)):.1f}" for p, share, _ in bins)
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[key]}" stroke-width="2"/>'
        yield _text(530, top + 40 + 16 * place, _name(key), colour=COLOURS[key])


def _name(key: str) -> str:
    """An arm's title without what stands in brackets."""
    return BY_KEY[key].title.partition(" (")[0]


def _reliability(report: Report, key: str) -> F64:
    cells = report.cells(report.plan.worlds, HIGH, key)
    told = [fit["reliability"] for cell in cells for fit in report.results.fits_of(cell, key)]
    return np.mean(told, axis=0) if told else np.empty((0, 3))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _frame(x: float, y: float, width: float, across: tuple[str, str], up: tuple[str, str]) -> Iterator[str]:
    """A plot's box with what stands at both ends of its two axes."""
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
    for at, words, anchor in zip((x, x + width), across, ("start", "end"), strict=True):
        yield _text(at, y + _HEIGHT + 16, words, anchor=anchor)
    for at, words in zip((y + _HEIGHT, y + 10), up, strict=True):
        yield _text(x - 4, at, words, anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, words: str, *, size: int = 12, colour: str = "#222", anchor: str = "start") -> str:
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(words)}</text>'
