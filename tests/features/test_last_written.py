"""The memory of written rows is bounded, and a row under way is in nobody's memory."""

from features.last_written import LastWritten, Written

ROW = Written(b"s", (1, 0), 5, (1, 2))


def test_a_row_is_taken_once():
    last = LastWritten(2)
    last.keep("v", "a", ROW)
    assert (last.take("v", "a"), last.take("v", "a"), last.take("w", "a")) == (ROW, None, None)


def test_the_row_written_longest_ago_makes_room():
    last = LastWritten(2)
    for key in ("a", "b"):
        last.keep("v", key, ROW)
    last.take("v", "a")
    last.keep("v", "a", ROW)
    last.keep("v", "c", ROW)
    assert len(last) == 2
    assert last.take("v", "b") is None
