"""`rgalign replay` as a person meets it: what may be asked for, and what is told."""

import os
import subprocess
import sys

import pytest
from kafka import KafkaProducer

from deploy.replaying import Asked, run
from deploy.screen import console, progress
from features.settings import Connections
from stream.topics import EVENTS
from training.window import Window, WindowMalformed

NOW_MS = 1_764_000_000_000


def send(connections, count):
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    for number in range(count):
        producer.send(connections.named(EVENTS.name), b"%d" % number, b"demo:u1", partition=number % 2)
    producer.flush(10)
    producer.close()


def test_times_are_relative_to_now_and_offsets_rule_alone():
    assert Asked(since="2h", until="1h").window(Connections(), NOW_MS) == Window(NOW_MS - 7_200_000, NOW_MS - 3_600_000)
    asked = Asked(offsets=["shop.user.events.v1[0]=1:2"])
    assert asked.window(Connections(), NOW_MS).offsets == {"events": {0: (1, 2)}}
    with pytest.raises(WindowMalformed, match="offsets rule alone"):
        Asked(since="2h", offsets=asked.offsets).window(Connections(), NOW_MS)
    with pytest.raises(WindowMalformed, match="is in the future"):
        Asked(since="2100-01-01").window(Connections(), NOW_MS)


def test_the_report_names_the_command_that_gives_the_same_bytes_again(topics, tmp_path, capsys):
    send(topics, 5)
    with progress(console()) as advance:
        report = run(topics, tmp_path / "out", Asked(), workers=None, is_folding=True, progress=advance)
    told = report.describe()
    assert "5 records in" in told
    assert "events                5 records, 5 unreadable, 2 of 4 partitions" in told
    assert "0 applied, 0 late, 0 duplicate, 5 dead-lettered, 0 users" in told
    assert "read the log" in (shown := capsys.readouterr().out)
    assert "/s, took 0:00:0" in shown
    manifest = told.rpartition("--offsets ")[2]
    again = run(
        topics, tmp_path / "again", Asked(offsets=[manifest]), workers=None, is_folding=True, progress=lambda *_: None
    )
    assert again.sha256 == report.sha256


def test_a_mistyped_window_is_one_line_that_says_what_was_expected():
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "replay", "--since", "yesterday"],
        check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "KAFKA_URL": "127.0.0.1:1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().startswith("rgalign: found the time 'yesterday'; expected RFC 3339")
    assert "Traceback" not in done.stderr
