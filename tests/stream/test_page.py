import re
from pathlib import Path

import httpx
import pytest

from features.settings import Connections
from stream.gateway import WEB
from tests.stream.gateway_client import gateway

FILES = sorted(path.name for path in WEB.iterdir())


async def got(*paths: str) -> list[httpx.Response]:
    async with gateway(Connections(kafka_url="127.0.0.1:9"), wait_ready=False) as client:
        return [await client.get(path) for path in paths]


async def test_the_page_and_all_it_names_are_served():
    [page] = await got("/")
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert {Path(path).name for path in named} == {"app.js", "style.css", "icon.svg"}
    assert [reply.status_code for reply in await got(*named)] == [200] * len(named)


async def test_the_browser_is_told_to_load_and_run_only_ours():
    page, script, problem = await got("/", "/web/app.js", "/nothing")
    for reply in (page, script, problem):
        assert reply.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_the_page_reaches_out(name):
    text = (WEB / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|url\(|@import|\b//[a-z]+\.", text)


@pytest.mark.parametrize("name", FILES)
def test_texts_never_become_markup(name):
    text = (WEB / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"<script>|<style>|\sstyle=|\son[a-z]+=\"", text)


def test_both_languages_have_the_same_words():
    without_texts = re.sub(r'"[^"]*"', "", (WEB / "words.js").read_text())
    english, spanish = (re.findall(r"([a-z_]+):", part) for part in without_texts.split("en: {")[1].split("es: {"))
    assert len(english) > 40
    assert english == spanish


def test_every_word_the_page_marks_is_known():
    marked = set(re.findall(r'data-(?:text|hint)="([a-z_]+)"', (WEB / "index.html").read_text()))
    assert marked <= set(re.findall(r"\b([a-z_]+):", (WEB / "words.js").read_text()))


async def test_a_path_outside_the_page_is_not_served():
    assert {reply.status_code for reply in await got("/web/../gateway.py", "/web/%2e%2e/gateway.py")} == {404}
