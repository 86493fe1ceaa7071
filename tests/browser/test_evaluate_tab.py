"""The evaluation as it is read: one large line, tables, rows with what differs marked, a filter."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pipeline.scores import compare
from tests.browser.fake_runs import EVIL, add_failed_job, add_report, make_run, shown
from tests.browser.late import Late


@pytest.fixture
def evaluate(visitor, project) -> Page:
    """The evaluate step of a project whose run is evaluated: the base 10 %, the tuned model 85 % of the rows."""
    visitor.set_viewport_size({"width": 1280, "height": 900})
    run = make_run(project)
    visitor.reports = [add_report(run, "base", 0.1), add_report(run, "tuned", 0.85)]
    shown(visitor, "Evaluate")
    expect(visitor.locator("#evaluate-score")).to_contain_text("exact match")
    return visitor


def test_an_exported_file_stands_beside_the_model(evaluate, project):
    (run,) = project.runs()
    report = add_report(run, "litertlm", 0.6, model="sample-int8.litertlm")
    change = compare(evaluate.reports[1], report)
    shown(evaluate, "Evaluate")
    row = evaluate.locator("#evaluate-score tr", has_text="sample-int8.litertlm")
    expect(row).to_contain_text(percent(report.exact_match))
    expect(row).to_contain_text(f"{len(change.gained)} became right, {len(change.lost)} wrong")


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def test_without_a_trained_run_it_says_what_is_missing_and_leads_there(visitor, project):
    shown(visitor, "Evaluate")
    expect(visitor.locator("#evaluate-empty")).to_contain_text("Train one first")
    visitor.locator("#evaluate-to-train").click()
    expect(visitor.locator("#train-start")).to_be_visible()


def test_before_an_evaluation_one_button_says_what_it_will_do(visitor, project):
    make_run(project)
    shown(visitor, "Evaluate")
    expect(visitor.locator("#evaluate-state")).to_contain_text("Both models answer the 30 held-out requests")
    expect(visitor.locator("#evaluate-start")).to_have_text("Evaluate")
    expect(visitor.locator("#evaluate-next")).to_be_hidden()


def test_one_large_line_from_base_to_tuned_with_intervals_and_words(evaluate):
    base, tuned = evaluate.reports
    line = evaluate.locator("#evaluate-score .big")
    low, high = tuned.intervals["exact_match"]
    expect(line).to_contain_text(re.compile(f"{percent(base.exact_match)}.*→.*{percent(tuned.exact_match)}.*{percent(low)}-{percent(high)}"))
    words = evaluate.locator("#evaluate-score .means")
    expect(words).to_contain_text(f"Of 30 requests that training never saw, the tuned model answers {tuned.verdicts['correct']} exactly")
    expect(words).to_contain_text("more than luck")


def test_tables_add_up_to_the_rows(evaluate):
    tables = evaluate.locator("#evaluate-tables table")
    expect(tables).to_have_count(2)
    counts = [int(cell) for cell in tables.nth(1).locator("tbody tr td:last-child").all_inner_texts()]
    assert sum(counts) == 30
    cells = evaluate.locator("#evaluate-confusion td").all_inner_texts()
    assert sum(int(cell) for cell in cells) == 30


def test_failures_come_first_and_the_filter_narrows(evaluate):
    base, tuned = evaluate.reports
    rows = evaluate.locator("#evaluate-rows tbody tr")
    expect(rows).to_have_count(30)
    wrong = 30 - tuned.verdicts["correct"]
    more = evaluate.locator("#evaluate-rows summary")
    expect(more).to_have_text("20 more rows")
    expect(rows.last).to_be_hidden()
    more.click()
    expect(rows.last).to_be_visible()
    verdicts = rows.locator("td:last-child > div").all_inner_texts()
    assert [text == "right" for text in verdicts] == [False] * wrong + [True] * (30 - wrong)
    evaluate.get_by_label("Became right").check()
    expect(rows).to_have_count(len(compare(base, tuned).gained))
    evaluate.get_by_label("Wrong", exact=True).check()
    expect(rows).to_have_count(wrong)
    evaluate.get_by_label("All, failures first").check()
    expect(rows).to_have_count(30)


def test_a_choice_made_while_an_answer_is_on_its_way_stays(evaluate, project, app_url):
    rows, picker = evaluate.locator("#evaluate-rows tbody tr"), evaluate.locator("#evaluate-run input")
    other = make_run(project, "Run 2")
    reports = [add_report(other, "base", 0.2), add_report(other, "tuned", 0.5)]
    shown(evaluate, "Evaluate")
    expect(picker).to_have_value("Run 1")
    late = Late(evaluate, app_url, writes="evaluate-run")
    shown(evaluate, "Evaluate")
    late.wait()
    picker.click()
    evaluate.get_by_role("option", name="Run 2").click()
    evaluate.get_by_label("Wrong", exact=True).check()
    late.come()
    expect(evaluate.locator("#evaluate-score .big")).to_contain_text(percent(reports[1].exact_match))
    expect(rows).to_have_count(30 - reports[1].verdicts["correct"])
    expect(picker).to_have_value("Run 2")
    expect(evaluate.get_by_label("Wrong", exact=True)).to_be_checked()
    evaluate.get_by_label("All, failures first").check()


def test_what_differs_is_marked_and_text_of_strangers_is_only_text(evaluate):
    expect(evaluate.locator("#evaluate-rows mark").first).to_be_visible()
    expect(evaluate.locator("#evaluate-rows")).to_contain_text(EVIL)
    assert evaluate.locator("#evaluate-rows img").count() == 0
    assert evaluate.title() == "FunctionGemma Studio"


def test_the_next_step_is_the_export(evaluate):
    evaluate.locator("#evaluate-next").click()
    expect(evaluate.locator("#export-litertlm-make")).to_be_visible()


def test_a_failed_evaluation_says_why(visitor, project):
    run = make_run(project)
    add_failed_job(run, "evaluate", ["evaluate", "RUN", "--on", "base"], "The base model is missing; restore it.")
    shown(visitor, "Evaluate")
    expect(visitor.locator("#evaluate-state")).to_contain_text("The base model is missing; restore it.")
    expect(visitor.locator("#evaluate-start")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_only_the_tables_scroll(evaluate, scheme):
    evaluate.set_viewport_size({"width": 390, "height": 844})
    evaluate.emulate_media(color_scheme=scheme)
    expect(evaluate.locator("#evaluate-rows tbody tr").first).to_be_visible()
    assert evaluate.evaluate("document.documentElement.scrollWidth") <= 390
    evaluate.emulate_media(color_scheme="light")
