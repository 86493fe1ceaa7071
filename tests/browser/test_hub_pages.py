"""On the page, with a Hub beside it: a public model opened by its name, and a demo shared with one click."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipeline.hub.demo import file_of
from tests.browser.fake_runs import EVIL, project_of
from tests.local_hub import LocalHub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLOW = 120_000


@pytest.fixture(scope="module")
def hub(exported_run):
    """A Hub with Alice's public lamp, whose texts are hostile, and her private one."""
    tools = json.loads((exported_run.path / "dataset" / "tools.json").read_text("utf-8"))
    tools[1]["function"]["parameters"]["properties"]["number"]["enum"] = [EVIL]  # the prompt leaves it out, the page shows it
    files = {"lamp.litertlm": Path(file_of(exported_run).path).read_bytes(), "tools.json": json.dumps(tools).encode()}
    with LocalHub() as server:
        server.repo("alice/lamp", files)
        server.repo("alice/secret", files, private=True)
        yield server


@pytest.fixture(scope="module")
def alice(hub) -> str:
    return hub.user("alice")


@pytest.fixture
def visitor(page):
    page.set_default_timeout(SLOW)
    return page


@pytest.fixture
def panel(visitor, at_alices, exported_run):
    """The panel that shares a demo, in the export step of a sample project whose one run has its file."""
    visitor.goto(at_alices.url)
    visitor.get_by_role("button", name="Open the sample").click()
    expect(visitor.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples", timeout=SLOW)
    run = project_of(visitor, at_alices.workspace).path / "runs" / "abcdef12"
    shutil.copytree(exported_run.path, run, ignore=shutil.ignore_patterns(".cache"))
    visitor.get_by_role("tab", name=re.compile("^Export")).click()
    found = visitor.locator("#share")
    expect(found.get_by_label("Name of the Space")).to_have_value("sample-demo", timeout=SLOW)
    return found


def test_the_third_card_opens_a_public_model_and_nothing_else(visitor, at_alices, hub):
    visitor.goto(at_alices.url)
    visitor.get_by_label("Model on the Hub").fill("https://huggingface.co/alice/lamp/tree/main")
    visitor.get_by_role("button", name="Open the model").click()
    expect(visitor.locator(".solo-head h1")).to_have_text("lamp", timeout=SLOW)
    assert "model=alice" in visitor.url
    expect(visitor.locator(".solo-head")).to_contain_text(hub.repos["model", "alice/lamp"].commits[-1][0][:12])
    expect(visitor.get_by_role("button", name="Open the sample")).to_be_hidden()
    visitor.get_by_label("Request", exact=True).last.fill("make it red")
    visitor.get_by_role("button", name="Send", exact=True).last.click()
    expect(visitor.locator("#solo-answer .figures")).to_be_visible(timeout=SLOW)
    expect(visitor.locator("#solo-text .cm-content").first).to_contain_text("<start_function_call>call:")
    visitor.get_by_text("What it can call").click()
    expect(visitor.locator("#visit .tool").last).to_contain_text(EVIL)
    assert visitor.locator("img[src=x]").count() == 0 and visitor.title() != "1"
    asked = hub.asked("GET", r"/alice/lamp")
    assert asked and not any("Authorization" in one.headers for one in asked)


@pytest.mark.parametrize(("name", "sentence"), [
    ("alice/secret", "no such model on the Hub, or it is private"), ("no/such", "no such model on the Hub, or it is private"),
    ("../../etc/passwd", "is not a repository of the Hub"), ("<b>x</b>/y", "is not a repository of the Hub"),
])  # fmt: skip
def test_what_cannot_be_opened_says_why(visitor, at_alices, name, sentence):
    visitor.goto(f"{at_alices.url}/?model={name}")
    expect(visitor.locator("#visit-state .headline")).to_contain_text(sentence, timeout=SLOW)
    expect(visitor.get_by_label("Request", exact=True).last).to_be_hidden()
    visitor.get_by_role("link", name="Train a model of your own").click()
    expect(visitor.get_by_role("button", name="Open the sample")).to_be_visible(timeout=SLOW)


def test_a_demo_is_shared_privately_then_with_everybody_and_taken_home(visitor, panel, at_alices, hub, alice, exported_run):
    panel.get_by_label("Title").fill(EVIL)
    panel.get_by_role("button", name="Share the demo").click()
    expect(panel.locator("#share-link")).to_contain_text("seen by nobody else", timeout=SLOW)
    space = hub.repos["space", "alice/sample-demo"]
    assert space.private and json.loads(space.files["demo.json"].data)["title"] == " ".join(EVIL.split())[:80]
    assert space.files["my-app-int8.litertlm"].data == Path(file_of(exported_run).path).read_bytes()
    expect(panel.locator("#share-embed")).to_be_hidden()
    panel.get_by_role("button", name="Let everybody see it").click()
    expect(panel.locator("#share-embed .cm-content")).to_contain_text('<iframe src="https://alice-sample-demo.hf.space"', timeout=SLOW)
    assert not space.private

    with visitor.expect_download(timeout=SLOW) as download:
        panel.get_by_role("button", name="Download it as a .zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"my-app-demo/app.py", "my-app-demo/my-app-int8.litertlm"} <= set(archive.namelist())

    visitor.reload()
    expect(panel.locator("#share-link")).to_contain_text("Everybody can see it", timeout=SLOW)
    theirs = space.commit("by somebody else", {**space.files, "notes.txt": hub.store("notes.txt", b"mine")})
    panel.get_by_role("button", name="Share it again").click()
    expect(panel.locator("#share-state")).to_contain_text("alice/sample-demo exists already. Put the demo into it?", timeout=SLOW)
    panel.get_by_role("button", name="Leave it as it is").click()
    expect(panel.get_by_role("button", name="Share it again")).to_be_visible(timeout=SLOW)
    assert space.sha == theirs
    panel.get_by_role("button", name="Share it again").click()
    panel.get_by_role("button", name="Replace the files").click()
    expect(panel.locator("#share-state")).to_contain_text("The model's file has", timeout=SLOW)
    assert space.sha != theirs and "notes.txt" in space.files

    visitor.set_viewport_size({"width": 390, "height": 844})
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 390
    assert hub.leaks() == [] and alice not in at_alices.log_text() and alice not in visitor.content()
    assert not [file for file in at_alices.workspace.rglob("*") if file.is_file() and alice.encode() in file.read_bytes()]


def test_a_name_of_somebody_else_is_refused_in_a_sentence(visitor, panel):
    panel.get_by_label("Name of the Space").fill("bob/demo")
    panel.get_by_role("button", name="Share the demo").click()
    expect(visitor.get_by_test_id("toast-body")).to_contain_text("bob is not alice nor an organization", timeout=SLOW)
