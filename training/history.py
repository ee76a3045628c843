"""The history of the features: what every logged decision was made on, for Feast's joins as of a time.

    served_row                   from the decisions, as logged
    user_activity, order_state   the users' states at each trigger, folded again from the events; a row is kept only
                                 where the ranker's row, folded with it, equals the logged one in every cell
    intent_stats                 the snapshots that the decisions name, counted again from the log; kept where equal

A row holds from the event time of its trigger (a snapshot: from its `until`) and was made when the decision was. The
latent queries are not in the log (it has their state hashes), so `latent_query` has no history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from features.contract import to_ms
from features.schema import fingerprint
from features.served import SERVED_ROW, served_values
from features.views import INTENT_STATS, ORDER_STATE, USER_ACTIVITY, activity_values, intent_values, order_values
from training.history_files import ViewRows
from training.log_files import manifest
from training.partition_log import read_partition
from training.recomputed import IsTrigger, Moment, recompute
from training.snapshots import NO_SNAPSHOT, founded

_OF_A_SHOPPER = (SERVED_ROW, USER_ACTIVITY, ORDER_STATE)


@dataclass(slots=True)
class History:
    """What was written: rows by view. `not_derivable`: decisions whose states the log does not lead to."""

    rows: dict[str, int] = field(default_factory=dict)
    decisions: int = 0
    not_derivable: int = 0
    other_schema: int = 0


def write_history(root: Path, offline_dir: Path, tenant: str, is_trigger: IsTrigger) -> History:
    """Writes the history of a replayed folder's decisions below `offline_dir`; a second run changes no byte.

    Raises `ReplayError` if `root` holds no replay.
    """
    told, named = History(), set[str]()
    for number, (first_offset, _) in sorted(manifest(root).offsets["events"].items()):
        log = read_partition(root, number, first_offset)
        found = recompute(log, is_trigger, _Gathered.of)
        for name, rows in found.rows.items():
            told.rows[name] = told.rows.get(name, 0) + rows.write(offline_dir, number)
        told.decisions += found.decisions
        told.not_derivable += found.not_derivable
        told.other_schema += found.other_schema
        named |= {served.intent_stats for of in log.decisions.values() for served in of}
    told.rows[INTENT_STATS.name] = _write_snapshots(root, offline_dir, tenant, named - {NO_SNAPSHOT})
    return told


class _Gathered:
    """The rows of one partition."""

    def __init__(self) -> None:
        self.rows = {view.name: ViewRows(view) for view in _OF_A_SHOPPER}
        self.decisions = self.not_derivable = self.other_schema = 0

    @classmethod
    def of(cls, moments: Iterator[Moment]) -> _Gathered:
        gathered = cls()
        for moment in moments:
            gathered.take(moment)
        return gathered

    def take(self, moment: Moment) -> None:
        """Adds a decision's rows."""
        served = moment.served
        self.decisions += 1
        if served.schema != fingerprint():
            self.other_schema += 1
            return
        names = {"decision_id": served.decision_id, "model": served.model, "intent_stats": served.intent_stats}
        self._add(moment, SERVED_ROW.name, {**names, **served_values(served.row)})
        if moment.row != served.row:
            self.not_derivable += 1
            return
        self._add(moment, USER_ACTIVITY.name, activity_values(moment.state))
        self._add(moment, ORDER_STATE.name, order_values(moment.state))

    def _add(self, moment: Moment, view: str, values: dict[str, object]) -> None:
        self.rows[view].add(moment.user, moment.served.at_ms, moment.served.made_ms, values)


def _write_snapshots(root: Path, offline_dir: Path, tenant: str, versions: set[str]) -> int:
    rows = ViewRows(INTENT_STATS)
    for snapshot in founded(root, tenant, versions):
        for stats in snapshot.intents:
            values = intent_values(stats.version, stats.shown, stats.clicked, stats.dismissed, stats.click_rate)
            rows.add(stats.key, to_ms(stats.until), to_ms(stats.until), values)
    return rows.write(offline_dir, 0)
