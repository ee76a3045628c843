"""What a person may ask for, and what they are told when it cannot be meant."""

import pytest

from features.settings import Connections
from training.log_files import MANIFEST, Replayed, publish
from training.window import Window, WindowMalformed, moment_ms, offsets_asked

NOW_MS = 1_764_000_000_000
HERE = Connections(prefix="t1")


@pytest.mark.parametrize(("text", "ago_ms"), [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("1d", 86_400_000)])
def test_a_relative_time_counts_back_from_now(text, ago_ms):
    assert moment_ms(text, NOW_MS) == NOW_MS - ago_ms


def test_a_time_without_a_zone_is_utc():
    assert moment_ms("2026-11-23T08:00:00", NOW_MS) == moment_ms("2026-11-23T09:00:00+01:00", NOW_MS)


@pytest.mark.parametrize("text", ["yesterday", "2x", "", "-2h", "2026-13-01", "1d2h"])
def test_another_time_is_refused_with_what_was_expected(text):
    with pytest.raises(WindowMalformed, match="expected RFC 3339"):
        moment_ms(text, NOW_MS)


def test_a_window_that_holds_nothing_or_says_two_things_is_refused():
    with pytest.raises(WindowMalformed, match="expected --since before --until"):
        Window(since_ms=2, until_ms=2)
    with pytest.raises(WindowMalformed, match="leave out --since"):
        Window(since_ms=2, offsets={})


def test_offsets_come_from_a_manifest_and_from_items_which_may_replace_them(tmp_path):
    (tmp_path / "made").mkdir()
    publish(tmp_path / "made", tmp_path / "out", Replayed({"events": {0: (0, 9), 1: (3, 4)}}))
    item = "t1.shop.user.events.v1[1]=5:7"
    assert offsets_asked([str(tmp_path / "out"), item], HERE) == {"events": {0: (0, 9), 1: (5, 7)}}
    assert offsets_asked([str(tmp_path / "out" / MANIFEST)], HERE) == {"events": {0: (0, 9), 1: (3, 4)}}
    assert offsets_asked(["rgalign.outcomes.v1[2]=0:1"], HERE) == {"outcomes": {2: (0, 1)}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop.user.events.v1[0]=9:5", "found first 9 after end 5"),
        ("shop.user.events.v2[0]=5:9", "expected one that is replayed: shop.user.events.v1, "),
        ("shop.user.events.v1[x]=5:9", "neither a file nor a span"),
        ("shop.user.events.v1[0]=5", "expected the replay.json of an earlier replay, or 'topic"),
    ],
)
def test_other_offsets_are_refused_with_what_was_expected(text, told):
    with pytest.raises(WindowMalformed, match=told.replace("[", r"\[")):
        offsets_asked([text], HERE)


@pytest.mark.parametrize("found", ["{", "[]", '{"offsets": 3}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, found):
    (tmp_path / "other.json").write_text(found)
    with pytest.raises(WindowMalformed, match=r"expected the replay\.json"):
        offsets_asked([str(tmp_path / "other.json")], HERE)
