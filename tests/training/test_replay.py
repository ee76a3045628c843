"""A window of a real log becomes the same Parquet bytes every time, and reads back as what was sent."""

import time

import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from features.contract import from_ms, to_ms
from features.events import UserEvent
from features.notices import QueryRequested
from features.settings import Connections
from stream.topics import DECISIONS, EVENTS, OUTCOMES, QUERIES
from training import replay
from training.first_day import FIRST_DAY_MS, first_day
from training.rebuild import log_digest
from training.replay import Replayed, ReplayError, Window, digest

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
YOUNG_MS = int(time.time() * 1000) // DAY_MS * DAY_MS - 4 * DAY_MS
"""Four midnights ago: a real broker deletes records that are older than their topic's retention."""


def logged(kb, sessions=12):
    return first_day(kb, seed=3, sessions=sessions, phrases={})


def produce(connections, log):
    """Every message, with its event time, moved to our days, as the record's timestamp."""
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    for entry in log:
        for topic, message in ((DECISIONS, entry.decision), *((OUTCOMES, o) for o in entry.outcomes)):
            name = connections.named(topic.name)
            producer.send(name, message.to_json(), message.key.encode(), timestamp_ms=young(message.time))
    producer.flush(10)
    producer.close()


def young(moment):
    return to_ms(moment) - FIRST_DAY_MS + YOUNG_MS


def send(connections, topic, value, at_ms=YOUNG_MS):
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    producer.send(connections.named(topic.name), value, b"demo:u1", partition=0, timestamp_ms=at_ms).get(10)
    producer.close()


def test_the_topics_are_the_streams():
    streams = {"events": EVENTS, "decisions": DECISIONS, "outcomes": OUTCOMES, "queries": QUERIES}
    assert {source: topic.name for source, topic in streams.items()} == replay.TOPICS


def test_a_replay_gives_back_every_message_and_the_same_bytes_again(topics, tmp_path, kb):
    log = logged(kb)
    produce(topics, log)
    told = replay.replay(topics, tmp_path / "a")
    replay.replay(topics, tmp_path / "b", Window(offsets=told.offsets))
    decisions = {d.decision_id: d for d in replay.read(tmp_path / "a", "decisions")}
    assert decisions == {entry.decision.decision_id: entry.decision for entry in log}
    outcomes = list(replay.read(tmp_path / "a", "outcomes"))
    assert sorted(o.id for o in outcomes) == sorted(o.id for entry in log for o in entry.outcomes)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert replay.manifest(tmp_path / "a") == told
    assert told.records["decisions"] == len(log)


def test_a_longer_log_does_not_change_an_asked_for_window(topics, tmp_path, kb):
    produce(topics, logged(kb))
    told = replay.replay(topics, tmp_path / "out")
    before = digest(tmp_path / "out")
    produce(topics, logged(kb))
    replay.replay(topics, tmp_path / "out", Window(offsets=told.offsets))
    assert digest(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_window_by_time_takes_its_records_and_files_them_by_day(topics, tmp_path):
    for day in range(3):
        query = QueryRequested(
            tenant="demo",
            user="u1",
            state_hash=f"{day}" * 64,
            prompt=f"p{day}",
            origin="t[0]@1",
            time=from_ms(YOUNG_MS),
        )
        send(topics, QUERIES, query.to_json(), YOUNG_MS + (2 + day) * DAY_MS)
    window = Window(since_ms=YOUNG_MS + 3 * DAY_MS, until_ms=YOUNG_MS + 4 * DAY_MS)
    replay.replay(topics, tmp_path / "out", window)
    assert replay.prompts(tmp_path / "out") == {"1" * 64: "p1"}
    day = from_ms(YOUNG_MS + 3 * DAY_MS).date().isoformat()
    assert [path.name for path in (tmp_path / "out" / "queries").iterdir()] == [f"dt={day}"]


def test_a_record_that_cannot_be_read_keeps_its_bytes_and_is_counted(topics, tmp_path):
    send(topics, OUTCOMES, b"{not json")
    told = replay.replay(topics, tmp_path / "out")
    assert told.faulty["outcomes"] == 1
    assert list(replay.read(tmp_path / "out", "outcomes")) == []
    table = pq.read_table(next((tmp_path / "out").rglob("*.parquet")))
    assert table["value"].to_pylist() == [b"{not json"]
    assert table["fault"].to_pylist() == ["bad_json"]


def shopped(topics, events=300, users=40):
    """Events of many users, some repeated, some unreadable, on all four partitions."""
    producer = KafkaProducer(bootstrap_servers=topics.kafka_url)
    name = topics.named(EVENTS.name)
    for number in range(events):
        event = UserEvent(
            id=f"e{number % 290}",
            type="searched",
            time=from_ms(YOUNG_MS + number * HOUR_MS // 4),
            user=f"u{number % users}",
            data={"query": f"shoes {number}"},
        )
        value = event.to_json() if number % 50 else b"?"
        producer.send(name, value, event.key.encode(), timestamp_ms=to_ms(event.time))
    producer.flush(10)
    producer.close()


def test_the_bytes_are_the_same_for_any_number_of_workers_and_again(topics, tmp_path):
    shopped(topics)
    told = replay.replay(topics, tmp_path / "alone", workers=1, is_folding=True)
    found = {digest(tmp_path / "alone")}
    for name, workers in (("two", 2), ("again", 2)):
        assert replay.replay(topics, tmp_path / name, workers=workers, is_folding=True) == told
        found.add(digest(tmp_path / name))
    assert len(found) == 1
    assert sum(first < end for first, end in told.offsets["events"].values()) == 4


def test_folded_events_each_end_in_one_place_and_every_user_has_a_row(topics, tmp_path):
    shopped(topics)
    told = replay.replay(topics, tmp_path / "out", is_folding=True)
    ends = [part.applied + part.late + part.duplicate + part.dead_lettered for part in told.folded.values()]
    assert sum(ends) == told.records["events"] == 300
    assert sum(part.dead_lettered for part in told.folded.values()) == told.faulty["events"] == 6
    rows = pq.read_table(tmp_path / "out" / "features")
    assert sorted(rows["user"].to_pylist()) == sorted(f"demo:u{n}" for n in range(40))
    assert replay.manifest(tmp_path / "out") == told
    assert len(log_digest(told.folded)) == 64


def test_only_the_sources_that_were_asked_for_are_there(topics, tmp_path):
    shopped(topics, events=3)
    told = replay.replay(topics, tmp_path / "out", sources=("decisions",))
    assert list(told.offsets) == ["decisions"]
    with pytest.raises(ReplayError, match="holds decisions; expected events"):
        list(replay.read(tmp_path / "out", "events"))


def test_a_replay_that_fails_leaves_the_earlier_one_and_nothing_else(topics, tmp_path):
    replay.replay(topics, tmp_path / "out")
    before = digest(tmp_path / "out")
    with pytest.raises(ReplayError):
        replay.replay(topics, tmp_path / "out", Window(offsets={"events": {0: (0, 9)}}))
    assert digest(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_progress_ends_at_the_whole(topics, tmp_path, kb):
    produce(topics, logged(kb))
    steps = []
    replay.replay(topics, tmp_path / "out", progress=lambda what, done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] > 0


def test_an_unreachable_kafka_is_told_within_the_deadline(tmp_path):
    nowhere = Connections(kafka_url="127.0.0.1:1")
    with pytest.raises(ReplayError, match=r"127.0.0.1:1 did not answer within 1 s"):
        replay.replay(nowhere, tmp_path / "out", deadline_s=1)


def test_missing_topics_and_gone_offsets_are_named(connections, topics, tmp_path):
    with pytest.raises(ReplayError, match="holds offsets 0 to 0, but 5 to 9"):
        replay.replay(topics, tmp_path / "out", Window(offsets={"decisions": {0: (5, 9)}}))
    elsewhere = connections.model_copy(update={"prefix": "no-such"})
    with pytest.raises(ReplayError, match=r"no topic no-such\.shop"):
        replay.replay(elsewhere, tmp_path / "out", deadline_s=5)


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ReplayError, match="is not empty"):
        replay.replay(Connections(), tmp_path)
    with pytest.raises(ReplayError, match="expected a folder"):
        list(replay.read(tmp_path, "decisions"))
    assert Replayed().records == {}
