"""What a card of the export step shows: the file that its choices name, where that runs, what became of earlier ones; nothing executable."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.export import FOLDERS, FORMATS, Artifact
from pipeline.ui import export_cards, export_view, jobs
from pipeline.ui.destinations import DESTINATIONS

EVIL = '<img src=x onerror="alert(1)"> & `<b>`'
BY_FORMAT = {each.format: each for each in DESTINATIONS}


def made(format: str, quantize: str = "int8", **details) -> Artifact:
    return Artifact(format, f"/somewhere/app-{quantize}.{format}", 1, "ab", True, 20, 20, 9.0, {"quantize": quantize} | details)


def job(status: str, *options: str, **more) -> jobs.Job:
    args = ("export", "/somewhere/run", "--format", *options)
    now = time.time()
    return jobs.Job("id", "export", "s", "/somewhere/run", args, "Making it", status, now, started=now - 400, ended=now - 100, **more)


@pytest.mark.parametrize(
    ("format", "chosen", "wrap", "words"),
    [
        ("litertlm", "int4", True, ("--format", "litertlm", "--quantize", "int4")),
        ("task", "int8", True, ("--format", "task", "--quantize", "int8", "--wrap-turns", "true")),
        ("task", "int8", "yes", ("--format", "task", "--quantize", "int8")),
        ("gguf", "rm -rf", False, ("--format", "gguf", "--quantize", "q8_0")),
        ("merged", "", False, ("--format", "merged")),
        ("adapter", None, False, ("--format", "adapter")),
    ],
)
def test_a_card_asks_for_what_is_chosen_on_it(format, chosen, wrap, words):
    assert export_cards.words(BY_FORMAT[format], chosen, wrap) == words


def test_every_number_format_can_be_chosen():
    offered = {name for each in DESTINATIONS for _, name in each.quantize}
    assert offered == {"int8", "int4", "float32", "q8_0", "q4_0", "float16", ""}
    assert set(BY_FORMAT) == set(FORMATS), "the page makes what the command line makes; the app kit has a panel of its own"


def test_a_card_shows_the_newest_file_of_what_is_chosen():
    files = [made("litertlm"), made("litertlm", "int4"), made("task"), made("task", wrap_turns=True), made("litertlm")]
    each = BY_FORMAT["litertlm"]
    assert export_cards.file_of(files, each, export_cards.words(each, "int8", False)) is files[4]
    assert export_cards.file_of(files, each, export_cards.words(each, "int4", False)) is files[1]
    assert export_cards.file_of(files, each, export_cards.words(each, "float32", False)) is None
    task = BY_FORMAT["task"]
    assert export_cards.file_of(files, task, export_cards.words(task, "int8", False)) is files[2]
    assert export_cards.file_of(files, task, export_cards.words(task, "int8", True)) is files[3]


def test_a_folder_with_a_newer_card_is_handed_out_anew(tmp_path):
    for format in FOLDERS:
        folder = tmp_path / format
        folder.mkdir()
        artifact = Artifact(format, str(folder), 1, "ab", True, 20, 20, 9.0, {})
        before = export_cards._mark(artifact)
        (folder / "README.md").write_text("new", "utf-8")
        assert export_cards._mark(artifact) != before == "ab"


@pytest.mark.parametrize("format", FORMATS)
def test_where_it_runs_is_words_and_links_to_their_sources(format):
    html = export_view.places(made(format, base_model_name_or_path=EVIL, stop_tokens=["<eos>"], checked_with=EVIL))
    assert "<img" not in html and "<b>" not in html and html.count("<details open>") == 1
    for address in (part.split('"')[0] for part in html.split('href="')[1:]):
        assert address.startswith("https://")
    assert html.count("<a ") == html.count('rel="noopener noreferrer"') > 0 and "measured here" in html
    if format == "litertlm":
        assert "<code>&lt;eos&gt;</code>" in html


def test_lengths_and_warnings_stand_with_the_check():
    html = export_view.made(made("litertlm", lengths="The longest prompt has 300 tokens.", warnings=[EVIL]))
    assert "The longest prompt has 300 tokens." in html and "<img" not in html and "&lt;img" in html


def test_earlier_exports_say_what_became_of_them():
    files = [{"size": 9_100_000, "answers_identical": 19, "answers_total": 20}]
    html = export_view.history([
        job(jobs.DONE, "litertlm", "--quantize", "int8", result={"artifacts": files}),
        job(jobs.FAILED, "task", "--quantize", "int8", "--wrap-turns", "true", error=EVIL),
        job(jobs.CANCELLED, "gguf", "--quantize", EVIL),
        job(jobs.DONE, "merged", result={}),
    ])  # fmt: skip
    for words in ("9.1 MB, 19 of 20 answers identical", "with turns", "stopped", "Android, iOS, desktop", "2 min ago", "5 min"):
        assert words in html
    assert "<img" not in html
    assert export_view.history([]) == ""


def test_no_card_names_a_place_on_this_machine():
    assert not any("/somewhere" in export_view.places(made(format)) for format in FORMATS)
    assert "/somewhere" not in export_view.history([job(jobs.DONE, "merged", result={"artifacts": [{"path": str(Path("/somewhere"))}]})])
