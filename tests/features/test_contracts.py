"""The generated JSON Schemas say what the models accept."""

import json

import pytest
from jsonschema import Draft202012Validator

from features.contract import InvalidEvent, from_ms, parse
from features.contracts import CONTRACTS, json_schemas
from features.events import UserEvent

SCHEMAS = json_schemas()
EVENT = UserEvent(id="e1", type="searched", time=from_ms(10**12), user="u1", data={"query": "parcel"})


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_json_schema(name):
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["title"] == name
    assert SCHEMAS[name]["description"]


def test_every_contract_that_travels_has_a_schema():
    assert set(SCHEMAS) == {contract.__name__ for contract in CONTRACTS}


def test_an_event_that_we_write_keeps_its_schema_also_with_unknown_fields():
    told = {**json.loads(EVENT.to_json()), "x_new": 1}
    assert not list(Draft202012Validator(SCHEMAS["UserEvent"]).iter_errors(told))


@pytest.mark.parametrize(
    "changes", [{"user": 7}, {"id": ""}, {"tenant": "A B"}, {"data": {"quantity": -1}}, {"data": {"page": "moon"}}]
)
def test_what_the_schema_refuses_the_model_refuses_too(changes):
    told = {**json.loads(EVENT.to_json()), **changes}
    assert list(Draft202012Validator(SCHEMAS["UserEvent"]).iter_errors(told))
    with pytest.raises(InvalidEvent):
        parse(UserEvent, json.dumps(told))
