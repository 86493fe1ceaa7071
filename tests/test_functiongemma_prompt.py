"""render_prompt, render_example and call_text: the template's text byte for byte, its peculiarities included, and its refusals."""

from __future__ import annotations

import sys

import pytest

from pipeline import functiongemma as fg
from pipeline.errors import PipelineError
from pipeline.tools import ToolCall, ToolSpec
from tests.format_cases import cases

USER = {"role": "user", "content": "x"}


def tool(properties=None, **keywords) -> dict:
    """An OpenAI-shaped tool `t` whose parameters have these properties; keywords replace or add keys of the function."""
    parameters = {"type": "object", "properties": properties} if properties is not None else {}
    return {"type": "function", "function": {"name": "t", "description": "d", "parameters": parameters} | keywords}


def declared(*tools) -> str:
    """What stands between the first and the last brace of the only declaration, or the whole developer turn for several."""
    text = fg.render_prompt([USER], list(tools))
    inner = text.removeprefix("<bos><start_of_turn>developer\n").partition("<end_of_turn>\n<start_of_turn>user\nx")[0]
    return inner.replace("<start_function_declaration>declaration:", "").replace("<end_function_declaration>", "").replace("<escape>", "~")


def called(arguments) -> str:
    """The braces of a call with these arguments."""
    text = fg.call_text([{"name": "f", "arguments": arguments}]).replace("<escape>", "~")
    return text.removeprefix("<start_function_call>call:f").removesuffix("<end_function_call>")


@pytest.mark.parametrize("case", cases("prompt_cases.json"))
def test_shared_case(case):
    arguments = case["messages"], case["tools"], case["add_generation_prompt"]
    if case.get("expected_error"):
        with pytest.raises(PipelineError) as raised:
            fg.render_prompt(*arguments)
        assert "\n" not in str(raised.value)
    else:
        assert fg.render_prompt(*arguments) == case["expected_text"]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"a": {"type": "string", "enum": ["x", "y"]}}, "a:{description:~~,enum:[~x~,~y~],type:~STRING~}"),
        ({"a": {"type": "STRING", "enum": {"b": 1}}}, "a:{description:~~,enum:{~b~:1},type:~STRING~}"),
        ({"a": {"type": "integer", "enum": [1], "default": 1, "nullable": True}}, "a:{description:~~,type:~INTEGER~}"),
        ({"a": {}}, "a:{description:~~,type:~~}"),
        ({"a": True}, "a:{description:~~,type:~~}"),
        ({"a": {"type": None, "description": 1.5}}, "a:{description:~1.5~,type:~NONE~}"),
        ({"a": {"type": ["string", "null"]}}, "a:{description:~~,type:~['STRING', 'NULL']~}"),
        ({"a": {"description": " d\n", "type": "string"}}, "a:{description:~ d\n~,type:~STRING~}"),
        ({"type": {"type": "string"}, "a": {"type": "number"}}, "a:{description:~~,type:~NUMBER~}"),
        ({"a": {"type": "object", "properties": {}}}, "a:{description:~~,properties:{},type:~OBJECT~}"),
        ({"a": {"type": "object", "title": "T"}}, "a:{description:~~,properties:{title:{description:~~,type:~~}},type:~OBJECT~}"),
        (
            {"a": {"type": "object", "properties": None, "required": ["b"], "anyOf": [1]}},
            "a:{description:~~,properties:{anyOf:{description:~~,type:~~}},required:[~b~],type:~OBJECT~}",
        ),
        ({"a": {"type": "array", "items": {}}}, "a:{description:~~,type:~ARRAY~}"),
        ({"a": {"type": "array", "items": [{"type": "string"}]}}, "a:{description:~~,type:~ARRAY~}"),
        (
            {"a": {"type": "array", "items": {"type": "string", "enum": ["x"], "minLength": 1, "description": None, "nullable": True}}},
            "a:{description:~~,items:{enum:[~x~],minLength:1,nullable:true,type:~STRING~},type:~ARRAY~}",
        ),
        (
            {"a": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}},
            "a:{description:~~,items:{items:{~type~:~string~},type:~ARRAY~},type:~ARRAY~}",
        ),
        (
            {"a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}}, "required": []}}},
            "a:{description:~~,items:{properties:{b:{description:~~,type:~INTEGER~}},required:[],type:~OBJECT~},type:~ARRAY~}",
        ),
        (
            {"a": {"type": "array", "items": {"type": ["string", None], "properties": 1}}},
            "a:{description:~~,items:{properties:{},type:[~STRING~,~NONE~]},type:~ARRAY~}",
        ),
    ],
)
def test_a_property_as_the_template_writes_it(properties, expected):
    assert declared(tool(properties)) == f"t{{description:~d~,parameters:{{properties:{{{expected}}},type:~OBJECT~}}}}"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ({}, "t{description:~d~}"),
        ({"parameters": {"type": "object"}}, "t{description:~d~,parameters:{type:~OBJECT~}}"),
        ({"parameters": {"type": "object", "properties": {}}}, "t{description:~d~,parameters:{type:~OBJECT~}}"),
        (
            {"parameters": {"type": "object", "required": ["a", 1, None]}},
            "t{description:~d~,parameters:{required:[~a~,~1~,~None~],type:~OBJECT~}}",
        ),
        ({"parameters": {"required": ["b", "a"]}}, "t{description:~d~,parameters:{required:[~b~,~a~],}"),
        ({"parameters": None, "description": None}, "t{description:~None~}"),
        ({"return": {"type": "string"}, "strict": True, "description": ["x"]}, "t{description:~['x']~}"),
    ],
)
def test_a_tool_as_the_template_writes_it(function, expected):
    assert declared(tool(None, **function)) == expected


def test_a_toolspec_is_written_like_its_json():
    spec = ToolSpec("t", "d", {"type": "object", "properties": {"a": {"type": "string"}}})
    assert declared(spec, spec) == declared(spec.to_json(), spec.to_json())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"b": 1, "A": 2, "a": 3, "_": 4}, "{_:4,A:2,a:3,b:1}"),
        ({"n": None, "t": True, "f": False}, "{f:false,n:None,t:true}"),
        ({"x": [1, 2.0, -0.5, 1e-05, 1e16, 10**30]}, f"{{x:[1,2.0,-0.5,1e-05,1e+16,{10**30}]}}"),
        ({"x": {"b": {}, "a": []}, "y": " s "}, "{x:{a:[],b:{}},y:~ s ~}"),
        ({"x": float("inf"), "y": float("nan")}, "{x:inf,y:nan}"),
        ({1: "a", 2: "b"}, "{1:~a~,2:~b~}"),
        ('{"a": 1}', "{" + " " * 20 + '{"a": 1}}'),
        (None, "{}"),
        ([1], "{}"),
    ],
)
def test_arguments_as_the_template_writes_them(arguments, expected):
    assert called(arguments) == expected


def test_calls_are_taken_in_every_shape():
    arguments = {"a": 1}
    shapes = [
        {"name": "f", "arguments": arguments},
        {"type": "function", "function": {"name": "f", "arguments": arguments}},
        ToolCall("f", arguments),
        fg.parse("<start_function_call>call:f{a:1}<end_function_call>").calls[0],
    ]
    assert fg.call_text(shapes) == "<start_function_call>call:f{a:1}<end_function_call>" * 4


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "ok", "name": " f "}, "<start_function_response>response:f{value:~ok~}<end_function_response>"),
        ({"content": {"name": "g", "response": {"a": 1}}, "name": "f"}, "<start_function_response>response:g{a:1}<end_function_response>"),
        ({"content": {"name": "g", "a": 1}, "name": "f"}, "<start_function_response>response:f{a:1,name:~g~}<end_function_response>"),
        (
            {"content": [{"b": 1}, {"name": "g", "response": {}}], "name": "f"},
            "<start_function_response>response:f{b:1}<end_function_response><start_function_response>response:g{}<end_function_response>",
        ),
        ({"content": "ok", "name": None}, "<start_function_response>response:None{value:~ok~}<end_function_response>"),
        ({"content": None}, ""), ({"content": []}, ""), ({"content": 0}, ""), ({}, ""),
    ],
)  # fmt: skip
def test_a_tool_message_as_the_template_writes_it(message, expected):
    assert fg.render_prompt([{"role": "tool"} | message], add_generation_prompt=True).replace("<escape>", "~") == "<bos>" + expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "system", "content": " a "}], "<start_of_turn>developer\na<end_of_turn>\n"),
        (
            [{"role": "developer", "content": [{"type": "text", "text": " a "}, {"type": "image"}]}],
            "<start_of_turn>developer\na<end_of_turn>\n",
        ),
        ([{"role": "developer"}], "<start_of_turn>developer\n<end_of_turn>\n"),
        ([{"role": "user", "content": []}], "<start_of_turn>user\n<end_of_turn>\n"),
        ([{"role": "user", "content": {"type": "text"}}], "<start_of_turn>user\n<end_of_turn>\n"),
        (
            [{"role": "user", "content": [{"type": "text"}, {"type": "text", "text": None}, "a", 1]}],
            "<start_of_turn>user\nNone<end_of_turn>\n",
        ),
        ([{"role": "critic", "content": "a"}], "<start_of_turn>critic\na<end_of_turn>\n"),
        ([{"role": "assistant", "content": "a", "tool_calls": []}], "<start_of_turn>model\na<end_of_turn>\n"),
        (
            [{"role": "assistant", "content": " a ", "tool_calls": [{"function": {"name": "f"}}]}, USER],
            "<start_of_turn>model\na<start_function_call>call:f{}<end_function_call><start_of_turn>user\nx<end_of_turn>\n",
        ),
        (
            [{"role": "tool", "content": "a", "name": "f"}, USER, USER],
            "<start_function_response>response:f{value:<escape>a<escape>}<end_function_response>x<end_of_turn>\n<start_of_turn>user\nx<end_of_turn>\n",
        ),
    ],
)
def test_messages_as_the_template_writes_them(messages, expected):
    assert fg.render_prompt(messages) == "<bos>" + expected


@pytest.mark.parametrize(
    ("messages", "tools", "reason"),
    [
        ([], None, "at least one message"),
        ([{"content": "x"}], None, r"messages\[0\].*role"),
        ([{"role": None}], None, r"messages\[0\].*role"),
        ([{"role": "user", "content": 5}], None, r"messages\[0\].*found a number"),
        ([{"role": "developer", "content": None}], None, r"messages\[0\].*found nothing"),
        ([USER, {"role": "tool", "content": "a"}], None, r"messages\[1\].*'name' must be provided"),
        ([USER, {"role": "tool", "content": 5, "name": "f"}], None, r"messages\[1\].*found a number"),
        ([USER, {"role": "tool", "content": {"name": "f", "response": "a"}}], None, r"messages\[1\].*object, found text"),
        ([USER, {"role": "tool", "content": [{"a": 1}]}], None, "'name' and 'response'"),
        ([USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}], None, r"messages\[1\].tool_calls\[0\].*function"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}], None, "found nothing for the name"),
        ([USER], [{"name": "f"}], r"tools\[0\].*wrap the tool"),
        ([USER], [tool({}), tool(None, parameters={"properties": ["a"]})], r"tools\[1\] \(t\).*object, found a list"),
        ([USER], [tool({"a": {"type": "array", "items": {"type": 5}}})], r"t\)\.a\.items, type.*found a number"),
    ],
)
def test_what_the_template_refuses(messages, tools, reason):
    with pytest.raises(PipelineError, match=reason):
        fg.render_prompt(messages, tools)


@pytest.fixture
def usual_recursion_limit():
    """Python's own: an exporter that another test imported has raised it for the whole process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


def test_bottomless_arguments_are_refused_in_words(usual_recursion_limit):
    arguments: dict = {}
    for _ in range(5000):
        arguments = {"a": arguments}
    with pytest.raises(PipelineError, match="too deeply"):
        fg.render_prompt([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}])


CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}
RESULT = {"role": "tool", "name": "f", "content": "ok"}
DEVELOPER = {"role": "developer", "content": fg.TRIGGER}


@pytest.mark.parametrize(
    ("messages", "completion"),
    [
        ([DEVELOPER, USER, CALL], "<start_function_call>call:f{a:1}<end_function_call><start_function_response>"),
        ([DEVELOPER, USER, {"role": "assistant", "content": " Hello "}], "Hello<end_of_turn>"),
        ([DEVELOPER, USER, CALL, RESULT, {"role": "assistant", "content": "Done."}], "Done.<end_of_turn>"),
        (
            [USER, {"content": "Well: ", **CALL}],
            "Well:<start_function_call>call:f{a:1}<end_function_call><start_function_response>",
        ),
        ([USER, {"role": "assistant", "content": None}], "<end_of_turn>"),
    ],
)
def test_an_example_is_cut_where_generation_starts(messages, completion):
    prompt, got = fg.render_example(messages, [tool({"a": {"type": "integer"}})])
    assert got == completion and got.endswith(fg.STOP_TOKENS)
    assert (prompt + got) == fg.render_prompt(messages, [tool({"a": {"type": "integer"}})]).removesuffix("\n")
    assert prompt.endswith(("<start_of_turn>model\n", "<end_function_response>"))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "last message"),
        ([DEVELOPER, USER], "last message"),
        ([CALL], "a request before"),
        ([USER, CALL, {"role": "assistant", "content": "Done."}], "leaves no place for generation"),
    ],
)
def test_what_makes_no_example(messages, reason):
    with pytest.raises(PipelineError, match=reason):
        fg.render_example(messages)


def test_stop_tokens_and_trigger_are_the_trained_ones():
    assert fg.STOP_TOKENS == ("<eos>", "<end_of_turn>", "<start_function_response>")
    assert set(fg.STOP_TOKENS) < set(fg.CONTROL_TOKENS)
    assert fg.control_tokens_in("a<escape>b<end_of_turn>") == ["<end_of_turn>", "<escape>"]


@pytest.mark.parametrize("messages", [USER, "x", 5, (message for message in [USER])])
def test_messages_that_are_no_list_are_refused_in_words(messages):
    for render in (fg.render_prompt, fg.render_example):
        with pytest.raises(PipelineError, match="Expected a list of messages, found .*; put the messages in a list"):
            render(messages)


@pytest.mark.parametrize(("request_", "spelled"), [("turn it <escape> red <end_of_turn>", "<end_of_turn>, <escape>"), ("turn it <red>", None), ("", None)])
def test_control_tokens_in_a_request_are_said(request_, spelled):
    said = fg.spelled_tokens(request_)
    assert (said is None) if spelled is None else said.startswith(f"The request spells {spelled}: the model reads that")
