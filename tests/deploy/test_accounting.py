"""The books close only when every record is accounted for once."""

from __future__ import annotations

from dataclasses import replace

from kafka import KafkaProducer

from deploy.accounting import Log, close, read_log
from features.ledger import Counts
from features.settings import Connections
from stream.topics import EVENTS

LOG = Log(records=5, ids={"a": 1, "b": 1, "c": 2})
COUNTS = Counts(applied=3, late=0, duplicate=1, dead_lettered=1)


def test_books_close_when_every_record_is_counted_once():
    books = close(LOG, COUNTS, acked={"a", "b", "c"})
    assert books.is_closed
    assert books.difference == 0


def test_one_lost_event_keeps_the_books_open():
    books = close(LOG, replace(COUNTS, applied=2), acked={"a"})
    assert not books.is_closed
    assert "1 records were lost" in books.explain()


def test_one_doubled_event_keeps_the_books_open():
    books = close(LOG, replace(COUNTS, applied=4), acked={"a"})
    assert not books.is_closed
    assert "1 records were counted twice" in books.explain()


def test_an_acknowledged_event_missing_from_the_log_keeps_the_books_open():
    books = close(LOG, COUNTS, acked={"a", "z"})
    assert not books.is_closed
    assert books.acked_not_in_log == 1


def test_the_log_is_read_from_start_to_end_with_malformed_records(topics: Connections):
    producer = KafkaProducer(bootstrap_servers=topics.kafka_url, acks="all")
    for n in range(50):
        producer.send(topics.named(EVENTS.name), key=f"demo:u{n}".encode(), value=b'{"id": "e%d"}' % n)
    producer.send(topics.named(EVENTS.name), key=b"demo:u", value=b"\xff not json")
    producer.flush()
    producer.close()
    log = read_log(topics, EVENTS.name)
    assert log.records == 51
    assert set(log.ids) == {f"e{n}" for n in range(50)}
