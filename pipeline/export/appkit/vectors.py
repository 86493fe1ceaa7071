"""Golden test vectors: prompts, replies, and what every reader of the kit must make of them, in one file for all languages.

The first are held-out rows of the dataset: the prompt exactly as in training, the reply the model is to learn, its calls. Then come cases
that break careless readers: strings with quotes, braces and control tokens in them, nesting, numbers, white space, several calls, replies
that are cut or broken. Those are written by hand, here; nothing in them is what a reader of this kit happened to say.

The readers are stricter than `pipeline.functiongemma.parse`: what that repairs and reports, they refuse with a place
(../shared/format/FORMAT.md, section 7: the calls that are `ok`, and `missing_end_tag`, where nothing can be misread).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import functiongemma as wire
from pipeline.examples import Example, ToolDataset, conversation
from pipeline.export.source import Row
from pipeline.tools import ToolCall, ToolSpec, control_tokens_in

PLACE = "‸"
"""Stands in a reply below where a reader must say that it broke; taken out of the reply itself."""
_A, _Z, _E = wire.START_CALL, wire.END_CALL, wire.ESCAPE
START_OF_TURN, END_OF_TURN, START_RESPONSE = wire.START_OF_TURN, wire.END_OF_TURN, wire.START_RESPONSE
_STOPPED = "content_after_response_token"


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


# name, the calls that are written as the template writes them
CALLS: tuple[tuple[str, list[tuple[str, dict[str, Any]]]], ...] = (
    ("no arguments", [("find_phone", {})]),
    ("words and numbers", [("f", {"text": "hall", "n": 2, "x": 2.0, "low": -0.5, "on": True, "off": False, "none": None})]),
    ("numbers at the edges", [("f", {"a": 0, "b": -1, "c": 1e-05, "d": 1e16, "e": 2**53 + 1, "f": -(2**63), "g": 2**63 - 1})]),
    ("a string that looks like something else", [("f", {"a": "42", "b": "true", "c": "{x:1}", "d": "[1,2]", "e": "null", "g": ""})]),
    ("quotes, backslashes, line ends", [("f", {"a": "say \"hi\" and 'bye'", "b": "C:\\new\\table", "c": "one\ntwo\r\n\tthree"})]),
    ("braces, commas, colons in a string", [("f", {"text": "} , ] { [ : a:1}", "z": 1})]),
    ("tokens in a string", [("f", {"text": f"a {_Z} b {_A}call:g{{}}{_Z} c {END_OF_TURN}{START_RESPONSE}<eos>", "z": 1})]),
    ("markup in a string", [("f", {"text": "1 < 2 && 3 > 2 <b>bold</b> ${x} $(y) \\(z) </script> */ <escap"})]),
    ("many scripts", [("f", {"größe": "Grüße, 你好, שלום, नमस्ते, 👩‍👩‍👧 🇩🇪", "décomposé": "e\u0301"})]),
    ("lists", [("f", {"a": [], "b": [1, 2.5, "x", True, None], "c": [[1], [[2]], {"k": [3]}]})]),
    ("objects", [("f", {"place": {"city": "Bonn", "at": {"lat": 50.7, "tags": ["a", "b"]}}, "empty": {}})]),
    ("names of objects in other languages", [("f", {"__proto__": 1, "constructor": {"prototype": 2}, "class": "x", "toString": None})]),
    ("keys with dots, dashes and blanks", [("name.space-d_2", {"a.b": 1, "c-d": 2, "e f": 3, "_": 4})]),
    ("two calls", [("set_light", {"room": "hall", "on": True}), ("start_timer", {"minutes": 5})]),
    ("the same call twice", [("f", {"a": 1}), ("f", {"a": 1})]),
    ("64 levels", [("f", {"a": _nested(63)})]),
)
# name, reply, text, calls: read without an error although the template writes it in another way
VARIANTS: tuple[tuple[str, str, str, list[tuple[str, dict[str, Any]]]], ...] = (
    ("text", f"Hello, what can I do?{END_OF_TURN}", "Hello, what can I do?", []),
    ("text without a stop", "Hello <b>you</b> <", "Hello <b>you</b> <", []),
    ("nothing", "", "", []),
    ("only a stop", END_OF_TURN, "", []),
    ("text before a call", f"Sure. {_A}call:f{{}}{_Z}{START_RESPONSE}", "Sure. ", [("f", {})]),
    ("text around calls", f"a{_A}call:f{{}}{_Z} b\n{_A}call:g{{}}{_Z}c", "a b\nc", [("f", {}), ("g", {})]),
    ("white space", f"{_A} call:f {{ a : 1 , b : [ 1 , {_E}x{_E} ] ,\n\tc : {{ }} }} {_Z}", "", [("f", {"a": 1, "b": [1, "x"], "c": {}})]),
    ("null instead of None", f"{_A}call:f{{a:null,b:None}}{_Z}", "", [("f", {"a": None, "b": None})]),
    ("keys between escapes", f"{_A}call:f{{{_E}a:b{_E}:1,{_E}{_E}:2}}{_Z}", "", [("f", {"a:b": 1, "": 2})]),
    ("no end tag", f"{_A}call:f{{a:1}}", "", [("f", {"a": 1})]),
    ("half an end tag", f"{_A}call:f{{a:1}}<end_function", "", [("f", {"a": 1})]),
    ("no end tag before a stop", f"{_A}call:f{{a:1}}{START_RESPONSE}", "", [("f", {"a": 1})]),
    ("padding after the end", f"{_A}call:f{{}}{_Z}{START_RESPONSE}\n<eos><pad><pad> ", "", [("f", {})]),
    ("text that only begins like a call", "call: me later", "call: me later", []),
)
# name, reply with the place, text, calls, code of the one error
BROKEN: tuple[tuple[str, str, str, list[tuple[str, dict[str, Any]]], str], ...] = (
    ("cut before the name", f"{_A}cal{PLACE}", "", [], "truncated_call"),
    ("cut in the name", f"{_A}call:set_li{PLACE}", "", [], "truncated_call"),
    ("cut in a key", f"{_A}call:f{{ro{PLACE}", "", [], "truncated_call"),
    ("cut after a colon", f"{_A}call:f{{room:{PLACE}", "", [], "truncated_call"),
    ("cut in a string", f"{_A}call:f{{room:{_E}ha}}{_Z}{PLACE}", "", [], "truncated_call"),
    ("cut in a token", f"{_A}call:f{{room:{PLACE}<esc", "", [], "truncated_call"),
    ("cut in a number", f"{_A}call:f{{n:1{PLACE}", "", [], "truncated_call"),
    ("cut in a list", f"{_A}call:f{{n:[1,{PLACE}", "", [], "truncated_call"),
    ("cut after a value", f"{_A}call:f{{a:{_E}x{_E}{PLACE}", "", [], "truncated_call"),
    ("cut by the end of the turn", f"{_A}call:f{{a:{_E}x{_E}{PLACE}{END_OF_TURN}", "", [], "truncated_call"),
    ("cut second call", f"{_A}call:f{{}}{_Z}{_A}call:g{{a:{PLACE}", "", [("f", {})], "truncated_call"),
    ("a call within a cut string", f"{_A}call:f{{a:{_E}x{_A}call:g{{}}{_Z}{PLACE}", "", [], "truncated_call"),
    ("cut after text", f"Sure. {_A}call:f{{{PLACE}", "Sure. ", [], "truncated_call"),
    ("cut behind a letter beyond 16 bits", f"👍 {_A}call:f{{a:{PLACE}", "👍 ", [], "truncated_call"),
    ("no call in the tags", f"{_A}{PLACE}hello{_Z}", "", [], "malformed_call"),
    ("JSON instead of a call", f'{_A}{PLACE}{{"name":"f","arguments":{{}}}}{_Z}', "", [], "malformed_call"),
    ("no name", f"{_A}call:{PLACE}{{a:1}}{_Z}", "", [], "malformed_call"),
    ("no braces", f"{_A}call:f{PLACE}{_Z}", "", [], "malformed_call"),
    ("a blank before the name", f"{_A}call:{PLACE} f{{}}{_Z}", "", [], "malformed_call"),
    ("parentheses", f"{_A}call:f{PLACE}(a=1){_Z}", "", [], "malformed_call"),
    ("a bare string", f"{_A}call:f{{city:{PLACE}Paris}}{_Z}", "", [], "malformed_call"),
    ("a quoted string", f'{_A}call:f{{city:{PLACE}"Paris"}}{_Z}', "", [], "malformed_call"),
    ("a quoted key", f'{_A}call:f{{{PLACE}"city":1}}{_Z}', "", [], "malformed_call"),
    ("True as in Python", f"{_A}call:f{{on:{PLACE}True}}{_Z}", "", [], "malformed_call"),
    ("not a number", f"{_A}call:f{{n:{PLACE}nan}}{_Z}", "", [], "malformed_call"),
    ("a number with leading zeros", f"{_A}call:f{{n:{PLACE}007}}{_Z}", "", [], "malformed_call"),
    ("a number beyond 64 bits", f"{_A}call:f{{n:{PLACE}9223372036854775808}}{_Z}", "", [], "malformed_call"),
    ("a number beyond all", f"{_A}call:f{{n:{PLACE}1e999}}{_Z}", "", [], "malformed_call"),
    ("no value", f"{_A}call:f{{n:{PLACE}}}{_Z}", "", [], "malformed_call"),
    ("no colon", f"{_A}call:f{{n{PLACE}}}{_Z}", "", [], "malformed_call"),
    ("no key", f"{_A}call:f{{{PLACE}:1}}{_Z}", "", [], "malformed_call"),
    ("a comma too much", f"{_A}call:f{{n:1,{PLACE}}}{_Z}", "", [], "malformed_call"),
    ("a comma too few", f"{_A}call:f{{a:{_E}x{_E}{PLACE}b:1}}{_Z}", "", [], "malformed_call"),
    ("escape within a string", f"{_A}call:f{{a:{_E}one{_E} {PLACE}two{_E}}}{_Z}", "", [], "malformed_call"),
    ("the same key twice", f"{_A}call:f{{a:1,{PLACE}a:2}}{_Z}", "", [], "malformed_call"),
    ("no closing brace", f"{_A}call:f{{a:{_E}x{_E}{PLACE}{_Z}", "", [], "malformed_call"),
    ("the wrong bracket", f"{_A}call:f{{a:[1{PLACE}}}}}{_Z}", "", [], "malformed_call"),
    ("two calls in one block", f"{_A}call:f{{}}{PLACE}call:g{{}}{_Z}", "", [], "malformed_call"),
    ("something behind the braces", f"{_A}call:f{{}} {PLACE}ok{_Z}", "", [], "malformed_call"),
    ("nothing is read after a broken call", f"{_A}call:f{{a:{PLACE}x}}{_Z}{_A}call:g{{}}{_Z}", "", [], "malformed_call"),
    ("no start tag", f"{PLACE}call:f{{a:1}}{_Z}", "", [], "malformed_call"),
    ("65 levels", f"{_A}call:f{{a:{'[' * 63}{PLACE}[{']' * 64}}}{_Z}", "", [], "malformed_call"),
    ("a stray token", f"{PLACE}{START_OF_TURN}hello{END_OF_TURN}", "hello", [], "stray_token"),
    ("text after the place of the result", f"{_A}call:f{{}}{_Z}{START_RESPONSE}{PLACE}response:f{{}}", "", [("f", {})], _STOPPED),
    ("a call after the place of the result", f"{_A}call:f{{}}{_Z}{START_RESPONSE}{PLACE}{_A}call:g{{}}{_Z}", "", [("f", {})], _STOPPED),
    ("text after the end of the turn", f"Hello{END_OF_TURN}\n{PLACE}{START_OF_TURN}user", "Hello", [], "content_after_end_of_turn"),
)


def golden(rows: Sequence[Row], tools: Sequence[ToolSpec], developer: str) -> dict[str, Any]:
    """The content of vectors.json. `at` counts characters (code points) from 0, `at_utf16` the units of a UTF-16 string.

    A row of one request to these tools has `request` and `developer`, from which each language's render_prompt makes its `prompt`.
    """
    declared = declarations(tools)
    return {
        "format": 1,
        "developer": developer,
        "declarations": declared,
        "vectors": [*(_of_row(number, row, declared) for number, row in enumerate(rows, 1)), *_written()],
    }


def declarations(tools: Sequence[ToolSpec]) -> str:
    """What stands behind the developer's text in every prompt that declares these tools."""
    prompt = wire.render_prompt([{"role": "developer", "content": ""}, {"role": "user", "content": ""}], list(tools))
    return prompt.removeprefix(f"{wire.BOS}{START_OF_TURN}developer\n").partition(f"{END_OF_TURN}\n{START_OF_TURN}user\n")[0]


def beginning(example: Example) -> tuple[str, str] | None:
    """(developer's text, request) of a prompt that is one developer message, or none, and one request; None for any other."""
    roles = [message.get("role") for message in example.prompt]
    texts = [message.get("content") for message in example.prompt]
    if roles not in (["user"], ["developer", "user"], ["system", "user"]) or not all(isinstance(text, str) for text in texts):
        return None
    return (texts[0] if len(texts) > 1 else ""), texts[-1]


def usual_developer(dataset: ToolDataset) -> str:
    """The developer's text with which most of a dataset's conversations begin."""
    first = conversation("", dataset)[0]
    return first["content"] if first["role"] == "developer" else ""


def _of_row(number: int, row: Row, declared: str) -> dict[str, Any]:
    calls = [call.to_json() for call in row.example.calls]
    vector = _vector(f"row {number}", row.completion, row.example.reply_text.strip(), calls, [])
    start = beginning(row.example)
    if start and f"{declared}{END_OF_TURN}\n{START_OF_TURN}user\n" in row.prompt and not control_tokens_in(start[1]):
        vector |= {"developer": start[0], "request": start[1]}
    return vector | {"prompt": row.prompt}


def _written() -> list[dict[str, Any]]:
    found = []
    for name, calls in CALLS:
        spoken = [ToolCall(*call) for call in calls]
        found.append(_vector(name, wire.call_text(spoken) + START_RESPONSE, "", [call.to_json() for call in spoken], []))
    for name, reply, text, calls in VARIANTS:
        found.append(_vector(name, reply, text, [ToolCall(*call).to_json() for call in calls], []))
    for name, marked, text, calls, code in BROKEN:
        before, _, after = marked.partition(PLACE)
        error = {"code": code, "at": len(before), "at_utf16": len(before.encode("utf-16-le")) // 2}
        found.append(_vector(name, before + after, text, [ToolCall(*call).to_json() for call in calls], [error]))
    return found


def _vector(name: str, reply: str, text: str, calls: list[dict[str, Any]], errors: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "reply": reply, "text": text, "calls": calls, "errors": errors}
