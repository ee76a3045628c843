from hypothesis import given
from hypothesis import strategies as st

from features.prefix_cache import CAPACITY, SHORTEST, PrefixCache

TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=10).map(tuple)


class Counting:
    """Keys and values that are the tokens themselves, and how often they were computed."""

    def __init__(self):
        self.computed = []
        self.cache = PrefixCache(self.compute, lambda past, length: past[:length])

    def compute(self, tokens):
        self.computed.append(tokens)
        return tuple(tokens)


@given(st.lists(TOKENS, max_size=6), st.lists(TOKENS, min_size=1, max_size=6))
def test_what_is_given_begins_every_sequence_and_leaves_each_a_token(learnt, sequences):
    counting = Counting()
    for tokens in learnt:
        counting.cache.learn(tokens)
    length, past = counting.cache.shared(sequences)
    assert (past is None) == (length == 0)
    for tokens in sequences:
        assert length < len(tokens)
        assert past is None or tokens[:length] == past


def test_a_known_beginning_is_computed_once():
    counting = Counting()
    for _ in range(3):
        counting.cache.learn(range(8))
    counting.cache.learn(range(6))
    assert counting.computed == [tuple(range(8))]
    assert counting.cache.shared([tuple(range(8)), (0, 1, 2, 3, 4, 5, 9)]) == (6, (0, 1, 2, 3, 4, 5))


def test_short_beginnings_are_left_alone():
    counting = Counting()
    counting.cache.learn(range(SHORTEST - 1))
    assert counting.computed == []


def test_the_least_lately_used_beginning_leaves_first():
    counting = Counting()
    beginnings = [(n,) * SHORTEST for n in range(CAPACITY + 1)]
    for beginning in beginnings[:CAPACITY]:
        counting.cache.learn(beginning)
    assert counting.cache.shared([(*beginnings[0], 9)])[0] == SHORTEST
    counting.cache.learn(beginnings[-1])
    assert counting.cache.shared([(*beginnings[1], 9)]) == (0, None)
    assert counting.cache.shared([(*beginnings[0], 9)])[0] == SHORTEST
