"""Tools in all their shapes, calls against their schemas, and what the FunctionGemma template loses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import functiongemma, schema
from pipeline.errors import DataError
from pipeline.functiongemma import call_text, parse
from pipeline.tools import (
    TRIGGER,
    ToolCall,
    ToolSpec,
    check_call,
    lint_tools,
    same_call,
    same_value,
    tools_from_json,
)

SHARED = Path(__file__).resolve().parents[2] / "shared"
PLAIN = {"type": "object", "properties": {"room": {"type": "string", "description": "The room"}}, "required": ["room"]}
GOOGLE = {"type": "OBJECT", "properties": {"room": {"type": "STRING", "description": "The room"}}, "required": ["room"]}
LIGHT = ToolSpec("set_light", "Turns a lamp on.", PLAIN)


@pytest.mark.parametrize(
    "source",
    [
        [{"type": "function", "function": {"name": "set_light", "description": "Turns a lamp on.", "parameters": PLAIN}}],
        [{"function": {"name": "set_light", "description": "Turns a lamp on.", "parameters": GOOGLE}}],
        {"name": "set_light", "description": "Turns a lamp on.", "parameters": PLAIN},
        [{"function_declarations": [{"name": "set_light", "description": "Turns a lamp on.", "parameters": GOOGLE}]}],
        {"tools": [{"name": "set_light", "title": "Light", "description": "Turns a lamp on.", "inputSchema": PLAIN}]},
        {"jsonrpc": "2.0", "result": {"tools": [{"name": "set_light", "description": "Turns a lamp on.", "inputSchema": PLAIN}]}},
        [{"name": "set_light", "description": "Turns a lamp on.", "input_schema": PLAIN}],
        [LIGHT],
        (LIGHT,),
    ],
    ids=["openai", "google", "one", "declarations", "mcp", "mcp answer", "anthropic", "specs", "tuple"],
)
def test_every_shape_reads_the_same(source):
    assert tools_from_json(source) == [LIGHT]
    if not any(item is LIGHT for item in source):
        assert tools_from_json(json.dumps(source)) == [LIGHT]
        assert tools_from_json(b"\xef\xbb\xbf" + json.dumps(source).encode()) == [LIGHT]


def test_a_tool_survives_its_json():
    assert ToolSpec.from_json(LIGHT.to_json()) == LIGHT
    ping = ToolSpec("ping", "Pings.")
    assert ping.to_json() == {"type": "function", "function": {"name": "ping", "description": "Pings."}}
    assert ToolSpec.from_json(ping.to_json()) == ping


def test_types_are_lowered_where_they_are_types_and_nowhere_else():
    schema = {"type": "OBJECT", "properties": {"type": {"type": "STRING", "enum": ["STRING", "INTEGER"]}, "n": {"type": ["INTEGER", "NULL"]},
                                               "list": {"type": "ARRAY", "items": {"type": "NUMBER"}, "description": "OBJECT"}}}  # fmt: skip
    found = ToolSpec.from_json({"name": "f", "parameters": schema}).parameters
    assert found["properties"]["type"] == {"type": "string", "enum": ["STRING", "INTEGER"]}
    assert found["properties"]["n"] == {"type": ["integer", "null"]}
    assert found["properties"]["list"] == {"type": "array", "items": {"type": "number"}, "description": "OBJECT"}


def test_keywords_filled_with_null_by_a_table_are_left_out():
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": None, "items": None}, "b": None}, "required": None}
    found = tools_from_json([{"name": "f", "description": None, "parameters": schema}])[0]
    assert found == ToolSpec("f", "", {"type": "object", "properties": {"a": {"type": "string"}}})


def test_all_problems_of_a_list_come_at_once():
    with pytest.raises(DataError, match="row 1, name: a tool needs a name") as caught:
        tools_from_json([{"description": "x"}, {"name": "f", "parameters": {"type": 3, "properties": []}}, 5, {"name": "g"}, {"name": "g"}])
    assert [(issue.row, issue.field) for issue in caught.value.issues] == [
        (1, "name"), (2, "parameters.type"), (2, "parameters.properties"), (3, "tool"), (None, "g"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("[", "broken JSON"),
        ("[]", "No tools found"),
        ("{}", "needs a name"),
        ('[{"name": "f", "parameters": {"minimum": NaN}}]', "NaN"),
        ("[" * 5_000, "nested deeper than 80"),
        (json.dumps([{"name": f"f{i}"} for i in range(300)]), "more than the 256"),
        (b"\xff\xfe\x00", "not usable"),
    ],
)
def test_what_is_no_tool_list_is_refused_in_a_sentence(source, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        tools_from_json(source)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def spec(name="f", description="Does it.", **properties):
    return ToolSpec(name, description, {"type": "object", "properties": properties})


A = {"type": "string", "description": "a"}
LINT = {
    "fine": (spec(a=A), []),
    "no parameters": (ToolSpec("f", "Does it."), []),
    "no description": (spec(description=""), [("f", "warning", "no description")]),
    "blanks": (spec(description=" x"), [("f", "warning", "blanks")]),
    "name": (spec(name="set light"), [("set light", "error", "not a name")]),
    "control token": (spec(description="<escape>"), [("f", "error", "control token <escape>")]),
    "control token within": (spec(a={**A, "enum": ["<end_of_turn>"]}), [("f.properties.a.enum", "error", "control token")]),
    "no parameter description": (spec(a={"type": "string"}), [("f.a", "warning", "no description")]),
    "3 dropped": (spec(a={**A, "default": "x", "minLength": 2}), [("f.a", "warning", "leaves out default, minLength")]),
    "3 nullable": (spec(a={**A, "nullable": True}), [("f.a", "warning", "leaves out nullable")]),
    "3 enum of integers": (spec(a={"type": "integer", "description": "a", "enum": [1]}), [("f.a", "warning", "leaves out enum")]),
    "enum of strings": (spec(a={**A, "enum": ["x"]}), []),
    "4 standard name": (spec(description_={}, type=A), [("f.type", "error", "vanishes"), ("f.description_", "warning", "")]),
    "5 object": (spec(a={"type": "object", "description": "a", "additionalProperties": False}), [("f.a", "warning", "additionalProperties would")]),
    "6 list in list": (
        spec(a={"type": "array", "description": "a", "items": {"type": "array", "items": {"type": "string"}}}),
        [("f.a[]", "warning", "list in a list")],
    ),
    "7 union": (spec(a={"type": ["string", "null"], "description": "a"}), [("f.a", "warning", "Python text")]),
    "8 no type": (ToolSpec("f", "Does it.", {"properties": {"a": A}}), [("f", "error", "brace")]),
    "14 blanks": (spec(a={"type": "string", "description": "a "}), [("f.a", "warning", "blanks")]),
    "no type": (spec(a={"description": "a"}), [("f.a", "warning", "no type")]),
    "reference": (spec(a={"description": "a", "$ref": "#/x"}), [("f.a", "warning", r"\$ref")]),
    "unknown type": (spec(a={"type": "str", "description": "a"}), [("f.a", "warning", "not a type")]),
    "wire characters": (spec(**{"a b": A}), [("f.a b", "error", "without quotes")]),
    "required, undeclared": (ToolSpec("f", "Does it.", {"type": "object", "properties": {}, "required": ["x"]}), [("f", "error", "not declared")]),
    "nested": (
        spec(o={"type": "object", "description": "o", "properties": {"type": A}}),
        [("f.o.type", "error", "vanishes")],
    ),
    "list of nothing": (spec(a={"type": "array", "description": "a"}), [("f.a", "warning", "what the list holds")]),
}  # fmt: skip


@pytest.mark.parametrize("case", LINT)
def test_lint_finds_what_the_template_loses(case):
    tool, expected = LINT[case]
    found = lint_tools([tool])
    for field, severity, text in expected:
        assert any(i.field == field and i.severity == severity and re.search(text, i.message) for i in found), found
    assert {i.field for i in found} == {field for field, _, _ in expected}, found
    assert all(issue.row == 1 and issue.fix for issue in found)


def test_lint_sees_the_tools_together():
    assert [i.field for i in lint_tools([spec(), spec()])] == ["f", "f"]
    assert [(i.row, i.severity) for i in lint_tools([spec(name=f"f{n}") for n in range(30)])] == [(None, "warning")]


def test_lint_agrees_with_the_templates_own_cases():
    """Every tool of the prompt cases that stands under FORMAT.md's peculiarities of declarations has an issue, and lint never fails."""
    path = SHARED / "format" / "prompt_cases.json"
    if not path.exists():
        pytest.skip("needs ../shared/format/prompt_cases.json")
    cases = json.loads(path.read_text("utf-8"))
    peculiar = {"tpl-dropped-keywords", "tpl-enum-integer-dropped", "tpl-standard-key-as-property-name", "tpl-object-no-properties",
                "tpl-array-of-arrays", "tpl-union-type-property", "tpl-parameters-without-type", "tpl-description-whitespace",
                "tpl-no-description-key"}  # fmt: skip
    with_tools = {case["id"]: case["tools"] for case in cases if case["tools"]}
    linted = {name: lint_tools(tools_from_json(tools)) for name, tools in with_tools.items()}
    assert peculiar & linted.keys() and all(linted[name] for name in peculiar & linted.keys())


TOOL = ToolSpec(
    "f",
    "Does it.",
    {
        "type": "object",
        "properties": {
            "s": {"type": "string"}, "e": {"type": "string", "enum": ["a", "b"]}, "i": {"type": "integer", "minimum": 0, "maximum": 9},
            "n": {"type": "number"}, "b": {"type": "boolean"}, "l": {"type": "array", "items": {"type": "integer"}},
            "o": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}, "u": {"type": ["string", "null"]},
            "nn": {"type": "string", "nullable": True}, "any": {}, "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["s"],
    },
)  # fmt: skip
CALLS = [
    ({"s": "x", "e": "a", "i": 3, "n": 2, "b": True, "l": [1], "o": {"x": 1}, "u": None, "nn": None, "any": [None], "either": None}, []),
    ({"s": "x", "n": 2.5}, []),
    ({}, [("f.s", "error", "required and missing")]),
    ({"s": 1}, [("f.s", "error", "must be text, found 1")]),
    ({"s": "x", "e": "c"}, [("f.e", "error", 'one of "a", "b", found "c"')]),
    ({"s": "x", "i": "3"}, [("f.i", "error", 'whole number, found "3"')]),
    ({"s": "x", "i": 3.0}, [("f.i", "error", "whole number, found 3.0")]),
    ({"s": "x", "i": True}, [("f.i", "error", "whole number, found true")]),
    ({"s": "x", "i": 10}, [("f.i", "warning", "outside of 0 to 9")]),
    ({"s": "x", "n": False}, [("f.n", "error", "a number, found false")]),
    ({"s": "x", "b": 1}, [("f.b", "error", "true or false, found 1")]),
    ({"s": "x", "l": [1, "2"]}, [("f.l[1]", "error", "whole number")]),
    ({"s": "x", "o": {}}, [("f.o.x", "error", "required and missing")]),
    ({"s": "x", "u": 1}, [("f.u", "error", "text or null")]),
    ({"s": "x", "either": "x"}, [("f.either", "error", "none of the 2 forms")]),
    ({"s": "x", "z": 1}, [("f.z", "warning", "not declared")]),
    ({"s": None, "i": None}, [("f.s", "error", "found null"), ("f.i", "error", "found null")]),
]


@pytest.mark.parametrize(("arguments", "expected"), CALLS)
def test_a_call_is_checked_against_its_schema(arguments, expected):
    found = [(issue.field, issue.severity, issue.message) for issue in check_call(ToolCall("f", arguments), [TOOL])]
    assert [item[:2] for item in found] == [item[:2] for item in expected]
    assert all(text in item[2] for item, (_, _, text) in zip(found, expected, strict=True)), found


@pytest.mark.parametrize("key", ["", "a:b", "a,b", "{", "x]", " a", "a\n", '"a"'])
def test_a_key_that_a_call_cannot_carry_is_an_error(key):
    """Keys are written bare, at any depth (FORMAT.md, section 2): learned so, the call would be read back as another or not at all."""
    free = ToolSpec("f", "", {"type": "object", "properties": {"o": {"type": "object"}}})
    call = ToolCall("f", {"o": {"l": [{key: 1}]}})
    assert [(issue.field, issue.severity) for issue in check_call(call, [free])] == [("f", "error")]
    assert [found.arguments for found in parse(call_text([call])).calls] != [call.arguments]
    assert check_call(ToolCall("f", {"o": {"a b": 1, "ключ": 1, "x-1.y": 1, "a\"b": 1}}), [free]) == []


def test_a_call_needs_its_tool_and_a_tool_without_parameters_takes_none():
    (issue,) = check_call(ToolCall("g"), [TOOL])
    assert issue.severity == "error" and "there is no tool g (the tools are f)" in issue.message
    for nothing in ({}, {"type": "object", "properties": {}}):
        assert check_call(ToolCall("p"), [ToolSpec("p", "", nothing)]) == []
        assert check_call(ToolCall("p", {"x": 1}), [ToolSpec("p", "", nothing)])[0].severity == "error"


@pytest.mark.parametrize(
    ("a", "b", "schema", "expected"),
    [
        (1, 1, None, True), (1, 1.0, None, False), (1, 1.0, {"type": "number"}, True), (1, 1.0, {"type": "integer"}, False),
        (True, 1, None, False), (True, 1, {"type": "number"}, False), (False, None, None, False), ("1", 1, {"type": "number"}, False),
        (None, None, None, True), (0.0, -0.0, None, True), (2**60, float(2**60), {"type": "number"}, True), ("a", "A", None, False),
        ([1], [1.0], {"items": {"type": "number"}}, True), ([1, 2], [2, 1], None, False), ([], {}, None, False), ([1], [1, 1], None, False),
        ({"a": 1}, {"a": 1.0}, {"properties": {"a": {"type": "number"}}}, True), ({"a": None}, {}, None, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, None, True),
        (1, 1.0, {"anyOf": [{"type": "number"}, {"type": "null"}]}, True), (1, 1.0, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, False),
        ([1], [1.0], {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}, True),
        ({"a": 1}, {"a": 1.0}, {"type": "object", "additionalProperties": {"type": "number"}}, True),
        ({"a": 1}, {"a": 1.0}, {"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "number"}}}]}, True),
    ],
)  # fmt: skip
def test_values_are_equal_with_their_types(a, b, schema, expected):
    assert same_value(a, b, schema) is expected and same_value(b, a, schema) is expected


def test_calls_are_equal_under_their_tool():
    assert same_call(ToolCall("f", {"n": 2, "s": "x"}), ToolCall("f", {"s": "x", "n": 2.0}), [TOOL])
    assert not same_call(ToolCall("f", {"n": 2}), ToolCall("f", {"n": 2.0}))
    assert not same_call(ToolCall("f"), ToolCall("g"))


@pytest.mark.parametrize(
    "written",
    [
        {"name": "f", "arguments": {"a": 1}},
        {"function": {"name": "f", "arguments": {"a": 1}}},
        {"type": "function", "function": {"name": " f ", "arguments": '{"a": 1}'}},
    ],
)
def test_a_call_reads_from_its_usual_forms(written):
    call = ToolCall.from_json(written)
    assert call == ToolCall("f", {"a": 1}) and ToolCall.from_json(call.to_json()) == call


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"arguments": {}}, "needs a name"), ("f", "needs a name"), ({"name": "f", "arguments": "[1]"}, "must be an object"),
        ({"name": "f", "arguments": '{"a": NaN}'}, "NaN"), ({"name": "f", "arguments": {"a": float("inf")}}, "inf"),
        ({"name": "f", "arguments": "{"}, "broken JSON"), ({"name": "f", "arguments": '{"a": 1e400}'}, "larger than a number"),
    ],
)  # fmt: skip
def test_a_call_that_is_none_says_why(written, sentence):
    with pytest.raises(DataError, match=sentence):
        ToolCall.from_json(written)


def test_a_call_shows_as_code():
    assert ToolCall("f", {"room": "hall", "on": True, "n": 2.0, "x": None}).display() == 'f(room="hall", on=true, n=2.0, x=null)'
    assert ToolCall("f").display() == "f()"


def test_the_developer_sentence_is_one():
    assert TRIGGER == functiongemma.TRIGGER == "You are a model that can do function calling with the following functions"


@pytest.mark.parametrize("keyword", [{"$ref": "#/$defs/a"}, {"allOf": [{"type": "integer"}]}, {"not": {"type": "string"}}, {"pattern": "^[0-9]$"}])
def test_keywords_that_checks_pass_over(keyword):
    """As schema.py says: a value that breaks them is not found."""
    assert schema.violations({"x": "text"}, {"type": "object", "properties": {"x": keyword}, "$defs": {"a": {"type": "integer"}}}) == []
    assert all(word in schema.__doc__ for word in keyword)
