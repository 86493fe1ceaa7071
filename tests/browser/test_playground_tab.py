"""The playground: a request goes in with Enter, the raw text and the parsed call come out."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from pipeline.model import EMBEDDED
from tests.browser.fake_runs import make_run, project_of, shown
from tests.browser.late import Late

expect.set_options(timeout=30_000)  # a busy machine is not a failure


@pytest.fixture
def playground(page, app_url) -> Page:
    page.goto(app_url)
    page.get_by_role("button", name="Open the sample").click()
    page.get_by_role("tab", name=re.compile("^Playground")).click()
    expect(page.get_by_text("No trained model yet")).to_be_visible()
    return page


SLOW = 150_000  # ms: the first answer loads torch, and the machine may be busy with other tests


def test_a_request_shows_the_raw_text_the_call_and_the_prompt(playground):
    playground.get_by_label("Request", exact=True).fill("turn on the kitchen light")
    playground.keyboard.press("Enter")
    base = playground.locator("#base-answer")
    expect(base.locator(".figures")).to_contain_text("tokens/s", timeout=SLOW)
    expect(base.locator(".cm-content")).to_contain_text(re.compile("<start_function_response>|<end_of_turn>"))
    expect(base.locator(".call, .broken").first).to_be_visible()
    playground.get_by_text("The prompt, token by token").click()
    expect(playground.locator(".tokens")).to_contain_text("turn on the kitchen light")
    expect(playground.locator(".tokens .tok.ctl").first).to_be_visible()


def test_a_suggestion_is_sent_with_one_click(playground):
    chip = playground.locator(".chips button").first
    request = chip.inner_text()
    chip.click()
    expect(playground.get_by_label("Request", exact=True)).to_have_value(request)
    expect(playground.locator("#base-answer .figures")).to_be_visible(timeout=SLOW)


def test_an_empty_request_is_a_sentence(playground):
    playground.get_by_role("button", name="Send", exact=True).click()
    expect(playground.locator(".toast-body, [data-testid=toast-body]").first).to_contain_text("Type a request first")


def test_a_corrected_answer_becomes_an_example(playground):
    playground.get_by_label("Request", exact=True).fill("<i>hello</i> & good day")
    playground.keyboard.press("Enter")
    expect(playground.locator("#base-answer .figures")).to_be_visible(timeout=SLOW)
    playground.locator(".cm-content[contenteditable=true]").last.fill("[]")
    playground.get_by_label("Answer in words, where no tool fits").last.fill("Good day.")
    playground.get_by_role("button", name="Add to the dataset").click()
    expect(playground.get_by_text("Added as row 301")).to_be_visible()
    expect(playground.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("301 examples")


def test_base_and_tuned_answer_side_by_side(playground, app):
    """The run's model here is the base once more: what counts is that both are asked and both are shown."""
    run = make_run(project_of(playground, app.workspace))
    shutil.rmtree(run.model_path)
    shutil.copytree(EMBEDDED, run.model_path)
    shown(playground, "Playground")
    playground.get_by_label("Request", exact=True).fill("turn on the kitchen light")
    playground.keyboard.press("Enter")
    for side in ("#base-answer", "#tuned-answer"):
        expect(playground.locator(f"{side} .figures")).to_be_visible(timeout=SLOW)
        expect(playground.locator(f"{side} .cm-content")).to_contain_text("<")
    assert playground.locator("#base-answer .cm-content").inner_text() == playground.locator("#tuned-answer .cm-content").inner_text()
    expect(playground.get_by_role("button", name="Next: export a file")).to_be_visible()


def test_an_answer_that_comes_late_does_not_undo_the_choice_of_a_model(playground, app):
    project = project_of(playground, app.workspace)
    make_run(project), make_run(project, "Run 2")
    shown(playground, "Playground")
    chosen = playground.locator("#talk-run input")
    expect(chosen).to_have_value("Run 2")
    late = Late(playground, app.url, "talk-run")
    shown(playground, "Playground")
    late.wait()
    chosen.click()
    playground.get_by_role("option", name="Run 1").click()
    expect(chosen).to_have_value("Run 1")
    with playground.expect_response(late.asked_again):
        late.come()
    expect(chosen).to_have_value("Run 1")


def test_an_answer_that_came_before_the_page_was_shown_stays(page, app):
    page.goto(app.url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    late = Late(page, app.url, "talk-run")
    page.get_by_role("tab", name=re.compile("^Playground")).click()
    late.wait()
    page.get_by_label("Request", exact=True).fill("turn on the kitchen light")
    page.keyboard.press("Enter")
    figures = page.locator("#base-answer .figures")
    expect(figures).to_be_visible(timeout=SLOW)
    with page.expect_response(late.asked_again):
        late.come()
    expect(figures).to_be_visible()
    expect(page.get_by_label("Request", exact=True)).to_have_value("turn on the kitchen light")


def test_the_exported_file_can_be_asked_instead_of_the_checkpoint(playground, app, exported_run):
    """Its raw text tells them apart: LiteRT-LM does not hand over the token that it stopped at."""
    project = project_of(playground, app.workspace)
    shutil.copytree(exported_run.path, project.path / "runs" / "abcdef12", ignore=shutil.ignore_patterns(".cache"))
    shown(playground, "Playground")
    request, text = playground.get_by_label("Request", exact=True).first, playground.locator("#tuned-answer .cm-content")
    request.fill("make it red")
    request.press("Enter")
    expect(text).to_contain_text("<end_function_call><start_function_response>", timeout=SLOW)
    playground.get_by_label("Ask the exported file").check()
    request.press("Enter")
    expect(text).to_have_text(re.compile("<end_function_call>$"), timeout=SLOW)
    expect(playground.locator("#tuned-answer .figures")).to_contain_text("s to the first token")
