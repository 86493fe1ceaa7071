"""Training as a new user meets it: one button, one sentence; what happened is found again; a failure says why."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pipeline.config import TrainConfig
from tests.browser.fake_runs import EVIL, add_checkpoint, make_run, project_of, shown
from tests.browser.late import Late


@pytest.fixture
def train(visitor, project) -> Page:
    """The train step without a run."""
    visitor.set_viewport_size({"width": 1280, "height": 900})
    shown(visitor, "Train")
    expect(visitor.locator("#train-runs li")).to_have_count(0)  # the page has read the disk, before this test puts runs there
    expect(visitor.locator("#train-run")).to_be_hidden()
    expect(visitor.locator("#train-plan")).to_contain_text(" steps over ")
    return visitor


WAIT = 240_000  # milliseconds; loading the libraries alone takes 10 s on two free cores


def open_advanced(page: Page) -> None:
    if not page.locator("#train-learning_rate").is_visible():
        page.get_by_role("button", name="Advanced").click()


def fill(page: Page, option: str, value: str) -> None:
    page.locator(f"#train-{option}").get_by_role("textbox").fill(value)


def test_one_button_and_one_sentence(train):
    expect(train.locator("#train-plan")).to_contain_text(re.compile(r"\d+ steps over 270 examples"))
    expect(train.locator("#train-start")).to_have_text("Train")
    expect(train.locator("#train-learning_rate")).to_be_hidden()
    expect(train.locator("#train-run")).to_be_hidden()


def test_a_preset_changes_the_steps(train):
    standard = int(re.search(r"(\d+) steps", train.locator("#train-plan").inner_text())[1])
    train.get_by_label("Quick check").check()
    expect(train.locator("#train-plan")).not_to_contain_text(f"{standard} steps")
    quick = int(re.search(r"(\d+) steps", train.locator("#train-plan").inner_text())[1])
    assert quick < standard


def test_every_option_is_there_under_its_hugging_face_name_and_shows_in_the_command(train):
    open_advanced(train)
    for option in TrainConfig.options():
        expect(train.locator(f"#train-{option.name}")).to_be_visible()
        expect(train.locator(f"#train-{option.name}")).to_contain_text(option.name)
    fill(train, "max_steps", "7")
    expect(train.locator("#train-plan")).to_contain_text("7 steps")
    train.get_by_role("button", name="The same as a command").click()
    expect(train.locator("#train-command")).to_contain_text("--max-steps 7")
    fill(train, "max_steps", "")


def test_a_value_out_of_bounds_is_told_before_anything_starts(train):
    open_advanced(train)
    fill(train, "learning_rate", "9")
    expect(train.locator("#train-plan")).to_contain_text("--learning-rate must be at most 1, found 9")
    expect(train.locator("#train-start")).to_be_disabled()
    fill(train, "learning_rate", "")
    expect(train.locator("#train-start")).to_be_enabled()


def test_a_finished_run_shows_its_curve_its_answers_and_the_next_step(train, project):
    run = make_run(project)
    shown(train, "Train")
    expect(train.locator("#train-state")).to_contain_text("Run 1: trained")
    expect(train.locator("#train-facts")).to_contain_text("90 of 90")
    expect(train.locator("#train-loss canvas, #train-loss svg").first).to_be_visible()
    answers = train.locator("#train-answers article")
    expect(answers).to_have_count(5)
    expect(answers.first).to_contain_text("as wanted")
    expect(answers.first).to_contain_text(run.samples()[0].request)
    train.locator("#train-next").click()
    expect(train.locator("#evaluate-start")).to_be_visible()


def test_a_stopped_run_offers_to_go_on_or_to_start_over(train, project):
    run = make_run(project, status="paused", steps=40)
    add_checkpoint(run, 40)
    shown(train, "Train")
    expect(train.locator("#train-state")).to_contain_text("stopped at step 40 of 90")
    expect(train.locator("#train-continue")).to_have_text("Continue")
    expect(train.locator("#train-over")).to_be_visible()
    expect(train.locator("#train-stop")).to_be_hidden()


def test_a_failed_run_says_why_with_its_log_one_click_away(train, project):
    make_run(project, status="failed", steps=20, error=f"Memory ran out; lower --max-tokens. {EVIL}")
    shown(train, "Train")
    expect(train.locator("#train-state")).to_contain_text("Memory ran out; lower --max-tokens.")
    expect(train.locator("#train-log")).to_be_hidden()
    train.get_by_role("button", name=re.compile("^Log")).click()
    expect(train.locator("#train-log")).to_contain_text("MemoryError")


def test_text_of_strangers_is_shown_and_never_run(train, project):
    make_run(project, title=EVIL, status="failed", steps=30, error=EVIL)
    shown(train, "Train")
    expect(train.locator("#train-answers")).to_contain_text(EVIL)
    expect(train.locator("#train-runs")).to_contain_text(EVIL)
    assert train.locator("#train-run img, #train-runs img, #train-answers b:text('bold')").count() == 0
    assert train.title() == "FunctionGemma Studio"


def test_earlier_runs_are_opened_and_deleted(train, project):
    make_run(project)
    make_run(project, "Run 2", status="paused", steps=10)
    shown(train, "Train")
    expect(train.locator("#train-state")).to_contain_text("Run 2")
    train.locator("#train-runs").get_by_role("button", name=re.compile("^Run 1")).click()
    expect(train.locator("#train-state")).to_contain_text("Run 1: trained")
    train.once("dialog", lambda dialog: dialog.accept())
    train.get_by_role("button", name="Delete Run 2").click()
    expect(train.locator("#train-runs li")).to_have_count(1)
    assert [run.title for run in project.runs()] == ["Run 1"]


def test_a_button_acts_on_the_run_that_it_stands_beside(page, app):
    """Another run was chosen, and what the page knows of it is still on its way."""
    page.goto(app.url)
    page.get_by_role("button", name="Open the sample").click()
    project = project_of(page, app.workspace)
    runs = [make_run(project, title, status="paused", steps=40) for title in ("Run 1", "Run 2")]
    for run in runs:
        add_checkpoint(run, 40)
    page.get_by_role("tab", name=re.compile("^Train")).click()
    expect(page.locator("#train-state")).to_contain_text("Run 2: stopped at step 40")
    late = Late(page, app.url, "train-state")
    page.locator("#train-runs").get_by_role("button", name=re.compile("^Run 1")).click()
    late.wait()
    page.route("**/gradio_api/queue/join**", lambda route: route.abort())
    with page.expect_request("**/gradio_api/queue/join**") as asked:
        page.locator("#train-continue").click()
    assert runs[1].id in asked.value.post_data_json["data"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_one_column(train, project, scheme):
    make_run(project, status="failed", steps=30, error="x" * 200)
    train.set_viewport_size({"width": 390, "height": 844})
    train.emulate_media(color_scheme=scheme)
    shown(train, "Train")
    expect(train.locator("#train-answers article")).to_have_count(5)
    assert train.evaluate("document.documentElement.scrollWidth") <= 390
    train.emulate_media(color_scheme="light")


@pytest.mark.slow
def test_a_training_is_followed_found_again_stopped_and_gone_on_with(train, project):
    train.get_by_label("Thorough").check()
    expect(train.locator("#train-plan")).to_contain_text("steps")
    train.locator("#train-start").click()
    expect(train.locator("#train-stop")).to_be_visible()
    expect(train.locator("#train-setup")).to_be_hidden()
    expect(train.locator("#train-facts")).to_contain_text(re.compile("[1-9][0-9]* of [0-9]+"), timeout=WAIT)
    train.reload()
    train.get_by_role("tab", name=re.compile("^Train")).click()
    expect(train.locator("#train-facts")).to_contain_text("Time left")
    train.locator("#train-stop").click()
    expect(train.locator("#train-state")).to_contain_text("stopped at step", timeout=WAIT)
    (run,) = project.runs()
    assert run.status == "paused" and run.checkpoints()
    expect(train.get_by_role("tab", name=re.compile("^Train"))).to_contain_text("paused")
    train.locator("#train-continue").click()
    expect(train.locator("#train-stop")).to_be_visible()
    train.locator("#train-stop").click()
    train.get_by_role("button", name="Stop now").click()
    expect(train.locator("#train-continue")).to_be_visible(timeout=WAIT)
    assert not run.is_alive
