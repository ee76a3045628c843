"""MIMICS-ClickExplore as an impression log: clarification panes with the click shares of their options.

A pane is one impression without a user; its query is the words, its options the candidates, its click shares the
clicks, weighted by the pane's engagement. MIMICS tells no time: panes come in the order of the file, all panes of a
query at one moment, so that none of them is learned from before the others are ranked.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

from training.impressions import write

FILE = "Mimics-ClickExploreSampling.tsv.gz"
_OPTIONS = range(1, 6)
_SECOND_MS = 1000


def convert(source: Path, impressions: Path, candidates: Path) -> tuple[int, int]:
    """Writes both files of the format from MIMICS's own, and returns how many panes and options there are.

    Panes without a click are kept: they count in no metric and teach nothing.
    """
    rows = [*_rows(source)]
    texts = sorted({option for row in rows for option in _options(row)})
    place = {text: f"option-{number}" for number, text in enumerate(texts)}
    panes = write(impressions, _impressions(rows, place))
    return panes, write(candidates, ({"id": place[text], "text": text} for text in texts))


def _impressions(rows: list[dict[str, str]], place: dict[str, str]) -> Iterator[dict[str, object]]:
    moment, before = 0, ""
    for row in rows:
        moment += row["query"] != before
        before = row["query"]
        shares = _options(row)
        weight = float(row["engagement_level"]) / 10
        yield {
            "time": moment * _SECOND_MS,
            "user": "",
            "context": {"question": row["question"], "impressions": row["impression_level"]},
            "text": row["query"],
            "candidates": [place[option] for option in shares],
            "clicked": {place[option]: share * weight for option, share in shares.items()},
        }


def _options(row: dict[str, str]) -> dict[str, float]:
    """{option: click share} of a pane, in the order shown."""
    told = ((row[f"option_{n}"].strip(), float(row[f"option_cctr_{n}"] or 0)) for n in _OPTIONS)
    return {option: share for option, share in told if option}


def _rows(source: Path) -> Iterator[dict[str, str]]:
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is no file; expected {FILE} of MIMICS (https://github.com/microsoft/MIMICS), by --mimics FILE"
        )
    with gzip.open(source, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
