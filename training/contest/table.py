"""The comparison as Markdown: the required table, the grid of shares, what must not gain, cold intents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.contest.answers import Answers
from training.contest.arms import ENTRIES, TRIALS, Entry
from training.contest.cell import CellName
from training.contest.figures import METRICS, Results
from training.contest.plan import HIGH, LOW, PLACEBOS, Plan
from training.dials import SCIENCE, SHARES, UNTOUCHED_SEEDS
from training.metrics import Interval

REFERENCE = "two_tower"
_TAIL = 0.5


@dataclass(frozen=True)
class Report:
    """What a report is written from."""

    results: Results
    plan: Plan
    answers: Answers
    left: int

    def cells(self, worlds: Sequence[int], share: float, *arms: str) -> list[CellName]:
        """The cells of these worlds at a share in which all of these arms have fits."""
        cells = [self.plan.cell(world, share) for world in worlds]
        return [cell for cell in cells if self.results.has([cell], *arms)]


def markdown(report: Report) -> str:
    """The whole report."""
    parts = [_head(report), _arms(report), _grid(report), _gains(report), _cold(report)]
    return "\n".join(line for part in parts for line in (*part, ""))


def _head(report: Report) -> Iterator[str]:
    plan = report.plan
    yield "# QE-Rec against its baselines in the declared world (simulated)"
    yield ""
    yield (
        f"{plan.users} shoppers, {plan.rounds} visits each; the test is the end of the log, about the last visits. "
        f"Worlds {plan.worlds} for tuning, {UNTOUCHED_SEEDS} untouched; {len(plan.seeds)} seeds of every fit in the "
        f"former, {plan.untouched_seeds} in the latter, {plan.variant_seeds} of QE-Rec's variants. "
        f"Dials: {SCIENCE}, but for users and the semantic share, which "
        f"is that of each row. Every arm had {TRIALS} tuning trials in another tuning world; settings are committed."
    )
    yield ""
    yield (
        "GAUC (all): the AUC of the intent that the shopper needs among all that are eligible, mean over the tested "
        "requests that have a need. GAUC (shown): of clicks on what was shown, grouped by user. Intervals are 95 %, "
        "users and seeds resampled. The need is the simulator's truth; no arm sees it."
    )
    if report.left:
        yield ""
        yield f"**Incomplete: {report.left} fits are still to be done; run the command again and it goes on.**"


def _arms(report: Report) -> Iterator[str]:
    worlds, results = report.plan.worlds, report.results
    cells = [report.plan.cell(world, HIGH) for world in worlds if report.plan.cell(world, HIGH) in results.tests]
    if not cells:
        return
    test = results.tests[cells[0]]
    yield f"## All arms, semantic share {HIGH:g}, tuning world {', '.join(str(cell.seed) for cell in cells)}"
    yield ""
    yield f"n = {len(test.user)} requests with a need of {int(test.user.max()) + 1} shoppers in the first world."
    yield ""
    yield (
        "| # | Arm | GAUC (all) | minus #4 | R@1 | R@3 | NDCG@3 | MRR | tail R@3 | GAUC (shown) | logloss | ECE "
        "| seeds | seed SD | fit s | us/request |"
    )
    yield "|---" * 16 + "|"
    for name, which in (("Bayes oracle", "bayes"), ("Bayes oracle, blind to words", "blind")):
        fit = getattr(test, which)
        told = " | ".join(f"{METRICS[m](fit).mean():.4f}" for m in ("recall1", "recall3", "ndcg3", "mrr"))
        tail = METRICS["recall3"](fit)[_tail(report, cells[0])].mean()
        yield f"| - | {name} | {METRICS['gauc'](fit).mean():.4f} | | {told} | {tail:.4f} | | | | | | | |"
    for entry in ENTRIES:
        if results.has(cells, entry.key):
            yield _row(report, cells, entry)


def _row(report: Report, cells: Sequence[CellName], entry: Entry) -> str:
    results, key = report.results, entry.key
    means = {metric: results.mean(cells, key, metric).mean for metric in METRICS if metric != "swapped"}
    told = " | ".join(f"{means[m]:.4f}" for m in ("recall1", "recall3", "ndcg3", "mrr"))
    has_reference = key != REFERENCE and results.has(cells, REFERENCE)
    minus = _interval(results.difference(cells, key, REFERENCE, "gauc")) if has_reference else ""
    tail = np.mean([results.values(cell, key, "recall3")[:, _tail(report, cell)].mean() for cell in cells])
    fits = [fit for cell in cells for fit in results.fits_of(cell, key)]
    shown, logloss, ece, fit_s = (
        float(np.mean([fit[what] for fit in fits])) for what in ("shown_gauc_user", "logloss", "ece", "fit_s")
    )
    score_us = 1e6 * float(np.mean([fit["score_s"] for fit in fits]))
    spread = float(np.std([fit["auc"].mean() for fit in fits], ddof=1)) if len(fits) > 1 else 0.0
    return (
        f"| {entry.number} | {entry.title} | {means['gauc']:.4f} | {minus} | {told} | {tail:.4f} | {shown:.4f} "
        f"| {logloss:.4f} | {ece:.4f} | {len(fits)} | {spread:.4f} | {fit_s:.1f} | {score_us:.0f} |"
    )


def _tail(report: Report, cell: CellName) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which tested requests need an intent of the rarer half by clicks in training, bool[R]."""
    test = report.results.tests[cell]
    border = np.quantile(test.clicks, _TAIL)
    return np.asarray(test.clicks[test.need] <= border)


def _grid(report: Report) -> Iterator[str]:
    yield "## QE-Rec at every semantic share: paired differences [95 % interval]"
    yield ""
    yield "| worlds | share | minus #4: GAUC | R@3 | minus #7b: GAUC | R@3 | QE-Rec: GAUC | Bayes oracle | gap |"
    yield "|---" * 9 + "|"
    for kind, worlds in (("tuning", report.plan.worlds), ("untouched", UNTOUCHED_SEEDS)):
        for share in SHARES:
            if cells := report.cells(worlds, share, "qerec", "two_tower", "lightgbm_cosine"):
                yield _share(report, cells, f"{kind} {', '.join(str(cell.seed) for cell in cells)}", share)


def _share(report: Report, cells: Sequence[CellName], worlds: str, share: float) -> str:
    results = report.results
    told = " | ".join(
        _interval(results.difference(cells, "qerec", other, metric))
        for other in ("two_tower", "lightgbm_cosine")
        for metric in ("gauc", "recall3")
    )
    ours = results.mean(cells, "qerec", "gauc").mean
    sizes = [len(results.tests[cell].user) for cell in cells]
    bayes = float(np.average([results.tests[cell].bayes["auc"].mean() for cell in cells], weights=sizes))
    return f"| {worlds} | {share:g} | {told} | {ours:.4f} | {bayes:.4f} | {bayes - ours:.4f} |"


def _gains(report: Report) -> Iterator[str]:
    yield "## What the query tower gains in GAUC over the same ranker without queries"
    yield ""
    yield "| queries | share | worlds | gain [95 % interval] |"
    yield "|---" * 4 + "|"
    worlds = (*report.plan.worlds, *UNTOUCHED_SEEDS)
    for arm, share in (("qerec", HIGH), ("qerec", LOW), *((arm, share) for arm in PLACEBOS for share in (HIGH, LOW))):
        if cells := report.cells(worlds, share, arm, "qerec_null"):
            found = _interval(report.results.difference(cells, arm, "qerec_null", "gauc"))
            yield f"| {'own' if arm == 'qerec' else arm} | {share:g} | {len(cells)} | {found} |"
    if cells := report.cells(worlds, HIGH, "qerec"):
        cost = _interval(report.results.swap(cells, "qerec"))
        yield f"| own, exchanged when ranking: the cost | {HIGH:g} | {len(cells)} | {cost} |"


def _cold(report: Report) -> Iterator[str]:
    told = report.answers
    if told.get("cold_recall3") is None:
        return
    yield "## Intents that nobody met in training, ranked among all that is eligible: Recall@3"
    yield ""
    yield "| QE-Rec | LightGBM with cosine | zero-shot cosine | random | minus random, lower bound | minus cosine |"
    yield "|---" * 6 + "|"
    names = ("cold_recall3", "cold_recall3_lightgbm_cosine", "cold_recall3_cosine", "cold_recall3_random")
    values = " | ".join(f"{told[name]:.4f}" for name in (*names, "cold_minus_random_low"))
    low, high = told["cold_minus_cosine_low"], told["cold_minus_cosine_high"]
    yield f"| {values} | {told['cold_minus_cosine']:+.4f} [{low:+.4f}, {high:+.4f}] |"
    yield ""
    yield f"n = {told['cold_requests']} requests; a fifth of the intents was held out."


def _interval(found: Interval) -> str:
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
