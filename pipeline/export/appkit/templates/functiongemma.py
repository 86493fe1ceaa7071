"""FunctionGemma's replies and prompts for a Python app: the standard library only, one file to copy.

`parse` reads a reply strictly: a call is returned only if it is written exactly as the model was trained to write it. Anything else is
a ParseError with the place where it broke; nothing is guessed. The first broken call ends the reading, because where its strings end is
then unknown. Linear time, at most 64 levels deep. `python3 functiongemma.py vectors.json` checks this file against the golden vectors.
"""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

BOS, ESCAPE = "<bos>", "<escape>"
START_CALL, END_CALL = "<start_function_call>", "<end_function_call>"
STOPS = {
    "<start_function_response>": "content_after_response_token",
    "<end_of_turn>": "content_after_end_of_turn",
    "<eos>": "content_after_end_of_turn",
}
CONTROL_TOKENS = (
    "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<escape>", "<start_function_declaration>",
    "<end_function_declaration>", "<start_function_call>", "<end_function_call>", "<start_function_response>",
    "<end_function_response>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_receiver>", "<end_receiver>",
    "<unk>", "<mask>",
)  # fmt: skip
MAX_DEPTH = 64
_LONGEST = max(map(len, CONTROL_TOKENS))
_SPACES = (  # as str.strip has them, which the model's chat template trims by
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_WORDS = {"true": True, "false": False, "null": None, "None": None}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Call:
    """A call that the model wrote without a mistake. Whether it may run, and with these arguments, is your app's decision."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ParseError:
    """What could not be read: `code`, the character `at` which it broke (from 0), what was `expected` there, the `raw` text.

    Codes: truncated_call (cut off: more tokens would have helped), malformed_call, stray_token, content_after_response_token,
    content_after_end_of_turn.
    """

    code: str
    at: int
    expected: str
    raw: str


@dataclass(frozen=True)
class Reply:
    """`text` is for the user; run nothing of a reply that has errors of the kinds truncated_call or malformed_call."""

    text: str
    calls: list[Call]
    errors: list[ParseError]


def parse(reply: str) -> Reply:
    """Reads a whole reply, control tokens included. Never raises."""
    reader = _Reader(reply)
    if reader.is_call_without_start():
        return Reply("", [], [ParseError("malformed_call", reader.space(0), START_CALL, reply)])
    text: list[str] = []
    calls: list[Call] = []
    errors: list[ParseError] = []
    at = 0
    while at < len(reply):
        start = reply.find("<", at)
        if start != at:
            text.append(reply[at : start if start >= 0 else None])
        if start < 0:
            break
        token = reader.token(start)
        at = start + (len(token) or 1)
        if not token:
            text.append("<")
        elif token == START_CALL:
            try:
                call, at = reader.call(at)
            except _Broken as broken:
                errors.append(ParseError(broken.code, broken.at, broken.expected, reply[start:]))
                break
            calls.append(call)
        elif token in STOPS:
            at = reader.end(at)
            if at < len(reply):
                errors.append(ParseError(STOPS[token], at, "the end of the reply", reply[at:]))
            break
        else:
            errors.append(ParseError("stray_token", start, "text, a call or the end of the reply", token))
    return Reply("".join(text), calls, errors)


def render_prompt(request: str, developer: str, declarations: str) -> str:
    """The prompt of a first request, as in training. Runtimes that add <bos> themselves want it without: `.removeprefix(BOS)`.

    Raises ValueError if the request spells a control token: the model would read it as one.
    """
    spelled = [token for token in CONTROL_TOKENS if token in request]
    if spelled:
        raise ValueError(f"The request spells the control token {spelled[0]}.")
    start = f"{BOS}<start_of_turn>developer\n{developer.strip(_SPACES)}{declarations}<end_of_turn>\n"
    return f"{start}<start_of_turn>user\n{request.strip(_SPACES)}<end_of_turn>\n<start_of_turn>model\n"


class _Broken(Exception):
    def __init__(self, code: str, at: int, expected: str):
        self.code, self.at, self.expected = code, at, expected
        super().__init__(code)


class _Reader:
    """Recursive descent over the text; every method takes a position and gives back the next one."""

    def __init__(self, text: str):
        self.text = text

    def fail(self, at: int, expected: str) -> NoReturn:
        cut = self.is_cut(at) or self.token(at) not in ("", ESCAPE, END_CALL)
        raise _Broken("truncated_call" if cut else "malformed_call", at, expected)

    def token(self, at: int) -> str:
        """The control token at this place, "" if there is none."""
        return next((token for token in CONTROL_TOKENS if self.text.startswith(token, at)), "")

    def is_cut(self, at: int) -> bool:
        """Whether the text ends here, or in the middle of a control token that starts here."""
        rest = self.text[at : at + _LONGEST]
        return at + len(rest) == len(self.text) and any(token != rest and token.startswith(rest) for token in CONTROL_TOKENS)

    def space(self, at: int) -> int:
        while at < len(self.text) and self.text[at] in _SPACES:
            at += 1
        return at

    def end(self, at: int) -> int:
        """The first place that holds anything but white space, stops and padding."""
        while True:
            at = self.space(at)
            token = self.token(at)
            if token not in STOPS and token != "<pad>":
                return at
            at += len(token)

    def is_call_without_start(self) -> bool:
        start = self.space(0)
        if not self.text.startswith("call:", start):
            return False
        try:
            return self.end(self.call(start)[1]) == len(self.text)
        except _Broken:
            return False

    def until(self, at: int, stops: str, spaces: str = "") -> int:
        """The next place of a character in `stops` or `spaces`, or of a control token. Fails at the end of the text."""
        while at < len(self.text) and self.text[at] not in stops and self.text[at] not in spaces:
            if self.text[at] == "<" and (self.token(at) or self.is_cut(at)):
                break
            at += 1
        if at == len(self.text):
            self.fail(at, "the rest of the call")
        return at

    def character(self, at: int, expected: str) -> int:
        at = self.space(at)
        if self.text[at : at + 1] != expected:
            self.fail(at, expected)
        return at + 1

    def call(self, at: int) -> tuple[Call, int]:
        at = self.space(at)
        if not self.text.startswith("call:", at):
            self.fail(len(self.text) if "call:".startswith(self.text[at : at + 5]) else at, "call:")
        start = at + 5
        at = self.until(start, "{}[]()<>\",=", _SPACES)
        if at == start:
            self.fail(at, "the name of a function")
        name = self.text[start:at]
        arguments, at = self.object(self.character(at, "{"), 1)
        at = self.space(at)
        if self.text.startswith(END_CALL, at):
            return Call(name, arguments), at + len(END_CALL)
        if END_CALL.startswith(self.text[at : at + len(END_CALL)]):  # the reply ends before or in the end tag
            return Call(name, arguments), len(self.text)
        if self.token(at) not in STOPS:
            self.fail(at, END_CALL)
        return Call(name, arguments), at

    def object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        if depth > MAX_DEPTH:
            self.fail(at - 1, f"at most {MAX_DEPTH} levels")
        pairs: dict[str, Any] = {}
        at = self.space(at)
        if self.text[at : at + 1] == "}":
            return pairs, at + 1
        while True:
            start = self.space(at)
            key, at = self.key(start)
            if key in pairs:
                self.fail(start, "an argument that is not there yet")
            pairs[key], at = self.value(self.character(at, ":"), depth)
            at = self.space(at)
            if self.text[at : at + 1] == "}":
                return pairs, at + 1
            at = self.character(at, ",")

    def array(self, at: int, depth: int) -> tuple[list[Any], int]:
        if depth > MAX_DEPTH:
            self.fail(at - 1, f"at most {MAX_DEPTH} levels")
        values: list[Any] = []
        at = self.space(at)
        if self.text[at : at + 1] == "]":
            return values, at + 1
        while True:
            value, at = self.value(at, depth)
            values.append(value)
            at = self.space(at)
            if self.text[at : at + 1] == "]":
                return values, at + 1
            at = self.character(at, ",")

    def key(self, at: int) -> tuple[str, int]:
        if self.text.startswith(ESCAPE, at):
            return self.string(at)
        end = self.until(at, ":,{}[]")
        key = self.text[at:end].strip(_SPACES)
        if not key or key[0] == '"':
            self.fail(at, "the name of an argument")
        return key, end

    def string(self, at: int) -> tuple[str, int]:
        """Text between two <escape>; everything in it is text, whatever it looks like."""
        start = at + len(ESCAPE)
        end = self.text.find(ESCAPE, start)
        if end < 0:
            self.fail(len(self.text), ESCAPE)
        return self.text[start:end], end + len(ESCAPE)

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        at = self.space(at)
        if self.text.startswith(ESCAPE, at):
            return self.string(at)
        first = self.text[at : at + 1]
        if first == "{":
            return self.object(at + 1, depth + 1)
        if first == "[":
            return self.array(at + 1, depth + 1)
        end = self.until(at, ",]}", _SPACES)
        word = self.text[at:end]
        if word in _WORDS:
            return _WORDS[word], end
        number = _NUMBER.fullmatch(word)
        if not number:
            self.fail(at, "a value")
        if any(number.groups()):
            if not math.isfinite(float(word)):
                self.fail(at, "a number that fits into 64 bits")
            return float(word), end
        if len(word) > 20 or not -(2**63) <= int(word) < 2**63:
            self.fail(at, "a number that fits into 64 bits")
        return int(word), end


def check(vectors: dict[str, Any]) -> list[str]:
    """The names of the golden vectors that this file does not reproduce, types included."""
    failed = []
    for vector in vectors["vectors"]:
        reply = parse(vector["reply"])
        errors = [{"code": error.code, "at": error.at} for error in reply.errors]
        found = [reply.text, [{"name": call.name, "arguments": call.arguments} for call in reply.calls], errors]
        wanted = [vector["text"], vector["calls"], [{"code": error["code"], "at": error["at"]} for error in vector["errors"]]]
        prompt = "request" not in vector or vector["prompt"] == render_prompt(
            vector["request"], vector["developer"], vectors["declarations"]
        )
        if json.dumps(found, sort_keys=True) != json.dumps(wanted, sort_keys=True) or not prompt:
            failed.append(vector["name"])
    return failed


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        golden = json.load(file)
    wrong = check(golden)
    print(f"{len(golden['vectors']) - len(wrong)} of {len(golden['vectors'])} vectors", *wrong, sep="\n")
    sys.exit(bool(wrong))
