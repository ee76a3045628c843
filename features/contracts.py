"""The contracts as JSON Schema, generated from the pydantic models and never edited by hand."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from features.contract import Contract
from features.decisions import Decision, Outcome
from features.events import UserEvent
from features.notices import (
    DeadLetter,
    IntentChange,
    IntentStats,
    ModelRelease,
    QueryRefreshed,
    QueryRequested,
    SubjectErased,
)

CONTRACTS: tuple[type[Contract], ...] = (
    UserEvent, Decision, Outcome, QueryRequested, QueryRefreshed, IntentChange, ModelRelease, IntentStats,
    SubjectErased, DeadLetter,
)  # fmt: skip
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, dict[str, Any]]:
    """Each contract's own JSON Schema (draft 2020-12) by its name, as a reader accepts it: unknown fields are allowed.

    A schema states types and bounds; what a type of event needs besides is in the description of the field.
    """
    return {contract.__name__: {"$schema": DIALECT, **contract.model_json_schema()} for contract in CONTRACTS}


def shared_definitions(ref_template: str) -> dict[str, Any]:
    """All contracts and the parts they share in one table, referring to each other by `ref_template`."""
    _, document = models_json_schema([(contract, "validation") for contract in CONTRACTS], ref_template=ref_template)
    definitions: dict[str, Any] = document["$defs"]
    return definitions
