"""The first step as somebody uses it who brings functions and examples of their own."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.late import Late

expect.set_options(timeout=30_000)  # a busy machine is not a failure

TOOLS = [
    {
        "name": "set_light",
        "description": "Turns a lamp on or off.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}, "brightness": {"type": "integer"}},
            "required": ["room", "on"],
        },
    },
    {
        "name": "start_timer",
        "description": "Starts a timer.",
        "parameters": {"type": "object", "properties": {"minutes": {"type": "number"}, "label": {"type": "string"}}, "required": ["minutes"]},
    },
]


@pytest.fixture
def own(page, app_url) -> Page:
    """An empty project of one's own."""
    page.goto(app_url)
    page.get_by_role("button", name="Start with my functions").click()
    expect(page.get_by_text("No tools yet")).to_be_visible()
    return page


def choose(page: Page, label: str, path) -> None:
    page.locator(f".block:has(label:has-text('{label}')) input[type=file]").first.set_input_files(str(path))
    expect(page.locator(f"td[aria-label={json.dumps(path.name)}]")).to_be_visible()


def paste_tools(page: Page) -> None:
    page.get_by_label("Or paste them").fill(json.dumps(TOOLS))


def test_pasted_tools_and_a_csv_become_a_dataset(own, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('user_message,tool_calls\nkitchen lights on,"[{""name"": ""set_light"", ""args"": {""room"": ""kitchen"", ""on"": true}}]"\n'
                    '"ten minutes, pasta","[{""name"": ""start_timer"", ""args"": {""minutes"": 10, ""label"": ""pasta""}}]"\n')  # fmt: skip
    paste_tools(own)
    choose(own, "File with examples", file)
    own.get_by_role("button", name="Import these").click()
    expect(own.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("2 tools, 2 examples")
    expect(own.locator(".facts")).to_contain_text("rows read")
    expect(own.get_by_text('start_timer(minutes=10, label="pasta")')).to_be_visible()


def test_a_real_file_with_its_tools_file(own, shared):
    choose(own, "File with tools", shared / "data" / "flutter_gemma_tools.json")
    choose(own, "File with examples", shared / "data" / "flutter_gemma_training_data.jsonl")
    own.get_by_role("button", name="Import these").click()
    expect(own.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("3 tools, 320 examples")


@pytest.mark.parametrize("name", ["flutter_guide.jsonl", "skill.csv", "tuning_lab.csv", "mobile_actions.jsonl", "trl.jsonl"])
def test_the_formats_found_in_the_wild(own, shared, name):
    paste_tools(own)
    choose(own, "File with examples", shared / "data" / "formats" / name)
    own.get_by_role("button", name="Import these").click()
    expect(own.locator(".facts")).to_contain_text("rows read")
    expect(own.locator("table.rows")).to_be_visible()


def test_a_broken_file_is_one_sentence_and_changes_nothing(own, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("{broken\n")
    paste_tools(own)
    choose(own, "File with examples", file)
    own.get_by_role("button", name="Import these").click()
    expect(own.locator(".note.bad")).to_contain_text("rows.jsonl")
    expect(own.get_by_label("Or paste them")).to_have_value(json.dumps(TOOLS))  # what was typed stays
    assert "Traceback" not in own.inner_text("body")
    expect(own.get_by_text("No tools yet")).to_be_visible()


def test_tools_and_examples_are_written_by_hand(own):
    own.get_by_role("button", name="Add a tool").click()
    own.get_by_role("button", name="Save the tool").click()  # the form opens with a tool as an example
    expect(own.locator(".tool")).to_contain_text("set_light")
    own.get_by_role("button", name="Add an example").click()
    own.get_by_label("What a person says").fill("light in the hall <b>")
    own.get_by_role("button", name="Save the example").click()
    expect(own.locator("#example-form")).to_contain_text("needs an answer")
    own.get_by_label("Insert a call of").click()
    own.get_by_role("option", name="set_light").click()
    expect(own.locator("#example-form .cm-content")).to_contain_text("room")
    own.get_by_role("button", name="Save the example").click()
    expect(own.get_by_role("button", name="light in the hall <b>")).to_be_visible()
    own.reload()
    expect(own.get_by_role("button", name="light in the hall <b>")).to_be_visible()


def test_rows_are_searched_opened_edited_and_deleted(page, app_url):
    page.goto(app_url)
    page.get_by_role("button", name="Open the sample").click()
    page.get_by_label("Search in requests and answers").press_sequentially("pasta")
    rows = page.locator("table.rows tbody tr")
    expect(page.locator(".pager")).not_to_contain_text("of 300")
    expect(rows.filter(has_not_text="pasta")).to_have_count(0)  # letter by letter: the last answer counts, not the first
    assert rows.count() > 0

    page.locator("[data-pick^='row:']").first.click()
    tokens = page.locator(".tokens")
    expect(tokens.locator(".tok.ctl").first).to_be_visible()
    expect(tokens.locator(".tok.learned").last).to_have_text(re.compile("<start_function_response>|<end_of_turn>"))

    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("What a person says").fill("a pasta request of mine")
    page.get_by_role("button", name="Save the example").click()
    expect(page.get_by_role("button", name="a pasta request of mine")).to_be_visible()

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("299 examples")


def test_problems_are_counted_and_lead_to_their_rows(own, tmp_path):
    file = tmp_path / "rows.jsonl"
    good = {"user_content": "hall on", "tool_name": "set_light", "tool_arguments": '{"room": "hall", "on": true}'}
    bad = {"user_content": "hall bright", "tool_name": "set_light", "tool_arguments": '{"room": "hall", "on": "yes"}'}
    file.write_text("".join(json.dumps(row) + "\n" for row in (good, bad)))
    paste_tools(own)
    choose(own, "File with examples", file)
    own.get_by_role("button", name="Import these").click()
    chip = own.get_by_role("button", name=re.compile("^[1-9][0-9]* must fix"))
    expect(chip).to_be_visible()
    expect(own.get_by_role("button", name="Next: train a model")).to_be_disabled()
    chip.click()
    expect(own.locator("[data-pick^='row:']")).to_have_count(1)
    expect(own.locator("[data-pick^='row:']")).to_contain_text("hall bright")


@pytest.fixture
def sample(page, app_url) -> Page:
    """The sample's rows."""
    page.goto(app_url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.locator(".pager")).to_contain_text("of 300")
    return page


@pytest.fixture
def late(sample, app_url) -> Late:
    """What the step shows has been asked for once more, and the answer is on its way."""
    late = Late(sample, app_url, "tool-form")
    sample.get_by_role("tab", name=re.compile("^Train")).click()
    expect(sample.locator("#train-plan")).to_contain_text("steps over")
    sample.get_by_role("tab", name=re.compile("^Dataset")).click()
    late.wait()
    return late


def test_an_answer_that_comes_late_does_not_undo_a_search(sample, late):
    search = sample.get_by_label("Search in requests and answers")
    search.fill("pasta")
    others = sample.locator("table.rows tbody tr").filter(has_not_text="pasta")
    expect(others).to_have_count(0)
    with sample.expect_response(late.asked_again):
        late.come()
    expect(search).to_have_value("pasta")
    expect(others).to_have_count(0)


def test_an_answer_that_comes_late_does_not_close_a_row_or_turn_back_a_page(sample, late):
    sample.get_by_role("button", name="Next", exact=True).click()
    expect(sample.locator(".pager")).to_contain_text("16 to 30")
    sample.locator("[data-pick='row:20']").click()
    expect(sample.get_by_text("What the model reads")).to_be_visible()
    with sample.expect_response(late.asked_again):
        late.come()
    expect(sample.locator(".pager")).to_contain_text("16 to 30")
    expect(sample.get_by_text("What the model reads")).to_be_visible()


def test_the_form_that_was_opened_before_the_page_was_answered_stays_open(page, app_url):
    page.goto(app_url)
    late = Late(page, app_url, "tool-form")
    page.get_by_role("button", name="Open the sample").click()
    late.wait()
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Or paste them").fill("[]")
    late.come()
    expect(page.locator(".pager")).to_contain_text("of 300")
    expect(page.get_by_label("Or paste them")).to_have_value("[]")


def test_what_is_typed_while_a_form_is_being_saved_stays_if_it_cannot_be(sample):
    sample.get_by_role("button", name="Add an example").click()
    request = sample.get_by_label("What a person says")
    request.fill("light")
    held: list[Route] = []
    sample.route("**/gradio_api/queue/join**", lambda route: held.append(route))
    with sample.expect_request("**/gradio_api/queue/join**"):
        sample.get_by_role("button", name="Save the example").click()
    request.fill("light in the hall")
    for route in held:
        route.continue_()
    expect(sample.locator("#example-form")).to_contain_text("needs an answer")
    expect(request).to_have_value("light in the hall")


def test_what_a_form_saves_is_the_row_that_it_shows(sample):
    """Another row's Edit was clicked, the page has not been answered yet, and the first one's form is saved."""
    for row in (0, 1):
        sample.locator(f"[data-pick='row:{row}']").click()
        expect(sample.locator(f"[data-event='edit'][data-pick='{row}']")).to_be_visible()
        sample.locator(f"[data-event='edit'][data-pick='{row}']").click()
        if row == 0:
            expect(sample.locator("#example-form")).to_contain_text("Row 1")
            sample.route("**/gradio_api/queue/data**", lambda route: None)  # answers of the queue stay away
    with sample.expect_request("**/gradio_api/queue/join**") as asked:
        sample.get_by_role("button", name="Save the example").click()
    assert any(str(value).startswith("0:") for value in asked.value.post_data_json["data"])


def test_an_import_leaves_one_main_button(own, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"user_content": "hall on", "tool_name": "set_light", "tool_arguments": "{\\"room\\": \\"hall\\", \\"on\\": true}"}\n')
    paste_tools(own)
    choose(own, "File with examples", file)
    expect(own.locator("button.primary:visible")).to_have_text(["Import these"])
    own.get_by_role("button", name="Import these").click()
    expect(own.locator(".facts")).to_contain_text("rows read")
    expect(own.get_by_role("button", name="Import these")).to_be_hidden()
    expect(own.locator("button.primary:visible")).to_have_text(["Next: train a model"])
    expect(own.locator("input[type=number]:visible")).to_have_count(0)  # what only the page's own events read
    own.get_by_role("button", name="Close this report").click()
    expect(own.locator(".facts")).to_have_count(0)
