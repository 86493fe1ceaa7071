"""Signing in on a Space, through the real redirects of OpenID Connect to a local Hub: nothing is lost, a refusal is said, and so is a
restart that has emptied the disk. And the same page on a laptop, with and without a token."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import App
from tests.local_hub import LocalHub
from tests.local_openid import SCOPES, as_a_space

SCOPE = frozenset({"contribute-repos", "gated-repos", "jobs", "read-billing"})


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub() as running:
        running.extra["token"] = running.user("mira", {"acme": "write"}, scopes=SCOPE)
        yield running


@pytest.fixture(scope="module")
def space(browser, hub, tmp_path_factory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("space")
    environment = hub.environment(folder / "hub") | as_a_space(hub, hub.extra["token"])
    app = App(folder / "workspace", folder / "app.log", **environment).start()
    yield app
    app.stop()


def open_playground(page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    page.get_by_role("tab", name=re.compile("^Playground")).click()
    page.wait_for_url(re.compile("tab=playground"))
    page.wait_for_url(re.compile("project=[0-9a-f]+"))


def test_signing_in_comes_back_to_the_same_project_and_step(page, space, hub):
    open_playground(page, space.url)
    before = page.url
    expect(page.locator(".who")).to_have_count(0)
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    expect(page.locator(".who")).to_have_text("signed in as mira")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_label("Request", exact=True)).to_be_visible()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    assert page.url == before
    assert hub.asked("GET", "/oauth/authorize")[-1].query["scope"] == SCOPES
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["session"]["httpOnly"] and cookies["session"]["secure"]
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.documentElement.outerHTML])")
    assert hub.extra["token"] not in kept

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    expect(page.locator(".who")).to_have_count(0)
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")


def test_a_sign_in_that_is_refused_is_said_and_loses_nothing(page, space, hub):
    open_playground(page, space.url)
    before, hub.extra["visitor"] = page.url, None
    try:
        page.get_by_role("button", name="Sign in with Hugging Face").click()
        expect(page.get_by_text("You are not signed in")).to_be_visible()
    finally:
        hub.extra["visitor"] = hub.extra["token"]
    expect(page.get_by_label("Request", exact=True)).to_be_visible()
    page.wait_for_url(before)


def test_everything_that_needs_no_hub_works_without_signing_in(page, space):
    open_playground(page, space.url)
    page.get_by_label("Request", exact=True).fill("turn on the kitchen light")
    page.keyboard.press("Enter")
    expect(page.locator("#base-answer .answer")).to_be_visible()
    for step in ("Train", "Evaluate", "Export", "Dataset"):
        page.get_by_role("tab", name=re.compile(f"^{step}")).click()
        expect(page.locator(".toast-body.error")).to_have_count(0)


def test_a_copy_of_the_space_says_what_it_needs(page, space):
    page.goto(space.url)
    expect(page.get_by_role("heading", name="Your own copy")).to_be_visible()
    expect(page.locator(".copy")).to_contain_text("without a secret")
    expect(page.get_by_role("button", name="Duplicate this Space")).to_be_visible()


def test_a_restart_with_an_empty_disk_is_said_until_something_new_is_begun(page, space):
    """Sleep, wake, rebuild: all of them empty a Space's disk, while the browser still knows its session."""
    open_playground(page, space.url)
    space.stop()
    shutil.rmtree(space.workspace)
    space.start()
    page.goto(page.url)
    expect(page.get_by_text("a restart empties its disk")).to_be_visible()
    page.reload()
    expect(page.get_by_text("a restart empties its disk")).to_be_visible()
    page.get_by_label("Bring back a training that you kept on the Hub").fill("mira/lamp")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.get_by_text("This needs your Hugging Face account")).to_be_visible()
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    page.get_by_role("button", name="All projects").click()
    expect(page.get_by_text("Your projects")).to_be_visible()
    expect(page.get_by_text("a restart empties its disk")).to_be_hidden()


def test_a_laptop_has_no_sign_in_and_nothing_to_duplicate(page, app_url):
    page.goto(app_url)
    expect(page.get_by_role("button", name="Open the sample")).to_be_visible()
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_have_count(0)
    expect(page.get_by_role("button", name="Duplicate this Space")).to_have_count(0)


def test_a_laptop_says_whose_token_it_has_and_starts_without_the_hub(browser, page, hub, tmp_path):
    environment = hub.environment(tmp_path / "hub", token=hub.extra["token"])
    app = App(tmp_path / "workspace", tmp_path / "app.log", **environment).start()
    try:
        page.goto(app.url)
        expect(page.locator(".who")).to_have_text("Hub account of this computer: mira")
    finally:
        app.stop()
    app.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody answers there
    app.start()
    try:
        page.goto(app.url)
        expect(page.get_by_role("button", name="Open the sample")).to_be_visible()
        expect(page.locator(".who")).to_have_text("this computer has a Hub token, not checked")
    finally:
        app.stop()


def test_the_base_is_explained_and_a_project_taken_home(page, app_url):
    open_playground(page, app_url)
    page.get_by_text("base: embedded demo model").click()
    expect(page.get_by_text("accept the licence on")).to_be_visible()
    page.get_by_text("base: embedded demo model").click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download project").click()
    with zipfile.ZipFile(taken.value.path()) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        (info,) = (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith("/project.json"))
    assert {"project.json", "dataset/tools.json", "dataset/examples.jsonl"} <= names and info["title"] == "Sample"
