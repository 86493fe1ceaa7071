"""Export as a new user meets it: a card a destination, a file only when it passed, a download that is the file."""

from __future__ import annotations

import hashlib
import re

import pytest
from playwright.sync_api import Page, expect

from pipeline.ui.destinations import DESTINATIONS
from tests.browser.fake_runs import EVIL, add_artifact, add_failed_job, make_run, shown


@pytest.fixture
def run(project):
    return make_run(project)


@pytest.fixture
def export(visitor, run) -> Page:
    """The export step of a project with a trained run and no file yet."""
    visitor.set_viewport_size({"width": 1280, "height": 900})
    shown(visitor, "Export")
    expect(visitor.locator("#export-litertlm-make")).to_be_visible()
    return visitor


def test_without_a_trained_run_it_says_what_is_missing_and_leads_there(visitor, project):
    shown(visitor, "Export")
    expect(visitor.locator("#export-empty")).to_contain_text("Train one first")
    expect(visitor.locator("#export-cards")).to_be_hidden()


def test_a_card_for_every_destination_with_its_size(export):
    for each in DESTINATIONS:
        card = export.locator(f"#export-{each.format}")
        expect(card).to_contain_text(each.title)
        expect(card).to_contain_text(re.compile(r"About \d"))
        expect(export.locator(f"#export-{each.format}-download")).to_be_hidden()


def test_a_file_that_passed_is_offered_with_its_check_and_the_download_is_that_file(export, run):
    file = add_artifact(run)
    shown(export, "Export")
    card = export.locator("#export-litertlm")
    expect(card).to_contain_text("20 of 20 answers identical to the model's, 9.1 MB")
    expect(card).to_contain_text(hashlib.sha256(file.read_bytes()).hexdigest())
    with export.expect_download() as info:
        export.locator("#export-litertlm-download").click()
    assert info.value.suggested_filename == file.name
    assert info.value.path().read_bytes() == file.read_bytes()
    card.get_by_role("button", name=re.compile("How to load it")).click()
    expect(card.locator(".cm-content")).to_contain_text(file.name)


def test_answers_that_differ_are_shown_and_not_hidden(export, run):
    add_artifact(run, identical=19)
    shown(export, "Export")
    card = export.locator("#export-litertlm")
    expect(card).to_contain_text("19 of 20 answers identical")
    card.get_by_text("1 answer differs").click()
    expect(card.get_by_role("table")).to_contain_text(EVIL)
    assert export.locator("#export-cards img").count() == 0 and export.title() == "FunctionGemma Studio"


def test_a_file_that_failed_its_check_is_not_offered_and_says_why(export, run):
    words = ["export", str(run.path), "--format", "task", "--quantize", "int8"]
    add_failed_job(run, "export", words, "sample-int8.task did not pass: 4 of 20 answers differ.")
    shown(export, "Export")
    expect(export.locator("#export-task-state")).to_contain_text("4 of 20 answers differ")
    expect(export.locator("#export-task-download")).to_be_hidden()
    expect(export.locator("#export-task-make")).to_be_enabled()


def test_another_number_format_is_another_file(export, run):
    add_artifact(run)
    shown(export, "Export")
    expect(export.locator("#export-litertlm-make")).to_be_hidden()
    export.locator("#export-litertlm-quantize input").click()
    export.get_by_role("option", name=re.compile("^4 bit")).click()
    expect(export.locator("#export-litertlm-make")).to_be_visible()
    expect(export.locator("#export-litertlm-download")).to_be_hidden()
    export.locator("#export-litertlm-quantize input").click()
    export.get_by_role("option", name=re.compile("^8 bit")).click()
    expect(export.locator("#export-litertlm-download")).to_be_visible()


def test_the_model_card_can_be_read_and_taken_along(export, run):
    add_artifact(run)
    shown(export, "Export")
    export.get_by_role("button", name=re.compile("^Model card")).click()
    expect(export.locator("#export-card-part")).to_contain_text(EVIL)
    with export.expect_download() as info:
        export.locator("#export-card-download").click()
    assert info.value.suggested_filename == "README.md"


def test_a_foreign_file_is_looked_into_and_refused_in_a_sentence(export, tmp_path):
    export.get_by_role("button", name=re.compile("^Look into a file")).click()
    broken = tmp_path / "broken.litertlm"
    broken.write_bytes(b"no such thing")
    export.locator("#export-inspect input[type=file]").set_input_files(broken)
    expect(export.locator("#export-inspect-found")).to_contain_text("This is none of .litertlm, .task, .tflite and .gguf")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_one_column(export, run, scheme):
    add_artifact(run, identical=18)
    export.set_viewport_size({"width": 390, "height": 844})
    export.emulate_media(color_scheme=scheme)
    shown(export, "Export")
    expect(export.locator("#export-litertlm-download")).to_be_visible()
    assert export.evaluate("document.documentElement.scrollWidth") <= 390
    export.emulate_media(color_scheme="light")
