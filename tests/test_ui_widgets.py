"""What strangers wrote is shown as text, a mistake is shown as its sentence, and nothing else gets through the door."""

from __future__ import annotations

import logging

import gradio as gr
import pytest

from pipeline import functiongemma
from pipeline.dataset import ToolDataset, example
from pipeline.errors import DataError
from pipeline.tools import Issue, ToolCall, ToolSpec
from pipeline.ui import widgets
from pipeline.ui.dataset_view import Filter, health, table, tool_cards
from pipeline.ui.state import Known

BAD = '<img src=x onerror="alert(1)">\'</button><script>'
TOOL = ToolSpec(BAD, BAD, {"type": "object", "properties": {BAD: {"type": "string", "enum": [BAD]}}, "required": [BAD]})
CALL = ToolCall(BAD, {BAD: BAD})
ISSUE = Issue(1, BAD, "error", BAD, BAD)


def everything() -> dict[str, str]:
    dataset = ToolDataset((TOOL,), (example(BAD, [CALL], BAD), example(BAD, [], BAD)))
    known = Known.of(dataset)
    raw = f"{BAD}<start_function_call>call:f{{a:<escape>{BAD}"
    return {
        "call": widgets.call_card(CALL),
        "reply": widgets.reply_cards(functiongemma.parse(raw), raw),
        "tokens": widgets.token_text([(BAD, False, True), ("<escape>", True, False)]),
        "issues": widgets.issue_list([ISSUE]),
        "tool": widgets.tool_card(TOOL, 1, 2, [ISSUE]),
        "bars": widgets.bars({BAD: 3}),
        "empty": widgets.empty(BAD, BAD),
        "note": widgets.note(BAD),
        "facts": widgets.facts([(BAD, BAD)]),
        "table": table(known, Filter(), 0, 0),
        "health": health(known),
        "tools": tool_cards(known),
    }


@pytest.mark.parametrize("where", ["call", "reply", "tokens", "issues", "tool", "bars", "empty", "note", "facts", "table", "health", "tools"])
def test_no_text_of_a_stranger_becomes_html(where):
    shown = everything()[where]
    assert "<img" not in shown and "<script" not in shown
    assert 'onerror="' not in shown and "onerror='" not in shown
    assert "&lt;img" in shown


def test_strings_and_numbers_look_different():
    shown = widgets.call_line("f", {"a": "2", "b": 2, "c": None, "d": [True]})
    assert "<i>a</i>=&quot;2&quot;, <i>b</i>=2, <i>c</i>=null, <i>d</i>=[true]" in shown


def test_a_broken_reply_shows_the_place_and_what_was_expected():
    raw = "<start_function_call>call:set_light{room<escape>hall<escape>}<end_function_call>"
    reply = functiongemma.parse(raw)
    shown = widgets.reply_cards(reply, raw)
    assert not reply.calls
    assert f"at character {reply.diagnostics[0].position + 1}" in shown
    assert "<mark>" in shown and "Expected here" in shown


def test_the_door_shows_a_pipeline_error_as_its_sentence():
    @widgets.door
    def handler():
        raise DataError("Row 3 <b> has no request. Write one.")

    with pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == "Row 3 &lt;b&gt; has no request. Write one."
    assert not caught.value.print_exception


@pytest.mark.parametrize("generator", [False, True])
def test_the_door_logs_a_defect_and_hides_it(generator, caplog):
    def breaks():
        raise KeyError("secret")

    def breaks_later():
        yield 1
        raise KeyError("secret")

    handler = widgets.door(breaks_later if generator else breaks)
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught:
        list(handler()) if generator else handler()
    assert "secret" not in caught.value.message
    assert "KeyError" in caplog.text


def test_a_value_of_the_browser_is_text_or_nothing():
    assert widgets.picked(gr.EventData(None, {"pick": "row:1"})) == "row:1"
    for data in ({"pick": 7}, {}, None, "x", {"pick": ["row:1"]}):
        assert widgets.picked(gr.EventData(None, data)) == ""


def test_a_problem_that_several_rows_share_is_said_once():
    same = [Issue(row, "date", "error", "is no date", "Mend it") for row in (2, 3, 5, 8)]
    shown = widgets.issue_list([Issue(1, "", "warning", "is odd"), *same, Issue(9, "time", "error", "is no time")])
    assert shown.count("<li") == 3 and "<b>Rows 2, 3, 5 and 1 more date</b> is no date" in shown
    assert shown.index("is no date") < shown.index("<b>Row 9 time</b>") < shown.index("<b>Row 1</b> is odd")
