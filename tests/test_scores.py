"""Verdicts compare calls, not texts; scores come with what they are uncertain by."""

from __future__ import annotations

import json

import pytest

from pipeline.dataset import example
from pipeline.errors import RunError
from pipeline.functiongemma import call_text
from pipeline.scores import NO_CALL, VERDICTS, EvalReport, compare, judge, mcnemar, verdict, wilson
from pipeline.tools import ToolCall, ToolSpec

TOOLS = (
    ToolSpec("light", "a light", {"type": "object", "properties": {
        "room": {"type": "string"}, "level": {"type": "integer"}, "warmth": {"type": "number"}, "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
    }}),
    ToolSpec("alarm", "an alarm", {"type": "object", "properties": {"at": {"type": "string"}}}),
)  # fmt: skip
HALL, BATH, SEVEN = (ToolCall("light", {"room": "hall"}), ToolCall("light", {"room": "bath"}), ToolCall("alarm", {"at": "7"}))


@pytest.mark.parametrize(("expected", "actual", "says"), [
    ([HALL], [HALL], "correct"),
    ([], [], "correct"),
    ([HALL, SEVEN], [SEVEN, HALL], "correct"),  # parallel calls have no order
    ([HALL, HALL], [HALL, HALL], "correct"),
    ([HALL], [BATH], "wrong_arguments"),
    ([HALL, BATH], [HALL, HALL], "wrong_arguments"),
    ([HALL], [ToolCall("light")], "wrong_arguments"),
    ([HALL], [SEVEN], "wrong_tool"),
    ([HALL], [SEVEN, BATH, SEVEN], "extra_call"),
    ([HALL, SEVEN], [HALL, BATH], "wrong_tool"),
    ([HALL], [], "missing_call"),
    ([HALL, SEVEN], [SEVEN], "missing_call"),
    ([HALL], [HALL, HALL], "extra_call"),
    ([], [HALL], "unexpected_call"),
])  # fmt: skip
def test_verdict(expected, actual, says):
    assert verdict(expected, actual, TOOLS) == says


@pytest.mark.parametrize(("wanted", "given", "equal"), [
    ({"level": 2}, {"level": 2}, True), ({"level": 2}, {"level": 2.0}, False), ({"level": 2}, {"level": "2"}, False),
    ({"warmth": 2}, {"warmth": 2.0}, True), ({"on": True}, {"on": 1}, False), ({"on": True}, {"on": "true"}, False),
    ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, False), ({"room": "hall"}, {"room": "Hall"}, False),
])  # fmt: skip
def test_arguments_are_equal_with_their_types(wanted, given, equal):
    assert (verdict([ToolCall("light", wanted)], [ToolCall("light", given)], TOOLS) == "correct") is equal


def say(*calls):
    return call_text(calls) + "<start_function_response>"


@pytest.mark.parametrize(("raw", "says", "tolerant", "tool"), [
    (say(HALL), "correct", True, True),
    (call_text([HALL]), "correct", True, True),  # runtimes strip the stop
    (say(ToolCall("light", {"room": "  HALL "})), "wrong_arguments", True, True),
    (say(BATH), "wrong_arguments", False, True),
    (say(SEVEN), "wrong_tool", False, False),
    (say(ToolCall("lights", {"room": "hall"})), "wrong_tool", False, False),
    ("I cannot do that.<end_of_turn>", "missing_call", False, False),
    ("light(room='hall')<end_of_turn>", "missing_call", False, False),
    ("<start_function_call>call:light{room:<escape>hall", "malformed", False, False),
    ("<start_function_call>call:light{room:<escape>hall<escape>}", "malformed", True, False),  # only the end tag is missing
    ("<start_function_call>call:light{room:hall}<end_function_call>", "malformed", True, False),  # a string without <escape>
    ("<start_function_call>nonsense<end_function_call>", "malformed", False, False),
    ("<start_function_declaration>hello<end_of_turn>", "malformed", False, False),
    (say(HALL).replace("<start_function_response>", "") + "<start_function_call>call:al", "malformed", False, False),
])  # fmt: skip
def test_malformed_is_a_verdict_of_its_own(raw, says, tolerant, tool):
    result = judge(1, example("hall light", [HALL]), TOOLS, raw)
    assert (result.verdict, result.tolerant, result.tool, result.raw) == (says, tolerant, tool, raw)
    assert (says == "malformed") == bool(result.diagnostics and result.diagnostics != ["unknown_tool"])


def test_words_where_words_are_wanted_are_correct_and_a_broken_call_is_not_words():
    row = example("what is love", [], "I can only switch lights.")
    assert judge(1, row, TOOLS, "No idea.<end_of_turn>").verdict == "correct"
    assert judge(1, row, TOOLS, say(HALL)).verdict == "unexpected_call"
    assert judge(1, row, TOOLS, "<start_function_call>call:light{").verdict == "malformed"


def test_a_wrong_answer_names_the_arguments_that_differ():
    wanted = [ToolCall("light", {"room": "hall", "level": 2, "on": True}), SEVEN]
    given = [SEVEN, ToolCall("light", {"room": "hall", "level": 3, "warmth": 1})]
    assert judge(1, example("x", wanted), TOOLS, say(*given)).differs == ["level", "on", "warmth"]


@pytest.mark.parametrize(("right", "rows", "low", "high"), [
    (0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662),
])  # fmt: skip  # the last one is Newcombe's (1998) example
def test_wilson(right, rows, low, high):
    assert wilson(right, rows) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (10, 2, 0.03857), (3, 3, 1.0)])
def test_mcnemar(gained, lost, p):
    assert mcnemar(gained, lost) == mcnemar(lost, gained) == pytest.approx(p, abs=1e-5)


def report(answers, dataset="d" * 64):
    rows = [example("hall", [HALL]), example("seven", [SEVEN]), example("both", [HALL, SEVEN]), example("love", [], "No.")]
    results = [judge(n, row, TOOLS, raw) for n, (row, raw) in enumerate(zip(rows, answers, strict=True), 1)]
    return EvalReport.of(results, on="tuned", split="test", model="m", seconds=1.0, tokens=9, dataset_sha256=dataset)


GOOD = report([say(HALL), say(SEVEN), say(HALL, SEVEN), "No.<end_of_turn>"])
BAD = report([say(BATH), "<start_function_call>call:", say(HALL), say(HALL)])


def test_a_report_adds_up():
    assert (GOOD.rows, GOOD.exact_match, GOOD.tool_accuracy, GOOD.verdicts["correct"]) == (4, 1.0, 1.0, 4)
    assert (BAD.exact_match, BAD.tool_accuracy, BAD.tolerant_match) == (0.0, 0.25, 0.0)
    assert sum(BAD.verdicts.values()) == 4 and list(BAD.verdicts) == list(VERDICTS)
    assert BAD.by_tool["light"] == {"rows": 2, "tool_accuracy": 0.5, "exact_match": 0.0, "tolerant_match": 0.0}
    assert {kind: counts["rows"] for kind, counts in BAD.by_kind.items()} == {"none": 1, "parallel": 1, "single": 2}
    assert BAD.confusion == {
        "light": {"light": 1}, "alarm": {"malformed": 1}, "alarm + light": {"light": 1}, NO_CALL: {"light": 1},
    }  # fmt: skip
    low, high = BAD.intervals["tool_accuracy"]
    assert 0 < low < 0.25 < high < 1


def test_a_report_survives_json():
    assert EvalReport.from_json(json.loads(json.dumps(BAD.to_json()))) == BAD
    with pytest.raises(RunError, match="not an evaluation report"):
        EvalReport.from_json({"rows": 3})


def test_comparing_names_the_rows_that_flipped():
    found = compare(BAD, GOOD)
    assert (found.rows, found.before, found.after, found.gained, found.lost, found.p) == (4, 0.0, 1.0, [1, 2, 3, 4], [], 0.125)
    assert compare(GOOD, BAD).lost == [1, 2, 3, 4] and compare(GOOD, GOOD).p == 1.0
    with pytest.raises(RunError, match="not of the same rows"):
        compare(GOOD, report([say(HALL)] * 4, "e" * 64))
