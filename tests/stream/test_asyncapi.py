"""The AsyncAPI document covers every topic, and the committed files are what the code generates."""

from stream.asyncapi import document, files, stale, write
from stream.topics import TOPICS


def pointed(node):
    """Every $ref in a document."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from [value] if name == "$ref" else pointed(value)
    elif isinstance(node, list):
        for value in node:
            yield from pointed(value)


def test_every_topic_is_a_channel_with_one_message_and_one_operation():
    made = document()
    assert list(made["channels"]) == [topic.name for topic in TOPICS]
    assert [len(channel["messages"]) for channel in made["channels"].values()] == [1] * len(TOPICS)
    assert len(made["operations"]) == len(TOPICS)


def test_every_reference_points_to_something():
    made = document()
    for reference in set(pointed(made)):
        place = made
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert place


def test_committed_contracts_are_what_the_code_generates():
    assert stale() == [], "run `rgalign topics contracts --write` and commit what changed"


def test_writing_changes_only_what_differs_and_removes_what_is_gone(tmp_path):
    assert {path.name for path in write(tmp_path)} == set(files())
    assert write(tmp_path) == []
    (tmp_path / "Gone.schema.json").write_text("{}")
    (tmp_path / "asyncapi.json").write_text("{}")
    assert stale(tmp_path) == ["Gone.schema.json", "asyncapi.json"]
    assert {path.name for path in write(tmp_path)} == {"Gone.schema.json", "asyncapi.json"}
    assert {path.name for path in tmp_path.iterdir()} == set(files())
