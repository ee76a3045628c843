"""Reads the knowledge base's YAML files and tells an editor, with line numbers, what to mend.

A file holds one family: `family: <slug>` and `intents:`, a list of `features.intent.Intent` fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from features.intent import FACT_NAMES, Eligibility, Intent, LocaleText

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTENT_FIELDS = frozenset(Intent.model_fields) - {"family"}
_MAX_TOLD = 20


class KbError(ValueError):
    """A knowledge base file cannot be used; the text has one line a fault: `file:line: found, expected, what to do`."""


def read(paths: Iterable[Path]) -> list[Intent]:
    """The intents of all files, in file order. Raises `KbError` that lists every fault found in them."""
    reading = _Reading()
    intents = [intent for path in paths for intent in reading.file(path)]
    if reading.faults:
        more = [f"... and {len(reading.faults) - _MAX_TOLD} more"] if len(reading.faults) > _MAX_TOLD else []
        raise KbError("\n".join(reading.faults[:_MAX_TOLD] + more))
    return intents


@dataclass
class _Reading:
    """What was seen so far: the faults, and where each id stands."""

    faults: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    path: Path = Path()

    def fault(self, node: yaml.Node | None, text: str) -> None:
        self.faults.append(f"{self.path}:{_line(node)}: {text}")

    def file(self, path: Path) -> Iterator[Intent]:
        self.path = path
        root = self._compose()
        if root is None or not self._is_plain(root):
            return
        if not isinstance(root, yaml.MappingNode):
            return self.fault(
                root, "found no `family:` and `intents:`; expected both: see the comment in a family file"
            )
        top = self._fields(root, "the file", {"family", "intents"})
        listed = top.get("intents")
        for name in {"family", "intents"} - top.keys():
            self.fault(root, f"the file has no `{name}`; expected `{name}:` at the start of a line: add it")
        if listed is not None and not isinstance(listed, yaml.SequenceNode):
            self.fault(listed, "`intents` is not a list; expected `- id: ...` for each intent: add the dashes")
        elif listed is not None and "family" in top:
            for node in listed.value:
                yield from self._intent(node, _plain(top["family"]))

    def _compose(self) -> yaml.Node | None:
        try:
            root = yaml.compose(self.path.read_bytes(), Loader=_LOADER)
        except OSError as error:
            self.faults.append(f"{self.path}: cannot be read ({error.strerror}); expected a YAML file: check the path")
            return None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            found = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
            line = mark.line + 1 if mark else 1
            told = "expected YAML: check the indentation, and quote texts that contain `: ` or begin with a sign"
            self.faults.append(f"{self.path}:{line}: {found}; {told}")
            return None
        if root is None:
            self.fault(None, "the file is empty; expected `family:` and `intents:`: fill it or remove it")
        return root

    def _is_plain(self, root: yaml.Node) -> bool:
        """Whether no node is used twice: an alias could be endless, and an editor does not need one."""
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                self.fault(node, "a YAML anchor is used a second time; expected plain text: write the text out again")
                return False
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                waiting += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
        return True

    def _intent(self, node: yaml.Node, family: Any) -> Iterator[Intent]:
        if not isinstance(node, yaml.MappingNode):
            return self.fault(node, "found a bare text; expected an intent with id, title, description and examples")
        known = len(self.faults)
        fields = self._fields(node, "the intent", _INTENT_FIELDS)
        name = _plain(fields["id"]) if "id" in fields else "(no id)"
        here = f"{self.path}:{_line(node)}"
        if "id" in fields and (first := self.places.setdefault(str(name), here)) != here:
            self.fault(node, f"the id {name} is also at {first}; expected each id once: rename or remove one")
        self._nested(fields)
        try:
            intent = Intent.model_validate({**_plain(node), "family": family})
        except ValidationError as error:
            for told in error.errors(include_url=False):
                self.fault(_at(node, told["loc"]), f"intent {name}: {_explained(told)}")
            return
        self._own_words(intent, fields["examples"])
        if len(self.faults) == known:
            yield intent

    def _nested(self, fields: dict[str, yaml.Node]) -> None:
        rule = fields.get("eligibility")
        if isinstance(rule, yaml.MappingNode):
            for needs in self._fields(rule, "eligibility", set(Eligibility.model_fields)).values():
                self._facts(needs)
        texts = fields.get("texts")
        if isinstance(texts, yaml.MappingNode):
            for _, words in texts.value:
                if isinstance(words, yaml.MappingNode):
                    self._fields(words, "the text", set(LocaleText.model_fields))

    def _facts(self, needs: yaml.Node) -> None:
        for fact in needs.value if isinstance(needs, yaml.SequenceNode) else ():
            if isinstance(fact, yaml.ScalarNode) and fact.value not in FACT_NAMES:
                self.fault(fact, f"unknown fact {fact.value!r}; expected {_nearest(fact.value, FACT_NAMES)}")

    def _own_words(self, intent: Intent, node: yaml.Node) -> None:
        said = [text.casefold() for text in (intent.title, *intent.examples)]
        for index, text in enumerate(intent.examples):
            if text.casefold() in said[: index + 1]:
                told = f"the example {text!r} repeats the title or an example; expected other words: reword it"
                self.fault(node.value[index], f"intent {intent.id}: {told}")

    def _fields(self, node: yaml.MappingNode, where: str, allowed: set[str] | frozenset[str]) -> dict[str, yaml.Node]:
        """The known fields of a mapping; tells of unknown and doubled ones."""
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                self.fault(key, f"`{name}` stands twice in {where}; expected it once: remove one")
            elif name not in allowed:
                self.fault(key, f"unknown field {name!r} in {where}; expected {_nearest(name, allowed)}")
            else:
                found[name] = value
        return found


def _line(node: yaml.Node | None) -> int:
    return 1 if node is None else node.start_mark.line + 1


def _plain(node: yaml.Node) -> Any:
    """The node as texts, lists and dicts: every scalar is a text here, so that `title: No` means the word."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    return [_plain(part) for part in node.value] if isinstance(node, yaml.SequenceNode) else node.value


def _at(node: yaml.Node, loc: tuple[int | str, ...]) -> yaml.Node:
    """The deepest node on the way to a validation error's place."""
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == step), node)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
    return node


def _nearest(word: str, allowed: Iterable[str]) -> str:
    names = sorted(allowed)
    close = get_close_matches(word, names, n=1)
    return f"a known name: did you mean {close[0]}?" if close else f"one of {', '.join(names)}: use one of these"


def _explained(told: Any) -> str:
    """A validation error in an editor's words: found, expected, what to do."""
    where, context, found = ".".join(map(str, told["loc"])), told.get("ctx", {}), told["input"]
    match told["type"]:
        case "missing":
            text = f"is missing; expected it here: add `{told['loc'][-1]}:`"
        case "too_short":
            text = f"has {len(found)}; expected at least {context['min_length']}: add more"
        case "string_too_short":
            text = "is empty; expected a text: write one or remove the line"
        case "string_too_long":
            text = f"has {len(found)} characters; expected at most {context['max_length']}: shorten {found[:30]!r}..."
        case "string_pattern_mismatch":
            text = f"is {found!r}; expected the form {context['pattern']}: use only these characters"
        case "literal_error":
            text = f"is {found!r}; expected {context['expected']}: use one of these"
        case "tuple_type":
            text = f"is {ascii(found)[:80]}; expected a list: put `- ` before each text, on its own line"
        case _:
            text = f"is {ascii(found)[:80]}; expected otherwise ({told['msg']}): compare with another intent"
    return f"`{where}` {text}"
