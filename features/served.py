"""The ranker's input rows as they were served: a view that has a history in Feast, and no online rows."""

from __future__ import annotations

from typing import Any

from features.decisions import FeatureRow
from features.schema import CATEGORICAL, NUMERIC
from features.views import Dtype, View
from features.windows import DAY_MS

SERVED_ROW = View(
    "served_row",
    "shopper",
    "shopper_id",
    {
        "decision_id": Dtype.STRING,
        "model": Dtype.STRING,
        "intent_stats": Dtype.STRING,
        **dict.fromkeys(NUMERIC, Dtype.FLOAT32),
        **dict.fromkeys(CATEGORICAL, Dtype.INT64),
        "event_kinds": Dtype.VECTOR,
        "event_ages_s": Dtype.VECTOR,
    },
    30 * DAY_MS,
    "the ranker's input of every logged decision, as of its trigger's event time",
)


def served_values(row: FeatureRow) -> dict[str, Any]:
    """A logged row as the columns of `SERVED_ROW` after its first three; float32 is what the model takes, too."""
    return {
        **row.numeric,
        **row.categorical,
        "event_kinds": [float(kind) for kind in row.event_kinds],
        "event_ages_s": row.event_ages_s,
    }
