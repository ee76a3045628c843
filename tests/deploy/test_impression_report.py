import orjson
import pytest

from deploy.impression_report import report
from training.impressions import BadImpression, write


@pytest.fixture
def files(tmp_path):
    """Forty impressions of three candidates; whoever writes "money" wants the refund."""
    log, texts = tmp_path / "log.jsonl.gz", tmp_path / "candidates.jsonl"
    named = {"track": "where is my parcel", "refund": "when do I get my money back", "size": "which size fits"}
    write(texts, ({"id": one, "text": text} for one, text in named.items()))
    wanted = [tuple(named)[number % 3] for number in range(40)]
    write(
        log,
        (
            {"time": 1000 * n, "user": f"u{n % 5}", "text": named[one], "candidates": list(named), "clicked": [one]}
            for n, one in enumerate(wanted)
        ),
    )
    return log, texts, None


def test_a_log_is_reported_with_intervals_and_differences(files, tmp_path):
    out, heard = tmp_path / "out" / "figures.json", []
    told = report(
        files,
        "hashed",
        tmp_path,
        out,
        seed=1,
        warm_up=0,
        progress=lambda what, done, total: heard.append((done, total)),
    )
    written = orjson.loads(out.read_bytes())
    assert (written["impressions"], written["clicked"], written["encoder"]) == (40, 40, "hashed")
    assert written["figures"]["cosine"]["GAUC"]["mean"] == 1.0
    assert set(written["qerec_minus"]) == {"clicks so far", "cosine", "shown order"}
    assert heard[-1] == (40, 40)
    assert "40 impressions ranked before anything was learned" in told.note


def test_without_a_log_it_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match="expected --impressions FILE with --candidates FILE, or --mimics FILE"):
        report((None, None, None), "hashed", tmp_path, tmp_path / "f.json", seed=1, warm_up=0, progress=lambda *_: None)


def test_a_candidate_without_a_text_stops_the_run(files, tmp_path):
    write(files[1], iter([{"id": "track", "text": "where is my parcel"}]))
    with pytest.raises(BadImpression, match="refund"):
        report(files, "hashed", tmp_path, tmp_path / "f.json", seed=1, warm_up=0, progress=lambda *_: None)
