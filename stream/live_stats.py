"""The intent statistics in force: the newest snapshot that the compacted topic holds as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from features.contract import InvalidEvent, origin, parse
from features.notices import IntentStats

log = structlog.get_logger(__name__)

NO_SNAPSHOT = "none"
"""What a decision names that knew no snapshot."""


class LiveStatistics:
    """Exchanges one whole snapshot for a newer whole one; `version` names it and `intents` holds it by intent id."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._arriving: dict[tuple[datetime, str], dict[str, IntentStats]] = {}
        self._until = datetime.min.replace(tzinfo=UTC)
        self.version = NO_SNAPSHOT
        self.intents: Mapping[str, IntentStats] = {}

    async def apply(self, records: Sequence[Any]) -> None:
        """Takes records of the statistics topic, in order; one that is unfit is logged and changes nothing."""
        for record in records:
            told = self._told(record)
            if told is not None:
                self._arrive(told)

    def _told(self, record: Any) -> IntentStats | None:
        if record.value is None:
            return None
        try:
            told = parse(IntentStats, record.value)
        except InvalidEvent as error:
            log.error(
                "intent_stats_unreadable", at=origin(record.topic, record.partition, record.offset), error=str(error)
            )
            return None
        return told if told.tenant == self._tenant else None

    def _arrive(self, told: IntentStats) -> None:
        if told.until < self._until:
            return
        arriving = self._arriving.setdefault((told.until, told.version), {})
        arriving[told.intent_id] = told
        if len(arriving) == told.intents:
            self._until, self.version, self.intents = told.until, told.version, arriving
            self._arriving = {key: partial for key, partial in self._arriving.items() if key[0] > told.until}
            log.info("intent_stats_changed", version=told.version, intents=told.intents)
