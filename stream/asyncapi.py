"""The topics and their messages as one AsyncAPI 3.0 document; `write` puts it and the JSON Schemas into a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from features.contracts import json_schemas, shared_definitions
from stream import topics
from stream.topics import Topic

CONTRACTS_DIR = Path(__file__).parent / "contracts"
VERSION = "1.0.0"
"""The version of the contracts; every topic's name ends with its own major version."""


@dataclass(frozen=True, slots=True)
class _Channel:
    topic: Topic
    message: str
    action: Literal["send", "receive"]
    key: str


_USER, _INTENT = "tenant:user", "tenant:intent_id"
_CHANNELS = (
    _Channel(topics.EVENTS, "UserEvent", "receive", _USER),
    _Channel(topics.DECISIONS, "Decision", "send", _USER),
    _Channel(topics.OUTCOMES, "Outcome", "receive", _USER),
    _Channel(topics.QUERIES, "QueryRequested", "send", _USER),
    _Channel(topics.REFRESHED, "QueryRefreshed", "receive", _USER),
    _Channel(topics.KB, "IntentChange", "receive", _INTENT),
    _Channel(topics.MODELS, "ModelRelease", "receive", "tenant:stage"),
    _Channel(topics.INTENT_STATS, "IntentStats", "send", _INTENT),
    _Channel(topics.ERASED, "SubjectErased", "receive", _USER),
    _Channel(topics.EVENTS_DLQ, "DeadLetter", "send", "the record's own key"),
    _Channel(topics.OUTCOMES_DLQ, "DeadLetter", "send", "the record's own key"),
)


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of all topics, from the worker's side: it receives events and sends decisions."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "RGAlign-Rec",
            "version": VERSION,
            "description": "Shopper events in, proactive support prompts out. Unknown fields are to be ignored, "
            "unknown event types to be accepted. A deployment may put a prefix before every topic name.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.topic.name: _channel(channel) for channel in _CHANNELS},
        "operations": {_operation_name(channel): _operation(channel) for channel in _CHANNELS},
        "components": {
            "schemas": shared_definitions("#/components/schemas/{model}"),
            "messages": {channel.message: _message(channel) for channel in _CHANNELS},
        },
    }


def _channel(channel: _Channel) -> dict[str, Any]:
    return {
        "address": channel.topic.name,
        "description": channel.topic.purpose,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
        "bindings": {"kafka": {"topicConfiguration": _configuration(channel.topic), "bindingVersion": "0.5.0"}},
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    told = dict(topic.config)
    configuration: dict[str, Any] = {"max.message.bytes": int(told["max.message.bytes"])}
    if "retention.ms" in told:
        configuration["retention.ms"] = int(told["retention.ms"])
    configuration["cleanup.policy"] = [told.get("cleanup.policy", "delete")]
    return configuration


def _operation_name(channel: _Channel) -> str:
    return f"{channel.action}_{channel.topic.name.replace('.', '_').replace('-', '_')}"


def _operation(channel: _Channel) -> dict[str, Any]:
    name = _pointer(channel.topic.name)
    return {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{channel.message}"}],
    }


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _message(channel: _Channel) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{channel.message}"}
    key = {"kafka": {"key": {"type": "string", "description": channel.key}, "bindingVersion": "0.5.0"}}
    if channel.message == "DeadLetter":
        untouched = {"description": "the original bytes of the record that was set aside"}
        return {"contentType": "application/octet-stream", "headers": schema, "payload": untouched, "bindings": key}
    return {"contentType": "application/json", "payload": schema, "bindings": key}


def files() -> dict[str, str]:
    """The text of every contract file by its name."""
    schemas = {f"{name}.schema.json": schema for name, schema in json_schemas().items()}
    return {name: _text(content) for name, content in {"asyncapi.json": document(), **schemas}.items()}


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def stale(folder: Path = CONTRACTS_DIR) -> list[str]:
    """The names of contract files that are missing, superfluous or differ from the code."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    wanted = files()
    return sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))


def write(folder: Path = CONTRACTS_DIR) -> list[Path]:
    """Writes the contract files and removes those of contracts that are gone; returns the paths that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files()
    changed = [folder / name for name in stale(folder)]
    for path in changed:
        if path.name in wanted:
            path.write_text(wanted[path.name], encoding="utf-8")
        else:
            path.unlink()
    return changed
