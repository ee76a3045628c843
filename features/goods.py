"""Titles of goods, told from questions and services: what a shop's items are called is written by others."""

from __future__ import annotations

import re

_ASKING = (
    "where", "how", "why", "what", "when", "which", "who", "can", "could", "do", "does", "did", "is", "are", "was",
    "will", "would", "should", "may", "has", "have", "am", "d[oó]nde", "c[oó]mo", "por qu[eé]", "qu[eé]", "cu[aá]ndo",
    "cu[aá]l", "qui[eé]n", "puedo", "wo", "wie", "warum", "wann", "was", "kann",
)  # fmt: skip
_OWN = ("i", "i'm", "i've", "my", "me", "mine", "you", "your", "we", "our", "us", "mi", "mis", "tu", "ich")
_SERVICES = (
    "refund", "return", "reimburs", "deliver", "parcel", "shipment", "shipping", r"cancel(?:\b|led|ed|la)", "voucher",
    "coupon", "promo", "discount code", "password", "sign.?in", "log.?in", "account", "payment", "invoice", "complain",
    "exchange", "damage", "defective", "missing", "delay", "customs", "customer", r"help\b", "support", "newsletter",
    "privacy", "subscri", "order", "reembols", "devol", "pedido", "env[ií]o", "entrega", "r[uü]ckgabe", "lieferung",
    "erstattung", "warrant", "billing", "loyalty", "gift card", "checkout", "availab", "service", "tracking",
)  # fmt: skip
_SPEECH = re.compile(rf"[?¿]|^(?:{'|'.join(_ASKING)})\b|\b(?:{'|'.join(_OWN)})\b|\b(?:{'|'.join(_SERVICES)})")


def is_goods(title: str) -> bool:
    """Whether a title can be that of goods: it asks nothing, and speaks of no service of a shop.

    >>> is_goods("trail running shoes"), is_goods("Where is my refund?")
    (True, False)
    """
    return _SPEECH.search(title.lower()) is None
