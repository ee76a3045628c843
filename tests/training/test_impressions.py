import pytest

from training.impressions import BadImpression, candidates, impressions, size, write

ONE = {"time": "2026-01-02T03:04:05Z", "user": "u1", "candidates": ["a", "b"], "clicked": ["b"]}


def log(path, *changes):
    write(path, ({**ONE, **change} for change in changes))
    return path


def test_a_line_is_an_impression(tmp_path):
    change = {"context": {"page": "help", "orders": 3}, "history": ["viewed order"], "text": "late"}
    (told,) = impressions(log(tmp_path / "log.jsonl.gz", change))
    assert (told.candidates, dict(told.clicked), told.is_shared) == (("a", "b"), {"b": 1.0}, False)
    assert told.context == {"page": "help", "orders": 3.0}
    assert told.words == "late viewed order"


def test_shares_are_weights(tmp_path):
    (told,) = impressions(log(tmp_path / "log.jsonl", {"clicked": {"a": 0.25, "b": 0}}))
    assert (dict(told.clicked), told.is_shared) == ({"a": 0.25}, True)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"clicked": ["c"]}, "which were not shown"),
        ({"candidates": ["a", "a"]}, "1 of them different"),
        ({"candidates": "a"}, "expected a list of texts"),
        ({"clicked": {"a": -1}}, "a click share below 0"),
        ({"time": "soon"}, "found the time 'soon'"),
        ({"context": [1]}, "expected an object"),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected(tmp_path, change, found):
    path = log(tmp_path / "log.jsonl", {}, change)
    with pytest.raises(BadImpression, match=r"log\.jsonl:2: .*") as caught:
        list(impressions(path))
    assert found in str(caught.value)


def test_a_log_out_of_order_is_refused(tmp_path):
    path = log(tmp_path / "log.jsonl", {"time": 2000}, {"time": 1999})
    with pytest.raises(BadImpression, match="the time goes back by 1 ms"):
        list(impressions(path))


def test_candidates_are_told_once(tmp_path):
    path = tmp_path / "candidates.jsonl"
    assert write(path, iter([{"id": "a", "text": "A"}, {"id": "b", "text": "B"}])) == size(path) == 2
    assert candidates(path) == {"a": "A", "b": "B"}
    write(path, iter([{"id": "a", "text": "A"}] * 2))
    with pytest.raises(BadImpression, match="the id a stands twice"):
        candidates(path)


def test_a_missing_file_says_where_the_format_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"IMPRESSIONS\.md"):
        candidates(tmp_path / "none.jsonl")
