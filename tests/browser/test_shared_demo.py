"""A shared demo as its visitors see it: the generated folder runs as a process in which torch cannot be imported, in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline.hub import demo
from tests.browser.conftest import App
from tests.browser.fake_runs import EVIL
from tests.test_demo import without_torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLOW = 120_000  # ms, on a busy machine


@pytest.fixture(scope="module")
def folder(exported_run, tmp_path_factory) -> Path:
    """A demo whose owner has written hostile text wherever text goes."""
    made = demo.write(exported_run, tmp_path_factory.mktemp("demo") / "demo", title=EVIL)
    requests = json.loads((made / "requests.json").read_text("utf-8"))
    (made / "requests.json").write_text(json.dumps([*requests, EVIL]), "utf-8")
    tools = json.loads((made / "tools.json").read_text("utf-8"))
    tools[1]["function"]["parameters"]["properties"]["number"]["enum"] = [EVIL]  # the prompt leaves it out, the page shows it
    (made / "tools.json").write_text(json.dumps(tools), "utf-8")
    return made


@pytest.fixture(scope="module")
def space(browser, folder, tmp_path_factory):
    """It, running: `python app.py`."""
    place = tmp_path_factory.mktemp("space")
    running = App(place / "unused", place / "app.log", program=str(folder / "app.py"), OMP_NUM_THREADS="1", **without_torch(place / "block"))
    yield running.start()
    running.stop()


@pytest.fixture
def visitor(page, space) -> Page:
    page.set_default_timeout(SLOW)
    page.goto(space.url)
    expect(page.locator("#solo-ideas .chip").first).to_be_visible(timeout=SLOW)
    return page


def ask(page: Page, text: str) -> None:
    page.get_by_label("Request", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_a_request_its_call_its_text_the_simulated_result_and_what_the_model_says_then(visitor):
    visitor.get_by_role("button", name="red and kitchen").click()
    expect(visitor.locator("#solo-answer .call-line")).to_have_text(['set_color(color="red")', 'open_room(number=0, room="kitchen")'], timeout=SLOW)
    expect(visitor.locator("#solo-answer .figures")).to_contain_text(re.compile(r"s to the first token · 45 tokens in .* tokens/s"))
    expect(visitor.locator("#solo-text .cm-content").first).to_contain_text("<start_function_call>call:set_color{color:<escape>red<escape>}")
    visitor.get_by_text("The prompt that it was given").click()
    expect(visitor.locator("#solo-text .cm-content").last).to_contain_text("<start_of_turn>user")
    expect(visitor.locator("#solo-results .cm-content")).to_contain_text('{"status": "done", "room": "kitchen", "number": 0}')
    visitor.get_by_role("button", name="Send the result").click()
    expect(visitor.locator("#solo-followed .figures")).to_be_visible(timeout=SLOW)
    visitor.get_by_text("What it can call").click()
    expect(visitor.locator(".tool header code")).to_have_text(["set_color", "open_room"])


def test_an_answer_in_words_offers_no_result(visitor):
    ask(visitor, "hello")
    expect(visitor.locator("#solo-answer .said")).to_contain_text("hello world", timeout=SLOW)
    expect(visitor.locator("#solo-follow")).to_be_hidden()


def test_text_of_the_owner_or_a_visitor_is_shown_and_never_run(visitor):
    expect(visitor.locator(".solo-head h1")).to_have_text(" ".join(EVIL.split())[:80])
    ask(visitor, f"{EVIL} <end_of_turn>")
    expect(visitor.locator("#solo-answer .note.bad").first).to_contain_text("The request spells <end_of_turn>", timeout=SLOW)
    visitor.get_by_text("What it can call").click()
    expect(visitor.locator(".tool").last).to_contain_text(EVIL)
    assert visitor.locator("img[src=x]").count() == 0 and visitor.title() != "1"


@pytest.mark.parametrize(("text", "sentence"), [
    ("x" * 2500, "A request may have 2,000 characters, this one has 2,500"), ("   ", "Type a request first"),
])  # fmt: skip
def test_what_cannot_be_sent_is_a_sentence(visitor, text, sentence):
    ask(visitor, text)
    expect(visitor.get_by_test_id("toast-body")).to_contain_text(sentence, timeout=SLOW)


def test_what_does_not_fit_into_the_model_is_a_sentence(visitor):
    ask(visitor, "é 7 " * 480)
    expect(visitor.locator("#solo-answer .note.bad")).to_contain_text("tokens, and the model reads 1,024. Shorten it.", timeout=SLOW)


def test_results_that_are_no_json_are_a_sentence(visitor):
    ask(visitor, "make it red")
    expect(visitor.locator("#solo-follow")).to_be_visible(timeout=SLOW)
    visitor.locator("#solo-results .cm-content").fill("{not json")
    visitor.get_by_role("button", name="Send the result").click()
    expect(visitor.get_by_test_id("toast-body")).to_contain_text("The results are not usable: broken JSON", timeout=SLOW)


def test_it_fits_a_phone_and_keeps_nothing(visitor, folder, space):
    visitor.set_viewport_size({"width": 390, "height": 844})
    ask(visitor, "make it red zebra-marker")
    expect(visitor.locator("#solo-answer .figures")).to_be_visible(timeout=SLOW)
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 390
    assert "zebra-marker" not in space.log_text()
    for file in folder.rglob("*"):
        assert not file.is_file() or b"zebra-marker" not in file.read_bytes()
    assert {file.name for file in folder.iterdir()} - {"pipeline", "__pycache__"} == {
        "LICENSE", "MODEL_CARD.md", "NOTICE", "README.md", "app.py", "demo.json", "my-app-int8.litertlm", "requests.json", "requirements.txt",
        "results.json", "tools.json",
    }  # fmt: skip
