import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.token_tree import batches, grown, shared_length

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)


@given(SEQUENCES)
def test_what_an_end_sees_spells_its_sequence(sequences):
    tree = grown(sequences)
    for end, tokens in zip(tree.ends, sequences, strict=True):
        path = np.flatnonzero(tree.sees[end])
        assert tree.ids[path].tolist() == tokens
        assert tree.depths[path].tolist() == list(range(len(tokens)))


@given(SEQUENCES)
def test_every_distinct_beginning_is_one_node(sequences):
    beginnings = {tuple(tokens[: end + 1]) for tokens in sequences for end in range(len(tokens))}
    assert len(grown(sequences).ids) == len(beginnings)


@given(SEQUENCES, st.integers(1, 20))
def test_batches_hold_each_sequence_once_and_keep_to_the_budget(sequences, budget):
    planned = list(batches(sequences, budget))
    assert sorted(place for batch in planned for place in batch) == list(range(len(sequences)))
    for batch in planned:
        assert len(batch) == 1 or len(grown([sequences[place] for place in batch]).ids) <= budget


def test_skipped_tokens_are_no_nodes():
    tree = grown([[1, 2, 3], [1, 2, 4]], skip=2)
    assert tree.ids.tolist() == [3, 4]
    assert tree.depths.tolist() == [0, 0]


def test_a_sequence_shares_all_of_itself():
    assert shared_length([1, 2], [1, 2]) == 2
    assert shared_length([], [1]) == 0
