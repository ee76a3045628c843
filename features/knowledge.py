"""The knowledge base: every intent of a shop, its version, and how one version becomes the next."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from features.contract import InvalidEvent
from features.intent import FACT_NAMES, Display, Eligibility, Intent, LocaleText
from features.kb_reader import KbError, read
from features.notices import IntentChange

__all__ = [
    "FACT_NAMES",
    "Diff",
    "Display",
    "Eligibility",
    "Intent",
    "KbError",
    "KnowledgeBase",
    "LocaleText",
    "changes",
    "diff",
    "from_changes",
    "load",
]

OWN_FOLDER = Path(__file__).with_name("kb")


@dataclass(frozen=True)
class KnowledgeBase:
    """Intents sorted by id, each id once (ValueError otherwise), whatever order they come in."""

    intents: tuple[Intent, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.intents, key=lambda intent: intent.id))
        for left, right in pairwise(ordered):
            if left.id == right.id:
                raise ValueError(f"the id {left.id} stands twice in the knowledge base; expected once: drop one")
        object.__setattr__(self, "intents", ordered)

    @cached_property
    def version(self) -> str:
        """The first 12 hex digits of the sha256 over the whole content: equal content, equal version."""
        content = orjson.dumps([_as_json(intent) for intent in self.intents], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()[:12]

    @cached_property
    def by_id(self) -> dict[str, Intent]:
        """Each intent under its id."""
        return {intent.id: intent for intent in self.intents}

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The names of the families, sorted."""
        return tuple(sorted({intent.family for intent in self.intents}))

    def eligible(self, facts: Collection[str]) -> tuple[Intent, ...]:
        """The active intents whose rule holds for a shopper with these facts."""
        return tuple(intent for intent in self.intents if intent.status == "active" and intent.eligibility.holds(facts))

    def with_change(self, change: IntentChange) -> KnowledgeBase:
        """The knowledge base after one record of the KB topic; the same record twice changes nothing more.

        Raises `InvalidEvent` (reason bad_intent) if the record's intent does not keep its contract.
        """
        others = tuple(intent for intent in self.intents if intent.id != change.intent_id)
        return KnowledgeBase(others if change.intent is None else (*others, _intent_of(change)))


def load(path: Path | None = None) -> KnowledgeBase:
    """The knowledge base of a YAML file or of a folder of them; None = the project's own.

    Raises `KbError`, which names file and line of every fault.
    """
    path = path or OWN_FOLDER
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise KbError(f"{path}: found no *.yaml file; expected at least one family: check the path")
    return KnowledgeBase(tuple(read(files)))


@dataclass(frozen=True)
class Diff:
    """What turns one knowledge base into another, whose version is `version`."""

    added: tuple[Intent, ...]
    changed: tuple[tuple[Intent, Intent], ...]
    removed: tuple[Intent, ...]
    version: str

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def render(self) -> str:
        """The difference for a person: a summary, then a line an intent and a line a changed field."""
        lines = [f"{len(self.added)} added, {len(self.changed)} changed, {len(self.removed)} removed"]
        lines[0] += f" -> version {self.version}"
        lines += [f"+ {intent.id}: {intent.title}" for intent in self.added]
        for old, new in self.changed:
            lines += [f"~ {new.id}: {new.title}", *_changed_fields(old, new)]
        lines += [f"- {intent.id}: {intent.title}" for intent in self.removed]
        return "\n".join(lines)


def diff(old: KnowledgeBase, new: KnowledgeBase) -> Diff:
    """What was added, changed and removed between two knowledge bases, sorted by id."""
    return Diff(
        added=tuple(intent for intent in new.intents if intent.id not in old.by_id),
        changed=tuple(
            (old.by_id[intent.id], intent)
            for intent in new.intents
            if intent.id in old.by_id and old.by_id[intent.id] != intent
        ),
        removed=tuple(intent for intent in old.intents if intent.id not in new.by_id),
        version=new.version,
    )


def changes(difference: Diff, tenant: str, time: datetime) -> list[IntentChange]:
    """The records that publish a difference, sorted by intent id; a removed intent becomes a retirement.

    >>> from datetime import UTC
    >>> changes(diff(KnowledgeBase(), KnowledgeBase()), "demo", datetime(2026, 1, 1, tzinfo=UTC))
    []
    """
    now: dict[str, dict[str, Any] | None] = {intent.id: None for intent in difference.removed}
    now |= {intent.id: _as_json(intent) for intent in difference.added}
    now |= {new.id: _as_json(new) for _, new in difference.changed}
    return [
        IntentChange(tenant=tenant, intent_id=intent_id, kb_version=difference.version, time=time, intent=intent)
        for intent_id, intent in sorted(now.items())
    ]


def from_changes(records: Iterable[IntentChange]) -> KnowledgeBase:
    """The knowledge base that a tenant's records, read in order from the beginning, add up to."""
    latest = {record.intent_id: record for record in records}
    return KnowledgeBase(tuple(_intent_of(record) for record in latest.values() if record.intent is not None))


def _intent_of(change: IntentChange) -> Intent:
    try:
        intent = Intent.model_validate(change.intent)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise InvalidEvent("bad_intent", f"intent {change.intent_id}: {where}: {fault['msg']}") from None
    if intent.id != change.intent_id:
        raise InvalidEvent("bad_intent", f"found the intent {intent.id} under the key of {change.intent_id}")
    return intent


def _as_json(intent: Intent) -> dict[str, Any]:
    return intent.model_dump(mode="json")


def _changed_fields(old: Intent, new: Intent) -> list[str]:
    before, after = _as_json(old), _as_json(new)
    return [
        f"    {name}: {_brief(before[name])} -> {_brief(after[name])}" for name in after if before[name] != after[name]
    ]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 160 else f"{text[:157]}..."
