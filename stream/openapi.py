"""The gateway's OpenAPI document, with the wire contracts as its schemas."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from features.decisions import Decision, Outcome
from features.events import UserEvent
from stream.intake import MAX_ITEMS

_REF = "#/components/schemas/{model}"


def body_of(model: str, plural: str) -> dict[str, Any]:
    """A route's `openapi_extra`: its body is one `model`, a list of them, or an object that holds the list."""
    item = {"$ref": _REF.format(model=model)}
    items = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ITEMS}
    wrapped = {"type": "object", "properties": {plural: items}, "required": [plural]}
    schema = {"anyOf": [item, items, wrapped]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _contracts() -> dict[str, Any]:
    """The schemas of what is posted (id and time are optional there) and of what clients are told."""
    models = [(UserEvent, "validation"), (Outcome, "validation"), (Decision, "serialization")]
    _, document = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    schemas: dict[str, Any] = document["$defs"]
    for name in ("UserEvent", "Outcome"):
        posted = schemas[f"Posted{name}"] = copy.deepcopy(schemas.pop(name))
        posted["title"] = f"Posted{name}"
        posted["required"] = [field for field in posted["required"] if field not in ("id", "time")]
        posted["description"] += " The gateway fills in a missing id and time."
    public = schemas["PublicDecision"] = copy.deepcopy(schemas["Decision"])
    public.update(title="PublicDecision", description="What a client is told of a decision.")
    for hidden in ("features", "candidates"):
        del public["properties"][hidden]
        public["required"].remove(hidden)
    return schemas


def document(app: FastAPI) -> dict[str, Any]:
    """The whole OpenAPI document of `app`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        made["components"]["schemas"] |= _contracts()
        for unused in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(unused, None)
        for path in made["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        app.openapi_schema = made
    return app.openapi_schema
