import gzip

import pytest

from training import mimics
from training.impressions import candidates, impressions

HEADER = ["query", "question", *(f"option_{n}" for n in range(1, 6)), "impression_level", "engagement_level"]
HEADER += [f"option_cctr_{n}" for n in range(1, 6)]


def pane(query, options, shares, engagement):
    told = [query, "Which one?", *options, *[""] * (5 - len(options)), "low", str(engagement)]
    return [*told, *map(str, shares), *["0"] * (5 - len(shares))]


def test_panes_become_impressions_weighted_by_share_and_engagement(tmp_path):
    rows = [HEADER, pane("headache", ["causes", "diet"], [0.75, 0.25], 8), pane("headache", ["diet"], [0], 0)]
    source = tmp_path / "mimics.tsv.gz"
    with gzip.open(source, "wt") as file:
        file.writelines("\t".join(row) + "\n" for row in rows)
    assert mimics.convert(source, tmp_path / "i.jsonl", tmp_path / "c.jsonl") == (2, 2)
    first, second = impressions(tmp_path / "i.jsonl")
    texts = candidates(tmp_path / "c.jsonl")
    assert {texts[one]: round(share, 6) for one, share in first.clicked.items()} == {"causes": 0.6, "diet": 0.2}
    assert first.time_ms == second.time_ms
    assert not second.clicked


def test_an_absent_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"github\.com/microsoft/MIMICS"):
        mimics.convert(tmp_path / "none.tsv.gz", tmp_path / "i", tmp_path / "c")
