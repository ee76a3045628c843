"""A crew does all parts or says why not, and nobody outlives it."""

import multiprocessing
import os
import signal
import threading

import pytest
from kafka import KafkaProducer

from features.settings import Connections
from stream.topics import OUTCOMES
from training.log_files import ReplayError
from training.parts import RECORDS_A_WORKER, Job, Part, default_workers, do_all


def parts(count, size=10):
    return [Part("outcomes", number, (0, size)) for number in range(count)]


def job(connections, folder, deadline_s=10.0):
    return Job(connections, folder, deadline_s, is_folding=False)


def fill(connections, size):
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    for number in range(4 * size):
        producer.send(connections.named(OUTCOMES.name), b"{}", partition=number % 4)
    producer.flush(10)
    producer.close()


def test_few_records_are_not_worth_another_process():
    assert default_workers([]) == 1
    assert default_workers(parts(4)) == 1
    assert default_workers(parts(1, size=10 * RECORDS_A_WORKER)) == 1
    assert default_workers(parts(4, size=RECORDS_A_WORKER)) == min(4, len(os.sched_getaffinity(0)))


def test_a_crew_does_every_part_once(topics, tmp_path):
    fill(topics, 10)
    heard = []
    done = do_all(job(topics, tmp_path), parts(4), 2, lambda what, count: heard.append(count))
    assert sorted(found.part.partition for found in done) == [0, 1, 2, 3]
    assert {found.records for found in done} == {10}
    assert sum(heard) == 40
    assert multiprocessing.active_children() == []


def test_what_a_member_cannot_do_is_told_by_the_crew(tmp_path):
    with pytest.raises(ReplayError, match=r"127.0.0.1:1 did not answer within 1 s"):
        do_all(job(Connections(kafka_url="127.0.0.1:1"), tmp_path, deadline_s=1), parts(2), 2, lambda *_: None)
    assert multiprocessing.active_children() == []


def test_a_member_that_is_killed_is_told_by_the_crew(tmp_path):
    def kill_one():
        while not (found := multiprocessing.active_children()):
            pass
        os.kill(found[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(ReplayError, match=r"ended with exit code -9 before its part was done"):
        do_all(job(Connections(kafka_url="127.0.0.1:1"), tmp_path, deadline_s=20), parts(2), 2, lambda *_: None)
    killer.join()
    assert multiprocessing.active_children() == []


def test_a_folder_that_cannot_be_written_is_told(topics, tmp_path):
    fill(topics, 1)
    (tmp_path / "outcomes").write_text("in the way")
    with pytest.raises(ReplayError, match="free some space there, or choose another folder"):
        do_all(job(topics, tmp_path), parts(1, size=1), 1, lambda *_: None)
