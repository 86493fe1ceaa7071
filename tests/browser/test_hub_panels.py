"""Pushing, keeping and bringing back from the page, in a real browser against the local Hub: nothing is replaced unasked, no token anywhere."""

from __future__ import annotations

import os
import re
import threading

import pytest
from playwright.sync_api import expect

from tests.browser.fake_runs import add_artifact, add_checkpoint, add_report, make_run, project_of, shown
from tests.browser.late import Late
from tests.local_hub import LocalHub


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as server:
        yield server


@pytest.fixture(scope="module")
def alice(hub):
    return hub.user("alice", {"acme": "write"})


@pytest.fixture(scope="module")
def opened(browser, at_alices):
    """The export step of a sample project with a finished run, scores and a file."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(at_alices.url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    run = make_run(project_of(page, at_alices.workspace))
    add_report(run, "tuned", 0.9)
    add_artifact(run)
    shown(page, "Export")
    expect(page.locator("#push")).to_be_visible()
    yield page, run
    context.close()


def push_button(page):
    return page.get_by_role("button", name=re.compile("^Push (to the Hub|again)$"))


def picture(page, name, part="#push"):
    if folder := os.environ.get("STUDIO_PICTURES"):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.locator(part).screenshot(path=f"{folder}/{name}-{width}.png")
        page.set_viewport_size({"width": 1280, "height": 900})


def test_a_run_is_pushed_into_a_new_private_repository(opened, hub, alice):
    page, run = opened
    expect(page.locator("#push-owner input")).to_have_value("alice")
    expect(page.locator("#push-name textarea, #push-name input").first).to_have_value("sample")
    expect(page.locator("#push-parts")).to_contain_text("Model, for Python and further training, 9.5 MB")
    expect(page.locator("#push-state")).to_contain_text("in all, with the card, its terms and your functions")
    page.get_by_role("button", name="Preview of the model card").click()
    expect(page.locator("#push-card .cm-content")).to_contain_text("license: apache-2.0")
    picture(page, "push-before")
    page.locator("#push-parts").get_by_role("checkbox", name=re.compile("Dataset")).uncheck()
    expect(push_button(page)).to_be_enabled()
    push_button(page).click()
    expect(page.locator("#push-done")).to_contain_text("alice/sample")
    expect(page.locator("#push-done")).to_contain_text("It is private: nobody else sees it")
    repo = hub.repos["model", "alice/sample"]
    assert repo.private and len(repo.commits) == 2 and {"model.safetensors", "sample-int8.litertlm", "report/tuned-test.json"} <= set(repo.files)
    assert not [name for name in repo.files if name.startswith("dataset/")]
    picture(page, "push-after")


def test_what_is_set_while_an_answer_is_on_its_way_stays(opened, at_alices):
    page, _ = opened
    name, state = page.locator("#push-name textarea, #push-name input").first, page.locator("#push-state")
    weights = page.locator("#push-parts").get_by_role("checkbox", name=re.compile("^Model"))
    public, private = (page.locator("#push-who").get_by_role("radio", name=re.compile(f"^{word}")) for word in ("Public", "Private"))
    before = re.search(r"[\d.]+ .B in all", state.inner_text())[0]
    late = Late(page, at_alices.url, writes="push-parts")
    shown(page, "Export")
    late.wait()
    weights.uncheck()
    public.check()
    name.fill("")
    late.come()
    expect(state).not_to_contain_text(before)  # the answer to the edits, which comes after the one that was held
    expect(weights).not_to_be_checked()
    expect(public).to_be_checked()
    expect(name).to_have_value("")
    weights.check()
    private.check()
    name.fill("sample")
    expect(state).to_contain_text(before)


def test_what_exists_is_asked_about_and_stays_when_left(opened, hub, alice):
    page, run = opened
    before = list(hub.repos["model", "alice/sample"].commits)
    push_button(page).click()
    expect(page.locator("#push-state")).to_contain_text("alice/sample exists already. Push into it?")
    expect(page.locator("#push-state")).to_contain_text("It is private and holds")
    picture(page, "push-question")
    page.get_by_role("button", name="Leave it as it is").click()
    expect(page.get_by_role("button", name="Replace the files")).to_be_hidden()
    assert hub.repos["model", "alice/sample"].commits == before

    page.locator("#push-parts").get_by_role("checkbox", name=re.compile("Dataset")).check()
    expect(push_button(page)).to_be_enabled()
    push_button(page).click()
    page.get_by_role("button", name="Replace the files").click()
    expect(page.locator("#push-state")).to_contain_text("in all")
    expect(page.locator("#push-done")).to_contain_text(hub.repos["model", "alice/sample"].sha[:8])
    assert "dataset/examples.jsonl" in hub.repos["model", "alice/sample"].files


def test_somebody_elses_change_after_the_question_is_kept(opened, hub, alice):
    page, run = opened
    push_button(page).click()
    expect(page.get_by_role("button", name="Replace the files")).to_be_visible()
    repo = hub.repos["model", "alice/sample"]
    theirs = repo.commit("by somebody else", {**repo.files, "notes.txt": hub.store("notes.txt", b"mine")})
    page.get_by_role("button", name="Replace the files").click()
    expect(page.locator("#push-state")).to_contain_text("alice/sample has been changed since you looked at it; look again")
    assert repo.sha == theirs
    picture(page, "push-changed")


def test_an_error_of_the_hub_is_a_sentence_and_a_reload_still_shows_it(opened, hub, alice):
    page, run = opened
    hub.fail("POST", "/repos/create", status=402, message="Private storage needs PRO")
    page.locator("#push-name textarea, #push-name input").first.fill("other")
    push_button(page).click()
    expect(page.locator("#push-state")).to_contain_text("the Hub asks for a paid plan or credit (Private storage needs PRO)")
    page.reload()
    expect(page.locator("#push-state")).to_contain_text("Private storage needs PRO")
    expect(page.locator("#push-done")).to_contain_text("alice/sample")


def test_an_organization_can_be_chosen_and_a_strange_name_is_refused(opened, hub, alice):
    page, run = opened
    page.locator("#push-owner input").click()
    page.get_by_role("option", name="acme").click()
    page.locator("#push-name textarea, #push-name input").first.fill("la mp")
    push_button(page).click()
    expect(page.locator(".toast-body")).to_contain_text("is not a repository of the Hub")
    page.locator("#push-name textarea, #push-name input").first.fill("lamp")
    push_button(page).click()
    expect(page.locator("#push-done")).to_contain_text("acme/lamp")


def test_a_push_under_way_is_stopped_before_its_commit_and_goes_on_later(opened, hub, alice, monkeypatch):
    page, run = opened
    name, go_on = page.locator("#push-name textarea, #push-name input").first, threading.Event()
    add_artifact(run, quantize="int4")  # the Hub has no file like it yet, so it is sent
    monkeypatch.setattr(hub, "ended", go_on)
    hub.fail("PUT", "/_lfs/", stall=3600)
    page.locator("#push-owner input").click()
    page.get_by_role("option", name="alice").click()
    name.fill("stopped")
    push_button(page).click()
    expect(page.locator("#push-state")).to_contain_text("Sending sample-int4.litertlm")
    expect(push_button(page)).to_be_hidden()
    picture(page, "push-sending")
    page.locator("#push-stop").click()
    expect(page.locator("#push-state")).to_contain_text("Stopping")
    expect(page.locator("#push-stop")).to_be_disabled()
    go_on.set()
    expect(page.locator("#push-state")).to_contain_text("The push was stopped")
    expect(page.locator("#push-stop")).to_be_hidden()
    picture(page, "push-stopped")
    assert len(hub.repos["model", "alice/stopped"].commits) == 1, "the one that the Hub makes with the repository"
    push_button(page).click()
    expect(page.locator("#push-done")).to_contain_text("alice/stopped")
    assert "sample-int4.litertlm" in hub.repos["model", "alice/stopped"].files


def test_a_training_is_kept_and_comes_back(opened, hub, alice, at_alices):
    page, _ = opened
    project = project_of(page, at_alices.workspace)
    run = make_run(project, "Run 2", status="paused", steps=40)
    add_checkpoint(run, 40)
    shown(page, "Train")
    page.get_by_role("button", name="Keep a training on the Hub").click()
    page.locator("#keep-always").get_by_role("checkbox").uncheck()
    expect(page.locator("#keep-name textarea, #keep-name input").first).to_have_value("sample-training")
    page.get_by_role("button", name="Keep this training").click()
    expect(page.locator("#keep-state")).to_contain_text("Kept in alice/sample-training")
    assert hub.repos["model", "alice/sample-training"].private
    picture(page, "keep", "#keep")
    run.delete()
    page.locator("#keep-from textarea, #keep-from input").first.fill("alice/none")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.locator(".toast-body").last).to_contain_text("there is no alice/none on the Hub")
    page.locator("#keep-from textarea, #keep-from input").first.fill("alice/sample-training")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.locator("#keep-coming")).to_contain_text("It is here. Continue goes on with it.")
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_visible()
    (back,) = (one for one in project.runs() if one.status == "paused")
    assert (back.title, back.info["steps"], back.last_checkpoint.step) == ("Run 2", 40, 40)
    back.delete()


def test_the_token_is_nowhere(opened, hub, alice, at_alices):
    page, run = opened
    assert hub.leaks() == []
    assert alice not in at_alices.log_text() and alice not in page.content()
    kept = page.evaluate("JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie])")
    assert alice not in kept
    files = [file for file in at_alices.workspace.parent.rglob("*") if file.is_file()]
    assert files and not [file for file in files if alice.encode() in file.read_bytes()]


def test_without_an_account_the_panel_says_how(visitor, project):
    make_run(project)
    shown(visitor, "Export")
    expect(visitor.locator("#push-state")).to_contain_text(re.compile("This computer has no Hugging Face token. Run .?hf auth login.? in a terminal"))
    expect(push_button(visitor)).to_be_disabled()
    expect(visitor.locator("#push-owner")).to_be_hidden()
    picture(visitor, "push-nobody")
