"""What a good engineer writes in an afternoon: the same features as ours by plain dicts, nothing of ours imported.

The arms `hand_loop` and `quix` share it, so that they differ from us in the machinery alone. Its rules are ours: ids
known for a day (256 at most), an hour of lateness, sessions of 30 minutes, decayed counts and tiles of 1 min to 7 d.
"""

from __future__ import annotations

from datetime import datetime
from math import exp2
from typing import Any

import mmh3
import orjson

State = dict[str, Any]

COUNTED = ("page_viewed", "searched", "cart_updated", "checkout_started", "payment_failed", "voucher_rejected",
           "parcel_delayed", "return_requested", "help_page_opened", "chat_opened", "sign_in_failed")  # fmt: skip
KINDS = {*COUNTED, "product_viewed", "order_placed", "order_status_changed", "refund_issued", "account_changed"}
REQUIRED = {
    "page_viewed": ("page",), "searched": ("query",), "cart_updated": ("quantity",), "order_placed": ("order_id",),
    "order_status_changed": ("order_id", "order_status"), "parcel_delayed": ("order_id",),
    "return_requested": ("order_id",), "refund_issued": ("order_id",),
}  # fmt: skip
STATUS = {"order_placed": "placed", "parcel_delayed": "delayed", "return_requested": "return_requested",
          "refund_issued": "refunded"}  # fmt: skip
TILES = ((10_000, 6), (300_000, 12), (3_600_000, 24), (21_600_000, 28))
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def new_state() -> State:
    return {
        "start": 0, "events": 0, "last": 0, "tallies": {}, "tiles": [[], [], [], []], "recent": [], "orders": {},
        "failures": {}, "cart": 0, "cart_ms": 0, "search": "", "search_ms": 0, "topic": "", "topic_ms": 0, "text": "",
        "text_ms": 0, "locale": "", "seen": {},
    }  # fmt: skip


def decoded(raw: bytes, log_ms: int) -> tuple[dict[str, Any], int]:
    """An event and the time that is believed. Raises ValueError or KeyError for what is no event."""
    event = orjson.loads(raw)
    data = event.get("data") or {}
    for name in REQUIRED.get(event["type"], ()):
        if name not in data:
            raise ValueError(f"{event['type']} needs data.{name}")
    if not (event["id"] and event["user"] and event["tenant"]):
        raise ValueError("an event without id, user or tenant")
    at_ms = round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
    return event, max(min(at_ms, log_ms + 60_000), 1)


def fold(state: State, event: dict[str, Any], at_ms: int, watermark_ms: int) -> bool:
    """Adds an event unless it is a duplicate or late; says whether it did."""
    seen, identity = state["seen"], mmh3.hash64(event["id"])[0]
    if identity in seen or at_ms < watermark_ms - HOUR_MS:
        return False
    seen[identity] = at_ms
    while len(seen) > 1 and (len(seen) > 256 or seen[next(iter(seen))] < watermark_ms - DAY_MS):
        del seen[next(iter(seen))]
    if state["last"] <= 0 or at_ms - state["last"] > 1_800_000:
        state["start"], state["events"] = at_ms, 0
    if at_ms >= state["start"]:
        state["events"] += 1
    kind = event["type"] if event["type"] in KINDS else "other"
    data = event.get("data") or {}
    _count(state, kind, at_ms)
    _list(state["recent"], kind, data, at_ms)
    _note(state, kind, data, at_ms)
    if at_ms >= state["last"]:
        state["locale"], state["last"] = event.get("locale", "en"), at_ms
    return True


def _count(state: State, kind: str, at_ms: int) -> None:
    old = state["tallies"].get(kind)
    if old is None:
        state["tallies"][kind] = [1.0, 1.0, 1.0, 1.0, at_ms]
    else:
        minute, hour, day, week, last_ms = old
        s = (at_ms - last_ms) / 1000
        if s >= 0:
            old[:] = (
                minute * exp2(-s / 60) + 1, hour * exp2(-s / 3600) + 1, day * exp2(-s / 86400) + 1,
                week * exp2(-s / 604800) + 1, at_ms,
            )  # fmt: skip
        else:
            old[:4] = minute + exp2(s / 60), hour + exp2(s / 3600), day + exp2(s / 86400), week + exp2(s / 604800)
    for tiles, (width_ms, kept) in zip(state["tiles"], TILES, strict=True):
        tile = at_ms // width_ms
        if not tiles or tile > tiles[-1][0]:
            tiles.append([tile, 1])
            while tiles[0][0] <= tile - kept:
                del tiles[0]
        elif tile == tiles[-1][0]:
            tiles[-1][1] += 1
        elif tile > tiles[-1][0] - kept:
            known = next((t for t in tiles if t[0] == tile), None)
            if known is None:
                tiles.append([tile, 1])
                tiles.sort()
            else:
                known[1] += 1


def _list(recent: list[Any], kind: str, data: dict[str, Any], at_ms: int) -> None:
    place = 0
    while place < len(recent) and recent[place][1] > at_ms:
        place += 1
    if place < 20:
        told = (
            data.get("query") or data.get("topic") or data.get("text") or data.get("error") or data.get("item_title")
            or data.get("order_status") or data.get("change") or data.get("category") or ""
        )  # fmt: skip
        recent.insert(place, [kind, at_ms, data.get("page", ""), told[:120]])
        del recent[20:]


def _note(state: State, kind: str, data: dict[str, Any], at_ms: int) -> None:
    for name, kept in (("query", "search"), ("topic", "topic"), ("text", "text")):
        if data.get(name) and at_ms >= state[kept + "_ms"]:
            state[kept], state[kept + "_ms"] = data[name][:500], at_ms
    if kind == "cart_updated" and at_ms >= state["cart_ms"]:
        state["cart"], state["cart_ms"] = data["quantity"], at_ms
    elif kind in STATUS or kind == "order_status_changed":
        order_id, status = data["order_id"], STATUS.get(kind) or data["order_status"]
        old = state["orders"].get(order_id)
        if old is None or at_ms >= old[1]:
            delay = data.get("delay_days", old[2] if old else 0.0)
            state["orders"][order_id] = [status, at_ms, float(delay)]
            if len(state["orders"]) > 8:
                del state["orders"][min(state["orders"].items(), key=lambda o: (o[1][1], o[0]))[0]]
        if kind == "order_placed" and at_ms >= state["cart_ms"]:
            state["cart"], state["cart_ms"] = 0, at_ms
    elif kind in {"payment_failed", "voucher_rejected", "sign_in_failed"}:
        old = state["failures"].get(kind)
        if old is None or at_ms >= old[2]:
            what = data.get("method") or data.get("voucher") or ""
            state["failures"][kind] = [what[:120], data.get("error", "")[:120], at_ms]


def features(state: State) -> list[Any]:
    """The online features as of the newest event, in the order of our views `user_activity` and `order_state`."""
    row = _BLANK.copy()
    for kind, (_, hour, day, _, last_ms) in state["tallies"].items():
        if (place := _PLACE.get(kind)) is not None:
            row[place], row[place + 11], row[place + 22] = hour, day, last_ms
    row[33:37] = [sum([count for _, count in tiles]) for tiles in state["tiles"]]
    start_ms = state["start"]
    row[37:43] = (f"s{start_ms}" if start_ms else "", start_ms, state["events"], state["cart"], 0, state["locale"])
    if state["orders"]:
        order_id, order = max(state["orders"].items(), key=lambda known: (known[1][1], known[0]))
        row[43:] = (len(state["orders"]), order_id, *order)
    return row


_PLACE = {kind: place for place, kind in enumerate(COUNTED)}
_BLANK: list[Any] = [0.0] * 22 + [0] * 15 + ["", 0, 0, 0, 0, ""] + [0, "", "", 0, 0.0]
