"""Rows of the wild, one by one: what is refused, what is changed, and that each is said; their tools and splits."""

from __future__ import annotations

import json

import pytest

from pipeline.dataset import DEFAULT, load, save, validate
from pipeline.errors import DataError
from pipeline.importers import read
from tests.import_world import ANY, ASK, FORMATS, KITCHEN, LIGHT, ON, TIMER, TOOLS, check_counts, write

# --- rows that are refused, rows that are changed -------------------------------------------------------------------------

REFUSED = {
    "no request": ({"user_content": " ", "tool_name": "set_light", "tool_arguments": {}}, "the request is empty"),
    "request is a number": ({"user_content": 5, "tool_name": "set_light"}, "must be text, found 5"),
    "broken arguments": ({"user_content": "a", "tool_name": "f", "tool_arguments": "{room: 1}"}, "arguments are not usable: broken JSON"),
    "arguments in a list": ({"user_content": "a", "tool_name": "f", "tool_arguments": [1]}, "arguments must be an object"),
    "not a number": ({"user_content": "a", "tool_name": "f", "tool_arguments": '{"x": Infinity}'}, "Infinity is not a number"),
    "deep arguments": ({"user_content": "a", "tool_name": "f", "tool_arguments": '{"a":' * 200 + "1" + "}" * 200}, "nested deeper than 64"),
    "half a letter": ({"user_content": "a", "tool_name": "f", "tool_arguments": '{"x": "\\ud800"}'}, "surrogate"),
    "a call without a name": ({"user_message": "a", "tool_calls": [{"args": {}}]}, "names no function"),
    "a call that is text": ({"user_message": "a", "tool_calls": ["f"]}, 'names no function, found "f"'),
    "no calls": ({"user_message": "a", "tool_calls": "[]"}, "neither a call nor a reply"),
    "other columns": ({"foo": 1}, "found the columns foo"),
    "a list": ([1, 2, 3, 4], "expected 3 cells, found 4"),
    "no assistant": ({"messages": [ASK]}, "no assistant message"),
    "no user": ({"messages": [ON]}, "the request is empty"),
    "messages of text": ({"messages": ["a"]}, "expected a list of messages"),
    "unknown role": ({"messages": [{"role": "narrator", "content": "x"}, ASK, ON]}, 'the role "narrator"; expected developer'),
    "a role that is no text": ({"messages": [{"role": {}, "content": "x"}, ASK, ON]}, "the role {}; expected developer"),
    "calls of a user": ({"messages": [{**ON, "role": "user"}, ON]}, "only assistant messages can, and its role is user"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ON]}, "parts that are not text"),
    "nothing": ({"messages": [ASK, {"role": "assistant", "content": " "}]}, "neither a call nor a reply"),
    "weight 0": ({"messages": [ASK, {**ON, "weight": 1}, ASK, {**ON, "weight": 0}]}, "the last assistant message has the weight 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_row_is_left_out_and_said(tmp_path, case):
    row, sentence = REFUSED[case]
    good = {"user_content": "a", "tool_name": "set_light", "tool_arguments": KITCHEN.arguments}
    found, report = read(write(tmp_path, "rows.jsonl", [good, row, good]), TOOLS)
    check_counts(report)
    assert (report.read, report.imported, report.refused) == (3, 2, 1)
    (issue,) = [issue for issue in report.issues if issue.severity == "error"]
    assert issue.row == 2 and sentence in issue.message and issue.fix
    assert report.to_json()["issues"][0]["row"] == 2 and len(found.examples) == 2


def test_what_a_row_holds_is_said_before_what_it_should_hold(tmp_path):
    """The list of formats is long, and a sentence for a person is cut."""
    with pytest.raises(DataError, match="found the columns conversations, id, and not one of"):
        read(write(tmp_path, "rows.jsonl", [{"conversations": [], "id": 1}]), TOOLS)


def test_all_bad_rows_come_in_one_error(tmp_path):
    with pytest.raises(DataError, match="none of 21 rows could be read: row 1.*and 18 more") as caught:
        read(write(tmp_path, "rows.jsonl", [row for row, _ in REFUSED.values()]), TOOLS)
    assert [issue.row for issue in caught.value.issues] == list(range(1, len(REFUSED) + 1))


CHANGED = {
    "null of a table": ({"user_content": "x", "tool_name": "set_light", "tool_arguments": {**KITCHEN.arguments, "brightness": None, "minutes": None}}, 2),
    "no developer": ({"messages": [ASK, ON]}, 1),
    "after the end": ({"messages": [{"role": "developer", "content": DEFAULT}, ASK, ON, {"role": "tool", "content": "ok"}]}, 1),
    "other words for roles": ({"messages": [{"role": "system", "content": DEFAULT}, {**ASK, "role": "human"}, {**ON, "role": "model"}]}, 2),
    "parts": ({"messages": [{"role": "developer", "content": DEFAULT}, {"role": "user", "content": [{"type": "text", "text": "x"}]}, ON]}, 1),
    "thoughts and names": (
        {"messages": [{"role": "developer", "content": DEFAULT}, {**ASK, "name": "Ann"}, {**ON, "reasoning_content": "Hm.", "refusal": None, "weight": 1}]}, 2,
    ),
    "a weight that says otherwise": ({"messages": [{"role": "developer", "content": DEFAULT}, {**ASK, "weight": 1}, {**ON, "weight": 0.5}]}, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_a_row_that_is_changed_says_so(tmp_path, case):
    row, changes = CHANGED[case]
    found, report = read(write(tmp_path, "rows.jsonl", [row]), TOOLS)
    check_counts(report)
    assert (report.imported, report.changed) == (1, 1)
    assert [issue.row for issue in report.issues] == [1] * changes
    assert found.examples[0].calls == [KITCHEN] and found.examples[0].request == "x"
    assert found.examples[0].messages[0]["content"] == DEFAULT and validate(found)[0].field == "start_timer"


def test_null_stays_where_the_schema_takes_it(tmp_path):
    tool = {"name": "f", "description": "x", "parameters": {"type": "object", "required": ["must"], "properties": {
        "must": {"type": "string"}, "either": {"type": ["string", "null"]}, "nullable": {"type": "integer", "nullable": True}, "any": {},
        "o": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {}}}}}}  # fmt: skip
    arguments = {"must": None, "either": None, "nullable": None, "any": None, "o": {"x": None, "y": None}}
    found, report = read(write(tmp_path, "a.jsonl", [{"user_content": "x", "tool_name": "f", "tool_arguments": arguments}]), [tool])
    assert found.examples[0].calls[0].arguments == {"must": None, "either": None, "nullable": None, "any": None, "o": {"y": None}}
    assert [issue.field for issue in report.issues] == ["messages[2].tool_calls[0].o.x"]


def test_openai_ids_become_names(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "set_light", "arguments": json.dumps(KITCHEN.arguments)}}
    messages = [{"role": "system", "content": DEFAULT}, ASK, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"}, {"role": "assistant", "content": "Done."}]  # fmt: skip
    found, _ = read(write(tmp_path, "a.jsonl", [{"messages": messages}]), TOOLS)
    assert found.examples[0].messages[2] == {"role": "assistant", "tool_calls": [{"type": "function", "function": KITCHEN.to_json()}]}
    assert found.examples[0].messages[3] == {"role": "tool", "name": "set_light", "content": "ok"}


def test_weights_that_say_what_is_done_anyway_change_nothing(tmp_path):
    messages = [{"role": "developer", "content": DEFAULT}, ASK, {"role": "assistant", "content": "Which?", "weight": 0}, ASK, {**ON, "weight": 1}]
    found, report = read(write(tmp_path, "a.jsonl", [{"messages": messages}]), TOOLS)
    assert (report.imported, report.changed, report.issues) == (1, 0, ()) and "weight" not in str(found)


def test_calls_that_are_not_learned_are_said(tmp_path):
    messages = [{"role": "developer", "content": DEFAULT}, ASK, ON, {"role": "tool", "name": "set_light", "content": "ok"}]
    row, good = {"messages": [*messages, {"role": "assistant", "content": "Done."}]}, {"messages": messages[:3]}
    found, report = read(write(tmp_path, "a.jsonl", [good, row, row]), TOOLS)
    check_counts(report)
    (issue,) = report.issues
    assert (issue.row, issue.severity, report.changed) == (None, "warning", 0)
    assert issue.message.startswith("2 rows (the first: row 2) have calls before their last message")
    assert [issue.row for issue in validate(found) if "are not learned" in issue.message] == [2, 3]


def test_a_given_tools_file_is_recognised():
    if not (FORMATS / "mcp_tools_list.json").exists():
        pytest.skip("needs ../shared/data/formats/mcp_tools_list.json")
    with pytest.raises(DataError, match=r"mcp_tools_list\.json holds tools, not examples; .*--tools FILE"):
        read(FORMATS / "mcp_tools_list.json", TOOLS)


def test_prompt_and_completion_are_one_conversation(tmp_path):
    row = {"prompt": [{"role": "developer", "content": DEFAULT}, ASK], "completion": [ON], "tools": json.dumps([LIGHT.to_json()])}
    found, report = read(write(tmp_path, "a.json", [row]))
    assert found.examples[0].calls == [KITCHEN] and found.tools == (LIGHT,) and report.format == "prompt_completion"


def test_a_cell_that_should_have_quotes_is_said(tmp_path):
    text = 'user_message,tool_calls\nkitchen on, please,"[]"\nhall on,"[{""name"": ""set_light"", ""args"": {}}]"\n'
    found, report = read(write(tmp_path, "a.csv", text), TOOLS)
    assert [row.request for row in found.examples] == ["hall on"]
    assert [(issue.row, issue.message[:28]) for issue in report.issues] == [(2, "expected 2 cells, found 3; p")]


def test_a_sheet_may_hold_calls_and_replies(tmp_path):
    text = 'prompt,tool_name,tool_arguments,reply\nkitchen on,set_light,"{""room"": ""kitchen"", ""on"": true}",\ntell a joke,,,No.\n'
    found, _ = read(write(tmp_path, "a.csv", text), TOOLS)
    assert [(row.calls, row.reply_text) for row in found.examples] == [([KITCHEN], ""), ([], "No.")]


def test_unused_columns_are_named_once(tmp_path):
    rows = [{"id": n, "user_content": "x", "tool_name": "set_light", "tool_arguments": KITCHEN.arguments} for n in range(3)]
    _, report = read(write(tmp_path, "a.jsonl", rows), TOOLS)
    assert [(issue.row, issue.message) for issue in report.issues] == [(None, "not used: id")]


# --- tools and splits -----------------------------------------------------------------------------------------------------


def test_tools_of_most_rows_are_the_datasets(tmp_path):
    def row(tools):
        return {"messages": [{"role": "developer", "content": DEFAULT}, ASK, ON], "tools": [tool.to_json() for tool in tools]}

    found, _ = read(write(tmp_path, "a.jsonl", [row([LIGHT, TIMER]), row([LIGHT]), row([LIGHT])]))
    assert found.tools == (LIGHT,) and [item.tools for item in found.examples] == [(LIGHT, TIMER), None, None]
    found, report = read(tmp_path / "a.jsonl", TOOLS)
    assert found.tools == (LIGHT, TIMER) and {item.tools for item in found.examples} == {None}
    assert [issue.field for issue in report.issues] == ["tools"]


def test_bad_tools_refuse_their_rows(tmp_path):
    row = {"messages": [{"role": "developer", "content": DEFAULT}, ASK, ON]}
    rows = [{**row, "tools": [LIGHT.to_json()]}, {**row, "tools": [{"description": "x"}]}, {**row, "tools": "[{"}]
    _, report = read(write(tmp_path, "a.jsonl", rows))
    assert [(issue.row, issue.severity) for issue in report.issues] == [(2, "error"), (3, "error")]


def test_a_split_of_one_side_is_none(tmp_path):
    def rows(*marks):
        return [{"user_content": "x", "tool_name": "set_light", "tool_arguments": KITCHEN.arguments, "split": mark} for mark in marks]

    found, report = read(write(tmp_path, "a.jsonl", rows("train", "validation", None)), TOOLS)
    assert [row.split for row in found.examples] == ["train", "test", None] and not report.issues
    found, report = read(write(tmp_path, "b.jsonl", rows("train", "train")), TOOLS)
    assert [row.split for row in found.examples] == [None, None] and report.issues[0].field == "split"


def test_arguments_as_deep_as_a_call_may_be_survive(tmp_path):
    value = None
    for _ in range(63):
        value = [value]
    for dress in ({"value": value}, json.dumps({"value": value})):
        found, _ = read(write(tmp_path, "a.jsonl", [{"user_content": "x", "tool_name": "f", "tool_arguments": dress}] * 2), [ANY])
        assert load(save(found, tmp_path / "out")) == found and found.examples[0].calls[0].arguments == {"value": value}
    deeper = [{"user_content": "x", "tool_name": "f", "tool_arguments": arguments} for arguments in ({"value": [value]}, {"value": 1})]
    _, report = read(write(tmp_path, "a.jsonl", deeper), [ANY])
    assert (report.imported, report.refused) == (1, 1) and "nested deeper than 64" in report.issues[0].message
