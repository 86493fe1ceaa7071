"""The page around the steps, as a new visitor meets it: first page, projects, address, reload, restart, small screens, keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.late import Late

expect.set_options(timeout=30_000)  # a busy machine is not a failure

STEPS = ("Dataset", "Train", "Evaluate", "Playground", "Export")


def open_sample(page: Page, app_url: str) -> None:
    page.goto(app_url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("5 tools, 300 examples")


def test_a_new_visitor_gets_to_the_sample_with_one_click(page, app_url):
    open_sample(page, app_url)
    for step in STEPS:
        expect(page.get_by_role("tab", name=re.compile(f"^{step}"))).to_be_visible()
    expect(page.get_by_role("button", name="Next: train a model")).to_be_enabled()


def test_nothing_is_lost_on_reload_and_the_step_is_the_same(page, app_url):
    open_sample(page, app_url)
    page.get_by_role("tab", name=re.compile("^Playground")).click()
    expect(page.get_by_label("Request", exact=True)).to_be_visible()
    page.wait_for_url(re.compile(r"tab=playground"))
    page.reload()
    expect(page.get_by_label("Request", exact=True)).to_be_visible()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")


def test_a_new_tab_of_the_same_browser_finds_the_project(page, app_url):
    open_sample(page, app_url)
    page.wait_for_url(re.compile(r"project=[0-9a-f]+"))
    other = page.context.new_page()
    other.goto(app_url)
    expect(other.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")


def test_a_stranger_with_the_address_sees_their_own_first_page(page, app_url, browser):
    open_sample(page, app_url)
    page.wait_for_url(re.compile(r"project=[0-9a-f]+"))
    context = browser.new_context()
    stranger = context.new_page()
    stranger.goto(page.url)
    expect(stranger.get_by_role("button", name="Open the sample")).to_be_visible()
    context.close()


def test_projects_are_listed_renamed_and_deleted(page, app_url):
    open_sample(page, app_url)
    page.get_by_role("button", name="All projects").click()
    expect(page.get_by_text("Your projects")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept("My <b>house</b>"))
    page.get_by_role("button", name="Rename Sample").click()
    page.get_by_role("button", name="My <b>house</b>", exact=True).click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    page.get_by_role("button", name="All projects").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete My <b>house</b>").click()
    expect(page.get_by_text("Your projects")).to_have_count(0)


def test_an_answer_that_comes_late_does_not_undo_the_choice_of_a_project(page, app_url):
    open_sample(page, app_url)
    page.get_by_role("button", name="All projects").click()
    page.get_by_role("button", name="Start with my functions").click()
    project = page.locator("#project input")
    expect(project).to_have_value("My functions")
    expect(page.get_by_text("No tools yet")).to_be_visible()
    late = Late(page, app_url, "project")
    page.get_by_role("tab", name=re.compile("^Train")).click()
    late.wait()
    project.click()
    page.get_by_role("option", name="Sample").click()
    expect(project).to_have_value("Sample")
    late.come()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    expect(project).to_have_value("Sample")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(page, app_url, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    open_sample(page, app_url)
    for step in STEPS:
        page.get_by_role("tab", name=re.compile(f"^{step}")).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, step


def test_a_row_is_opened_by_keyboard(page, app_url):
    open_sample(page, app_url)
    page.locator("[data-pick='row:0']").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("What the model reads")).to_be_visible()


def test_a_restart_of_the_server_loses_nothing(page, app_url, app):
    open_sample(page, app_url)
    page.wait_for_url(re.compile(r"project=[0-9a-f]+"))
    app.stop()
    app.start()
    page.goto(page.url)
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")


def test_the_log_holds_no_warning_and_no_traceback(page, app_url, app):
    """Comes late in this file: what the pages above did is in the log, too."""
    open_sample(page, app_url)
    log = app.log_text()
    assert "Traceback" not in log
    assert "Warning" not in log
