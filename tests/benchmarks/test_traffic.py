"""The log that the arms read: people come in visits, whoever they are drawn from, and some come more often."""

from __future__ import annotations

from collections import Counter

from tests.benchmarks.traffic import LIVE, VISIT_EVENTS, Traffic, events

COUNT = 16_000


def people(traffic: Traffic) -> Counter[bytes]:
    return Counter(key for key, _ in events(traffic, COUNT, 1_764_000_000_000))


def test_visits_of_a_million_people_have_as_many_events_as_those_of_ten_thousand():
    few, many = people(Traffic(users=10_000)), people(Traffic(users=1_000_000))
    expected = LIVE + COUNT / VISIT_EVENTS
    assert 0.9 * expected < len(many) < 1.1 * expected
    assert len(few) < len(many)


def test_without_visits_hardly_anybody_of_a_million_comes_twice():
    assert len(people(Traffic(users=1_000_000, visits=False))) > 0.98 * COUNT


def test_by_zipfs_law_some_come_often():
    evenly, by_zipf = (people(Traffic(users=1_000_000, zipf=zipf)) for zipf in (0.0, 0.9))
    assert by_zipf.most_common(1)[0][1] > 3 * evenly.most_common(1)[0][1]
