"""What every message shares: a frozen, bounded base, its field types, and parsing that explains what is wrong.

One rule for unknown input, so that yesterday's and tomorrow's programs read each other's messages: unknown *fields*
are dropped and every field added later is optional. Everything else - a wrong type, a number out of bounds, a text
too long - is an `InvalidEvent` that names the field, what was found and what was expected.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, ValidationError


class InvalidEvent(ValueError):
    """A message that does not keep its contract.

    `reason` is a short stable code (a metric label and a dead-letter header); the text says what was
    found, what was expected and where.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch, in UTC.

    >>> to_ms(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000
    """
    return round(moment.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """The aware UTC time of `ms` milliseconds since the epoch.

    >>> from_ms(1000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""The bounds of a believable time."""

Moment = Annotated[
    AwareDatetime,
    Field(ge=EARLIEST, le=LATEST),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
]
Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
User = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:+/-]{0,127}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)]
LongText = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[int, Field(ge=0, le=2**53)]
Score = Annotated[float, Field(ge=-1e6, le=1e6)]


class Contract(BaseModel):
    """A frozen message: unknown fields are dropped, no NaN or infinity, no silent type coercion of text."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, str_max_length=100_000)

    max_bytes: ClassVar[int | None] = None
    """The largest message that is accepted; None leaves it to the topic."""

    def to_json(self) -> bytes:
        """The message as canonical UTF-8 JSON, without its unset optional fields."""
        return self.model_dump_json(exclude_none=True).encode()


def origin(topic: str, partition: int, offset: int) -> str:
    """How this project writes the place of a record.

    >>> origin("shop.user.events.v1", 3, 42)
    'shop.user.events.v1[3]@42'
    """
    return f"{topic}[{partition}]@{offset}"


Message = TypeVar("Message", bound=Contract)


def parse(contract: type[Message], raw: bytes | str) -> Message:
    """A message from its JSON bytes. Raises `InvalidEvent` with a stable reason.

    >>> class Greeting(Contract):
    ...     to: ShortText
    >>> parse(Greeting, b'{"to": 3}')
    Traceback (most recent call last):
    ...
    features.contract.InvalidEvent: Greeting.to: Input should be a valid string; found 3
    """
    if contract.max_bytes is not None and len(raw) > contract.max_bytes:
        raise InvalidEvent("too_large", f"{contract.__name__} has {len(raw)} bytes; the limit is {contract.max_bytes}")
    try:
        return contract.model_validate_json(raw)
    except ValidationError as error:
        raise _explained(contract, error) from None


def _explained(contract: type[Contract], error: ValidationError) -> InvalidEvent:
    """One line about the first fault: where, what was found, what was expected."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "json_invalid":
        return InvalidEvent("bad_json", f"{contract.__name__}: not JSON: {fault['msg']}"[:1000])
    message = fault["msg"].removeprefix("Value error, ")
    if not where:
        return InvalidEvent("incomplete", f"{contract.__name__}: {message}"[:1000])
    found = ascii(fault["input"])[:120]
    reason = "missing_field" if fault["type"] == "missing" else "bad_field"
    return InvalidEvent(reason, f"{contract.__name__}.{where}: {message}; found {found}"[:1000])


class OfUser:
    """What every message of one user shares: a key that keeps them in one partition, and a time."""

    if TYPE_CHECKING:  # each contract says itself where in its JSON they stand
        tenant: str
        user: str
        time: datetime

    @property
    def key(self) -> str:
        """The record key, `tenant:user`."""
        return f"{self.tenant}:{self.user}"

    @property
    def time_ms(self) -> int:
        """The time in ms since the epoch."""
        return to_ms(self.time)
