"""parse and StreamParser: the shared cases, the policy spot by spot, the way back from call_text, any cut, any junk, linear time."""

from __future__ import annotations

import json
import math
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import functiongemma as fg
from pipeline.tools import ToolSpec
from tests.format_cases import cases

START, END, ESCAPE = "<start_function_call>", "<end_function_call>", "<escape>"
RESPONSE = "<start_function_response>"


def call(body: str) -> str:
    """A tagged call; ~ stands for <escape>."""
    return START + body.replace("~", ESCAPE) + END


def typed(value) -> str:
    """JSON text, because 1 == 1.0 == True in Python."""
    return json.dumps(value, sort_keys=True)


def fed(text: str, cuts, tools=None) -> fg.Reply:
    """The reply of a parser that got `text` cut at these places; its events must tell the same story."""
    parser, events, last = fg.StreamParser(tools), [], 0
    for cut in [*sorted(cuts), len(text)]:
        events += parser.feed(text[last:cut])
        last = cut
    reply = parser.close()
    assert reply.text.startswith("".join(event for event in events if isinstance(event, str)))
    seen = [event for event in events if isinstance(event, fg.Call)]
    assert tuple(seen) == reply.calls[: len(seen)]
    return reply


@pytest.mark.parametrize("case", cases("parser_cases.json"))
def test_shared_case(case):
    reply, wanted = fg.parse(case["full_input"], case["tools"]), case["recommended"]
    assert reply.text == wanted["text"]
    assert typed([{"name": c.name, "arguments": c.arguments} for c in reply.calls]) == typed(wanted["calls"])
    assert [list(c.diagnostics) for c in reply.calls] == wanted["call_diagnostics"]
    assert [{"code": d.code, "detail": d.detail} for d in reply.diagnostics] == wanted["rejected"]
    text, rng = case["full_input"], random.Random(case["id"])
    cuttings = [range(len(text)), *(rng.sample(range(len(text) + 1), k=min(len(text), n)) for n in (1, 2, 3, 5, 8, 13))]
    if case.get("chunks"):
        assert "".join(case["chunks"]) == text
        ends = [sum(map(len, case["chunks"][:i])) for i in range(1, len(case["chunks"]))]
        cuttings.append(ends)
    for cuts in cuttings:
        assert fed(text, cuts, case["tools"]) == reply


@pytest.mark.parametrize(
    ("text", "arguments", "codes"),
    [
        (call("call:f{a:null,b:None}"), {"a": None, "b": None}, []),
        (call(" call: f { b : 1 , a : [ 2 , ~x~ ] } \n"), {"b": 1, "a": [2, "x"]}, []),
        (call("call:f{~a~:1,~b:c~:~}~}"), {"a": 1, "b:c": "}"}, []),
        (call("call:f{a:1E5,b:-0,c:-1.5e-3}"), {"a": 1e5, "b": 0, "c": -0.0015}, []),
        (call("call:f{a:1.,b:.5,c:1e400,d:inf}"), {"a": "1.", "b": ".5", "c": "1e400", "d": "inf"}, ["bare_string"] * 4),
        (call("call:f{a:" + "9" * 5000 + "}"), {"a": "9" * 5000}, ["bare_string"]),
        (call("call:f{a:'x',b:y:3}"), {"a": "'x'", "b": "y:3"}, ["bare_string"] * 2),
        (call("call:f{a:[Action,True,x y]}"), {"a": ["Action", True, "x y"]}, ["bare_string", "python_literal", "bare_string"]),
        (call('call:f{a:"x" y}'), {"a": '"x" y'}, ["bare_string"]),
        (call('call:f{a:"x\\n,}\\u00e9"}'), {"a": "x\n,}é"}, ["json_quoted_string"]),
        (call("call:f{a:~x~b:1,c:[~y~~z~]}"), {"a": "x", "b": 1, "c": ["y", "z"]}, ["missing_comma"] * 2),
        (call("call:f{a:{b:1}c:2}"), {"a": {"b": 1}, "c": 2}, ["missing_comma"]),
        (call("call:f{a:[1,],b:2,}"), {"a": [1], "b": 2}, ["trailing_comma"] * 2),
        (call("call:f{a:1,a:{b:1,b:2}}"), {"a": {"b": 2}}, ["duplicate_key"] * 2),
        (call("call:f{a:1"), {"a": 1}, ["unclosed_object"]),
        (call("call:f{a:{b:~x~"), {"a": {"b": "x"}}, ["unclosed_object"]),
        (call("call:f{a:1}}"), {"a": 1}, ["junk_after_args"]),
        (call("call:f{a:1},\n"), {"a": 1}, ["junk_after_args"]),
        (call("call f{a:1}"), {"a": 1}, ["nonstandard_call_prefix"]),
        (call("call:f"), {}, ["missing_args_object"]),
        (START + "call:f{a:1}", {"a": 1}, ["missing_end_tag"]),
        (START + "call:f{a:1}" + RESPONSE, {"a": 1}, ["missing_end_tag"]),
        (START + "call:f{a:1}<end_of_turn>\n", {"a": 1}, ["missing_end_tag"]),
        (START + "call:f{a:1}" + END[:9], {"a": 1}, ["missing_end_tag"]),
        ("call:f{a:1}", {"a": 1}, ["missing_start_tag"]),
        ("\ncall:f{a:1}" + END + "\n<end_of_turn>", {"a": 1}, ["missing_start_tag"]),
        (call('{"name":"f","arguments":{"a":[1,2.5,null,true]}}'), {"a": [1, 2.5, None, True]}, ["json_style"]),
        (call('{"name":"f","arguments":"{\\"a\\": 1}"}'), {"a": 1}, ["json_style"]),
        (call('{"name":"f","parameters":{"a":1,}}'), {"a": 1}, ["json_style", "trailing_comma"]),
    ],
)
def test_a_call_that_is_tolerated(text, arguments, codes):
    reply = fg.parse(text)
    assert [c.name for c in reply.calls] == ["f"] and not reply.text.strip() and not reply.diagnostics
    assert typed(reply.calls[0].arguments) == typed(arguments)
    assert list(reply.calls[0].diagnostics) == codes
    assert reply.calls[0].status == ("repaired" if codes else "ok")


@pytest.mark.parametrize(
    ("text", "code", "detail", "at"),
    [
        (START, "truncated_call", "truncated_prefix", ""),
        (START + "ca", "truncated_call", "truncated_prefix", ""),
        (START + "call:get_wea", "truncated_call", "truncated_name", ""),
        (START + "call:f{", "truncated_call", "truncated_object", ""),
        (START + "call:f{a", "truncated_call", "truncated_key", ""),
        (START + "call:f{<escape>a<escape>", "truncated_call", "truncated_pair", ""),
        (START + "call:f{a:", "truncated_call", "truncated_value", ""),
        (START + "call:f{a:12", "truncated_call", "truncated_value", ""),
        (START + "call:f{a:12" + RESPONSE, "truncated_call", "truncated_value", RESPONSE),
        (START + "call:f{a:[<escape>x<escape>,", "truncated_call", "truncated_array", ""),
        (START + "call:f{a:<escape>x<esc", "truncated_call", "unterminated_string", ""),
        (START + "call:f{a:<escape>x<escape>", "truncated_call", "truncated_object", ""),
        (START + "call:f{a:<escape>x<escape>b", "truncated_call", "truncated_key", ""),
        (call("call:f{a:[1,2"), "truncated_call", "truncated_array", END),
        (call(""), "malformed_call", "not_a_call", END),
        (call("Call:f{}"), "malformed_call", "not_a_call", "Call:f{}" + END),
        (call('[{"name":"f"}]'), "malformed_call", "not_a_call", "[{"),
        (call('{"arguments":{}}'), "malformed_call", "missing_name", '{"arg'),
        (call('{"name":"f","arguments":"x"}'), "malformed_call", "args_not_object", '{"name'),
        (call("call:f(a=1)"), "malformed_call", "args_not_object", "(a=1)"),
        (call("call:turn it on"), "malformed_call", "args_not_object", END),
        (call("call:f{a}"), "malformed_call", "missing_colon", "}"),
        (call("call:f{:1}"), "malformed_call", "bad_key", ":1}"),
        (call("call:f{a:1,,b:2}"), "malformed_call", "bad_key", ",b:2}"),
        (call("call:f{{a:1}}"), "malformed_call", "bad_key", "{a:1}}"),
        (call("call:f{a:}"), "malformed_call", "empty_value", "}"),
        (call("call:f{a:[1,,2]}"), "malformed_call", "empty_value", ",2]"),
        (call("call:f{a:foo~x~}"), "malformed_call", "junk_before_string", "foo"),
        (call("call:f{a:~x~y~z~}"), "malformed_call", "ambiguous_escape_or_junk", "y<escape>z"),
        (call("call:f{a:[1}"), "malformed_call", "ambiguous_escape_or_junk", "}"),
        (call("call:f{a:" + "[" * 64 + "]" * 64 + "}"), "malformed_call", "too_deep", "[" + "]" * 64),
        (call("call:f" + "{a:" * 65 + "1" + "}" * 65), "malformed_call", "too_deep", "{a:1}"),
    ],
)
def test_a_call_that_is_refused(text, code, detail, at):
    """It never becomes a call or text; the diagnostic holds all of it, and points to the character where it broke."""
    reply = fg.parse(text)
    assert reply.calls == () and reply.text == ""
    (problem,) = reply.diagnostics
    assert (problem.code, problem.detail) == (code, detail)
    assert problem.raw == text.removesuffix(RESPONSE)
    assert text[problem.position :].startswith(at) and (at or problem.position == len(text))
    assert problem.message.endswith(".") and problem.expected and problem.expected in problem.message


@pytest.mark.parametrize(
    ("text", "words", "names", "problems"),
    [
        ("", "", [], []),
        ("Hi <b>x</b> <", "Hi <b>x</b> <", [], []),
        ("Hi <start_function_cal", "Hi <start_function_cal", [], []),
        ("Hi<end_of_turn>\n", "Hi", [], []),
        ("Hi<eos><pad><pad>", "Hi", [], []),
        ("Hi<end_of_turn>\nmore<pad>", "Hi", [], [("content_after_end_of_turn", "more<pad>", 16)]),
        (call("call:f{}") + RESPONSE + "<end_of_turn>", "", ["f"], []),
        (
            call("call:f{}") + RESPONSE + " response:f{a:1}" + call("call:g{}"), "", ["f"],
            [("content_after_response_token", "response:f{a:1}" + call("call:g{}"), 74)],
        ),
        ("a" + END + "b" + ESCAPE, "ab", [], [("stray_token", END, 1), ("stray_token", ESCAPE, 21)]),
        ("<start_of_turn>model\nHi", "model\nHi", [], [("stray_token", "<start_of_turn>", 0)]),
        (START + "call:f{}" + call("call:g{}"), "", ["f", "g"], []),
        (call("call:f{}call:g{},\ncall:h{}"), "", ["f", "g", "h"], []),
        (call("call:f{}call:g{a}") + "!", "!", ["f"], [("malformed_call", "call:g{a}" + END, 37)]),
        (call("call:f{a:~x~y~}") + "then " + call("call:g{}"), "then ", ["g"], [("malformed_call", call("call:f{a:~x~y~}"), 47)]),
        ("call: me maybe", "call: me maybe", [], []),
        ("call:f{a:1} and so on", "call:f{a:1} and so on", [], []),
        ("call:f{a:1", "call:f{a:1", [], []),
        ("call:f", "call:f", [], []),
        ("Sure: call:f{a:1}", "Sure: call:f{a:1}", [], []),
        (
            "call:x" + START + "call:f{a:1", "call:x", [],
            [("truncated_call", START + "call:f{a:1", 37)],
        ),
        ("call:" + ESCAPE + START + "call:f{}", "call:", ["f"], [("stray_token", ESCAPE, 5)]),
        ("call:f{}" + END + call("call:g{}"), "call:f{}", ["g"], [("stray_token", END, 8)]),
    ],
)  # fmt: skip
def test_a_whole_reply(text, words, names, problems):
    reply = fg.parse(text)
    assert (reply.text, [c.name for c in reply.calls]) == (words, names)
    assert [(d.code, d.raw, d.position) for d in reply.diagnostics] == problems
    assert fed(text, range(len(text))) == reply


def test_two_calls_in_one_block_say_so():
    assert [c.diagnostics for c in fg.parse(call("call:f{}call:g{}")).calls] == [("multiple_calls_in_block",)] * 2
    assert [c.status for c in fg.parse(call("call:f{}call:g{a}")).calls] == ["repaired"]


@pytest.mark.parametrize("tools", [[{"name": "f"}], [{"type": "function", "function": {"name": "f"}}], [ToolSpec("f")]])
def test_an_unknown_tool_is_returned_and_flagged(tools):
    known, unknown = fg.parse(call("call:f{}") + call("call:g{}"), tools).calls
    assert (known.diagnostics, unknown.diagnostics) == ((), ("unknown_tool",))
    assert unknown.status == "ok"


def test_positions_and_raw_of_calls_lead_back_to_the_reply():
    text = "Well: " + call("call:f{a:1}") + " and " + call("call:g{}call:h{}")
    for one in fg.parse(text).calls:
        assert text[one.position : one.position + len(one.raw)] == one.raw


def test_a_call_is_certain_at_its_end_tag_and_text_at_once():
    parser = fg.StreamParser()
    assert parser.feed("Hello <") == ["Hello "]
    assert parser.feed("b") == []
    assert parser.feed("r>") == ["<", "br>"]
    assert parser.feed(START + "call:f{a:{b:1}}" + END[:-1]) == []
    (done,) = parser.feed(">")
    assert isinstance(done, fg.Call) and done.arguments == {"a": {"b": 1}}


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["}", END, "<end_of_turn>", "true", "42", ",b:", "<escap"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS
VALUES = st.recursive(
    SCALARS.filter(lambda v: not (isinstance(v, str) and ESCAPE in v)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=4)), min_size=1, max_size=3), st.data())
def test_parse_gives_back_what_call_text_wrote(written, data):
    """Values, types and order of calls survive; a string that ends like "<escap" too, because its tag is cut from the left."""
    text = fg.call_text([{"name": name, "arguments": arguments} for name, arguments in written])
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    reply = fed(text + RESPONSE, cuts)
    assert reply.text == "" and reply.diagnostics == ()
    assert [c.name for c in reply.calls] == [name for name, _ in written]
    assert [typed(c.arguments) for c in reply.calls] == [typed(arguments) for _, arguments in written]
    assert {c.status for c in reply.calls} == {"ok"}


def test_nan_and_infinity_come_back_as_text():
    (got,) = fg.parse(fg.call_text([{"name": "f", "arguments": {"a": math.nan, "b": -math.inf}}])).calls
    assert got.arguments == {"a": "nan", "b": "-inf"} and got.diagnostics == ("bare_string",) * 2


PIECES = [START, END, ESCAPE, RESPONSE, "<end_of_turn>", "<pad>", "call:", "f", "{", "}", "[", "]", ":", ",", '"', "\\", " ", "\n", "a", "1", "<", "é"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.data())
@example([START, "call:", "f", "{", "a", ":", ESCAPE, "a", ESCAPE, "a", ESCAPE, END, "a"], None)
def test_any_junk_is_read_the_same_however_it_is_cut(pieces, data):
    text = "".join(pieces)
    reply = fg.parse(text)
    assert fed(text, range(len(text))) == reply
    if data:
        assert fed(text, data.draw(st.lists(st.integers(0, len(text)), max_size=6))) == reply
    assert not fg.control_tokens_in(reply.text)
    for one in (*reply.calls, *reply.diagnostics):
        assert one.raw in text


UNITS = ["{", "[", "<", "\\", '"', " ", "}", ESCAPE, START, END, RESPONSE, "call:", "{a:", "a:1,", '"a":1,', 'a:"\\q",', 'a:"\\",', "k:<escape>v<escape>",
         "<escape>a", "call:f{}", "call:f{a:1}" + END, '"x" y,', "<start_function_"]  # fmt: skip
BEFORE = ["", START, START + "call:f{a:", START + "call:f{a:[", "call:"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_hundred_kilobytes_of_anything_take_no_time(unit):
    """A tenth of a second each at most; the bound leaves room for a busy machine and is far below what quadratic reading takes."""
    for before in BEFORE:
        text = before + (unit * (100_000 // len(unit) + 1))[:100_000]
        start = time.thread_time()
        fg.parse(text)
        whole = time.thread_time() - start
        assert whole < 5, (before, whole)
    text = text[:25_000]
    start = time.thread_time()
    assert fed(text, range(len(text))) == fg.parse(text)
    assert time.thread_time() - start < 5


def test_no_text_is_an_empty_reply():
    assert fg.parse(None) == fg.parse("") == fg.Reply("")
