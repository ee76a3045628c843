"""The packed dedupe window against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from features.dedupe import event_identity, forget, is_known, remember

A, B = bytes(range(8)), bytes(range(8, 16))


def window(*pairs):
    ids, times_s = bytearray(), bytearray()
    for identity, at_ms in pairs:
        remember(ids, times_s, identity, at_ms)
    return ids, times_s


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9999)), max_size=12), st.integers(0, 9999),
       st.integers(1, 5))  # fmt: skip
def test_what_is_kept_is_what_a_plain_list_would_keep(pairs, expired_ms, most):
    ids, times_s = window(*((event_identity(name), at_ms) for name, at_ms in pairs))
    forget(ids, times_s, expired_ms, most)
    kept = pairs[-most:]
    while len(kept) > 1 and kept[0][1] // 1000 < expired_ms // 1000:
        kept = kept[1:]
    assert (ids, times_s) == window(*((event_identity(name), at_ms) for name, at_ms in kept))
    assert {name for name in "abcdefgh" if is_known(ids, event_identity(name))} == {name for name, _ in kept}


def test_an_id_that_lies_across_two_others_is_not_known():
    ids, _ = window((A, 0), (B, 0))
    assert ids.find(A[4:] + B[:4]) == 4
    assert not is_known(ids, A[4:] + B[:4])
    assert is_known(ids, A)
    assert is_known(ids, B)


def test_an_id_is_found_behind_a_match_that_lies_across():
    ids, _ = window((b"\0" * 7 + b"\1", 0), (b"\1" * 8, 0), (b"\0" * 6 + b"\1\1", 0), (b"\0" * 7 + b"\2", 0))
    assert is_known(ids, b"\1" * 8)


def test_equal_ids_have_equal_identities_and_others_do_not():
    assert event_identity("e1") == event_identity("e1") != event_identity("e2")
