"""Export as a new user meets it: a card a destination, a file only when it passed, a download that is the file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, expect

from pipeline.ui import jobs
from pipeline.ui.destinations import DESTINATIONS
from tests.browser.fake_runs import EVIL, add_artifact, add_failed_job, add_job, add_report, make_run, shown


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
    expect(export.locator("#export-adapter")).to_be_hidden()
    expect(export.locator("#export-without")).to_contain_text("A LoRA adapter alone comes from a training with the method lora")
    for each in DESTINATIONS[:-1]:
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
    expect(card).to_contain_text("prompts are read 256 tokens at a time (2 pieces)")
    card.get_by_role("button", name=re.compile("How to load it")).click()
    expect(card.locator(".cm-content")).to_contain_text(file.name)
    card.get_by_role("button", name=re.compile("Where it runs")).click()
    places = card.locator("#export-litertlm-places")
    expect(places).to_contain_text("LiteRT-LM 0.18.1 on Linux, CPU: 20 of 20 held-out requests")
    for link in places.get_by_role("link").all():
        assert link.get_attribute("href").startswith("https://") and link.get_attribute("rel") == "noopener noreferrer"


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


def test_the_model_card_can_be_read_and_is_as_new_as_the_scores(export, run):
    add_artifact(run)
    shown(export, "Export")
    export.get_by_role("button", name=re.compile("^Model card")).click()
    expect(export.locator("#export-card-part")).to_contain_text("# Run 1")
    add_report(run, "tuned", 0.9)
    run.rename("Another name")
    shown(export, "Export")
    expect(export.locator("#export-card-part")).to_contain_text("# Another name")  # what is further down is not in the page yet
    with export.expect_download() as info:
        export.locator("#export-card-download").click()
    assert info.value.suggested_filename == "README.md" and "| tuned model |" in info.value.path().read_text("utf-8")


def test_a_file_is_scored_where_it_can_be_run(export, run):
    file = add_artifact(run)
    shown(export, "Export")
    expect(export.locator("#export-litertlm-score")).to_be_visible()
    add_report(run, "tuned", 1.0)
    add_report(run, "litertlm", 1.0, model=file.name)
    shown(export, "Export")
    expect(export.locator("#export-litertlm-state")).to_contain_text("100% exactly right on 30 held-out rows")
    expect(export.locator("#export-litertlm-state")).to_contain_text("The model itself: 100%.")
    expect(export.locator("#export-litertlm-score")).to_be_hidden()


def test_earlier_exports_stay_to_be_seen(export, run):
    words = ["export", str(run.path), "--format", "gguf", "--quantize"]
    add_failed_job(run, "export", [*words, "q4_0"], f"It did not pass: {EVIL}")
    result = {"artifacts": [{"size": 9_100_000, "answers_identical": 19, "answers_total": 20}]}
    add_job(run, "export", [*words, "q8_0"], jobs.DONE, result=result)
    shown(export, "Export")
    export.get_by_role("button", name=re.compile("^Earlier exports")).click()
    table = export.locator("#export-history")
    expect(table).to_contain_text("9.1 MB, 19 of 20 answers identical")
    expect(table).to_contain_text(EVIL)
    assert table.locator("img").count() == 0


def test_a_lora_run_offers_its_adapter(visitor, project):
    run = make_run(project, method="lora")
    shown(visitor, "Export")
    expect(visitor.locator("#export-adapter")).to_contain_text("About 600 kB")
    expect(visitor.locator("#export-without")).to_be_empty()
    folder = add_artifact(run, "adapter", "float32")
    shown(visitor, "Export")
    expect(visitor.locator("#export-adapter-download")).to_be_visible()
    expect(visitor.locator("#export-adapter-score")).to_be_hidden()
    visitor.locator("#export-adapter").get_by_role("button", name=re.compile("How to load it")).click()
    expect(visitor.locator("#export-adapter .cm-content")).to_contain_text("PeftModel.from_pretrained")
    with visitor.expect_download() as info:
        visitor.locator("#export-adapter-download").click()
    assert info.value.suggested_filename == f"{folder.name}.zip"
    assert {"README.md", "SHA256SUMS", "tools.json"} <= {Path(name).name for name in ZipFile(info.value.path()).namelist()}


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
