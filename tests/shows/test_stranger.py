"""README's quickstart, run as it is written; and the same events under the same seed once more, without the click."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import orjson
import pytest

from deploy.log_reader import whole_topic
from features.contract import parse
from features.decisions import Decision
from features.events import UserEvent
from stream import topics
from tests.shows.deployment import ROOT, Deployment
from tests.stream import stage

pytestmark = pytest.mark.timeout(600)

QUICKSTART = re.search(r"<!-- quickstart.*?-->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
USER = "ada"


@pytest.fixture(scope="module")
def said(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a stranger's terminal shows."""
    assert QUICKSTART, "README.md has no block of shell lines after the marker <!-- quickstart"
    lines = QUICKSTART[1].replace("localhost:8080", stack.url().removeprefix("http://"))
    folder: Path = tmp_path_factory.mktemp("stranger")
    shell = ["sh", "-eu", "-c", f"trap 'kill $!' EXIT\n{lines}"]
    done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(said: str) -> list[dict]:
    """The decisions that the terminal shows, as JSON."""
    return [orjson.loads(line.removeprefix("data: ")) for line in said.splitlines() if line.startswith("data: ")]


@pytest.fixture(scope="module")
def without_click(said: str, stack: Deployment, twin: Deployment) -> dict[str, Decision]:
    """The decisions over the very same records of events, where nothing was clicked."""
    records = whole_topic(stack.connections, topics.EVENTS.name)
    same = [(r.key, r.value) for r in records if r.key == f"demo:{USER}".encode()]
    stage.send(twin.connections, same)
    return twin.decided(parse(UserEvent, value).id for _, value in same)


def test_the_gateway_accepts_what_the_readme_posts(said: str) -> None:
    assert said.count('"status":"accepted"') == 4
    assert '"status":"rejected"' not in said


def test_a_strangers_event_is_answered_with_prompts(told: list[dict]) -> None:
    first = told[0]
    assert (first["decision"], first["reason"], first["trigger_event"]) == ("show", "ranked", "e-1")
    assert [prompt["position"] for prompt in first["prompts"]] == [1, 2, 3]
    assert all(0 < prompt["propensity"] < 1 and prompt["text"] for prompt in first["prompts"])


def test_what_was_clicked_is_not_offered_again_and_the_reason_is_named(told: list[dict]) -> None:
    clicked = told[0]["prompts"][0]["intent_id"]
    assert told[1]["session"] == told[0]["session"]
    assert clicked not in {prompt["intent_id"] for prompt in told[1]["prompts"]}
    assert {"intent_id": clicked, "reason": "already_clicked"} in told[1]["excluded"]


def test_without_the_click_the_same_seed_offers_it_again(told: list[dict], without_click: dict[str, Decision]) -> None:
    before, after = without_click["e-1"].public(), without_click["e-2"]
    for same in ("decision", "prompts", "slate_propensity", "session", "versions"):
        assert before[same] == told[0][same]
    assert told[0]["prompts"][0]["intent_id"] in {prompt.intent_id for prompt in after.prompts}
    assert not after.excluded
