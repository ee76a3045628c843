from stream.unfinished import Unfinished

PLACE = ("queries", 0)


def test_no_offset_is_committed_before_its_effect():
    unfinished = Unfinished()
    for offset in (5, 6, 7):
        unfinished.begin(PLACE, offset)
    unfinished.end(PLACE, 6)
    assert unfinished.committable() == {PLACE: 5}
    unfinished.end(PLACE, 5)
    assert unfinished.committable() == {PLACE: 7}
    unfinished.end(PLACE, 7)
    assert unfinished.committable() == {PLACE: 8}


def test_a_revoked_partition_is_forgotten():
    unfinished = Unfinished()
    unfinished.begin(PLACE, 5)
    unfinished.forget({PLACE})
    assert unfinished.committable() == {}
