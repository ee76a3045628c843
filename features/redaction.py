"""Personal data hidden in a text: addresses, links, long numbers, accounts, order numbers and credentials."""

from __future__ import annotations

import re

_DOT = r"(?:\s*[(\[{<]\s*(?:dot|\.)\s*[)\]}>]\s*|\s+dot\s+|\.)"
_LINK = re.compile(r"\b(?:https?:/|www\.)\S+", re.IGNORECASE)
_EMAILS = (
    re.compile(rf"(?<![\w.+-])[\w.+-]+\s*[(\[{{<]\s*(?:at|@)\s*[)\]}}>]\s*[\w-]+(?:{_DOT}[\w-]+)*", re.IGNORECASE),
    re.compile(rf"(?<![\w.+-])[\w.+-]+\s+at\s+[\w-]+(?:{_DOT}[\w-]{{2,}})+", re.IGNORECASE),
    re.compile(r"(?:(?<=[\s<>(),;:])|^)[^\s<>(),;:@]*\s?@\s?[^\s<>(),;]*"),
)
_ACCOUNT = re.compile(r"\b[a-z]{2}\d{2}(?:[ .-]?[a-z0-9]{4}){2,7}(?:[ .-]?[a-z0-9]{1,3})?\b", re.IGNORECASE)
_SECRET = re.compile(
    r"\b(pass(?:word|wd|wort|phrase)?|pwd|contraseña|pin|cvv|cvc|otp|token|secret|api.?key)"
    r"(\s*[:=]\s*\S+|\s+(?:is|was|ist|es)\s+(?=\S*\d)\S+|\s+\d\S+)",
    re.IGNORECASE,
)
_KEY = re.compile(r"\b(?:[sprk]k|gh[pousr]|xox[abp])[-_][\w-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}")
_LONG_WORD = re.compile(r"(?<![\w+/=.-])(?=\S*\d|\S*[a-z][A-Z])[\w+/=.-]{25,}")
_MIXED_WORD = re.compile(r"(?<![\w-])(?=(?:[\w-]*?\d){3})(?=[\d_-]*[^\W\d_])[\w-]{8,}")
_LONG_NUMBER = re.compile(r"\+?\(?\d(?:[\s().\-/_:+]{0,3}\d){6,}|\d{5,}")
_NUMBERED = re.compile(
    r"\b(order|parcel|package|tracking|shipment|invoice|customer|account|member(?:ship)?|ref(?:erence)?|ticket|case|"
    r"booking|pedido|bestellung|rechnung)((?:\s*(?:no|nr|num(?:ber)?|nummer|id|code)\b)*[\s.:#-]*)"
    r"(?=[\w-]*\d[\w-]*\d)[\w-]{3,}",
    re.IGNORECASE,
)
_HASHED = re.compile(r"#\s?(?=[\w-]*\d)[\w-]{3,}")


_SUSPECT = re.compile(r"[\d@:=]|www\.|\bat\b|\[.?at|[sprk]k[-_]|gh[pousr]_|xox|\S{25}", re.IGNORECASE)
"""What every text holds in which the patterns above find something."""


def redact(text: str) -> str:
    """The text without what can name or open an account: e-mail addresses, links, numbers of five digits or more.

    Phones, cards, IBANs, order numbers, passwords and keys are such numbers or words. What stands there instead says
    its kind. Names and streets are not found: nothing here knows them from goods.

    >>> redact("order no. A-1029, mail jo(at)example.com or +44 20 7946 0958")
    'order no. [number], mail [email] or [number]'
    """
    if _SUSPECT.search(text) is None:
        return text
    text = _LINK.sub("[link]", text)
    for email in _EMAILS:
        text = email.sub("[email]", text)
    text = _ACCOUNT.sub(_account, text)
    text = _KEY.sub("[code]", _SECRET.sub(r"\1 [code]", text))
    text = _NUMBERED.sub(r"\1\2[number]", _HASHED.sub("[number]", text))
    text = _LONG_NUMBER.sub("[number]", text)
    return _MIXED_WORD.sub("[code]", _LONG_WORD.sub("[code]", text))


def _account(found: re.Match[str]) -> str:
    digits = sum(character.isdigit() for character in found[0])
    return "[number]" if digits >= 8 else found[0]
