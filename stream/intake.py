"""What clients post, read with a cap and screened item by item against its contract."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from fastapi import Request
from pydantic import BaseModel, Field

from features.contract import InvalidEvent, from_ms, parse, to_ms
from features.decisions import Outcome
from features.events import MAX_EVENT_BYTES, UserEvent
from stream.problems import Problem

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""How much of too large a body is read and dropped, so that its sender can read the answer before we hang up."""

MAX_ITEMS = 500
BODY_DEADLINE_S = 10.0

NewId = Callable[[], str]


class ItemResult(BaseModel):
    """What became of one posted item; `id` is the gateway's own when the item had none."""

    index: int = Field(ge=0, description="the item's place in what was posted")
    id: str | None = None
    status: Literal["accepted", "duplicate", "rejected", "unknown"] = Field(
        description="accepted: in the log on all replicas; duplicate: accepted before under this id; "
        "rejected: breaks the contract; unknown: not acknowledged in time, post it again under this id"
    )
    reason: str | None = Field(default=None, description="a short stable code, when rejected")
    detail: str | None = None


class Posted(BaseModel):
    """The answer to a post: one result an item, in the posted order."""

    results: list[ItemResult]


@dataclass(frozen=True, slots=True)
class Record:
    """A screened item on its way to the log; `index` is its place in what was posted."""

    index: int
    id: str
    key: str
    value: bytes

    @property
    def identity(self) -> str:
        """What makes it a duplicate: tenant, user and id."""
        return f"{self.key}:{self.id}"


async def read_body(request: Request, deadline_s: float = BODY_DEADLINE_S) -> bytes:
    """The request's body; holds at most `MAX_BODY_BYTES` of it. Raises `Problem` 413 or 408."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_DISCARDED_BYTES:
        raise _too_large(f"the body has {declared} bytes")
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_DISCARDED_BYTES:
                    break
                if size <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError:
        action = "send the body faster, or in smaller posts"
        raise Problem(408, "body-too-slow", f"no whole body within {deadline_s:g} s", action) from None
    if size > MAX_BODY_BYTES:
        raise _too_large(f"the body has {size} bytes or more")
    return bytes(body)


def _too_large(found: str) -> Problem:
    detail = f"{found}; the limit is {MAX_BODY_BYTES} a post and {MAX_EVENT_BYTES} an event"
    problem = Problem(413, "content-too-large", detail, "post fewer events at a time, and shorter texts")
    problem.headers["Connection"] = "close"
    return problem


def items_in(body: bytes, plural: str) -> list[Any]:
    """The posted items: one object, a list, or an object that holds the list under `plural`.

    Raises `Problem` 400 when the body is not JSON or holds none or too many.

    >>> items_in(b'{"events": [{"id": "a"}, {"id": "b"}]}', "events")
    [{'id': 'a'}, {'id': 'b'}]
    """
    action = f"post one JSON object, a list of 1-{MAX_ITEMS}, or " + '{"' + plural + '": [...]}'
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "bad-json", f"the body of {len(body)} bytes is not JSON: {error}"[:500], action) from None
    if isinstance(content, dict):
        content = content.get(plural, [content])
    if not isinstance(content, list):
        raise Problem(400, "bad-body", f"found {type(content).__name__}, expected {plural}", action)
    if not 1 <= len(content) <= MAX_ITEMS:
        raise Problem(400, "bad-count", f"found {len(content)} {plural}, expected 1-{MAX_ITEMS}", action)
    return content


def screen(
    items: Sequence[Any], contract: type[UserEvent | Outcome], now: datetime, new_id: NewId
) -> tuple[list[Record], list[ItemResult]]:
    """Parts what keeps its contract from what does not; a missing id or time is filled in.

    The record's value keeps fields that this version does not know: a newer worker may.
    """
    records, rejected = [], []
    for index, item in enumerate(items):
        try:
            records.append(_record(index, item, contract, now, new_id))
        except InvalidEvent as error:
            rejected.append(_rejection(index, item, error))
    return records, rejected


def _record(index: int, item: Any, contract: type[UserEvent | Outcome], now: datetime, new_id: NewId) -> Record:
    if not isinstance(item, dict):
        raise InvalidEvent("not_an_object", f"found {type(item).__name__}, expected a JSON object")
    given = {name: value for name, value in item.items() if value is not None}
    try:
        value = orjson.dumps({"id": new_id(), "time": from_ms(to_ms(now)), **given})
    except orjson.JSONEncodeError as error:
        raise InvalidEvent("bad_json", f"nested too deeply: {error}") from None
    if len(value) > MAX_EVENT_BYTES:
        raise InvalidEvent("too_large", f"the item has {len(value)} bytes; the limit is {MAX_EVENT_BYTES}")
    message = parse(contract, value)
    return Record(index, message.id, message.key, value)


def _rejection(index: int, item: Any, error: InvalidEvent) -> ItemResult:
    given = item.get("id") if isinstance(item, dict) else None
    named = given[:128] if isinstance(given, str) else None
    return ItemResult(index=index, id=named, status="rejected", reason=error.reason, detail=str(error))


def refuse_when_all_rejected(results: Sequence[ItemResult]) -> None:
    """Raises `Problem` 413 or 400, carrying the results, when no item at all could be taken."""
    if any(result.status != "rejected" for result in results):
        return
    told = [result.model_dump(exclude_none=True) for result in results]
    first = results[0]
    detail = f"{len(results)} of {len(results)} items were rejected; the first: {first.detail}"
    if all(result.reason == "too_large" for result in results):
        raise Problem(413, "content-too-large", detail, "shorten the texts of the event", results=told)
    raise Problem(
        400, "contract-broken", detail, "correct the items named in `results`; see /openapi.json", results=told
    )


class RecentIds:
    """The identities acknowledged lately, bounded by count and age, so that a retry is told it is one.

    A courtesy to clients only: the workers' ledger is what keeps an event from being applied twice.
    """

    def __init__(self, max_count: int = 100_000, max_age_s: float = 600.0) -> None:
        self._max_count, self._max_age_s = max_count, max_age_s
        self._seen: OrderedDict[str, float] = OrderedDict()

    def add(self, identity: str, now_s: float) -> None:
        """Remembers `identity`, and forgets what is too old or too much."""
        self._seen[identity] = now_s
        self._seen.move_to_end(identity)
        while len(self._seen) > self._max_count or next(iter(self._seen.values())) < now_s - self._max_age_s:
            self._seen.popitem(last=False)

    def holds(self, identity: str, now_s: float) -> bool:
        """Whether `identity` was acknowledged within the window."""
        seen_s = self._seen.get(identity)
        return seen_s is not None and seen_s >= now_s - self._max_age_s

    def __len__(self) -> int:
        return len(self._seen)


def random_id() -> str:
    """A fresh id for an item that came without one."""
    return str(uuid.uuid4())
