"""One call block read: what stands between <start_function_call> and <end_function_call>, as names and JSON values, or why not.

The grammar and what is tolerated of it stand in ../shared/format/FORMAT.md, sections 2, 6 and 7. One pass from left to right over the
block; every character is looked at a bounded number of times, and nothing nests deeper than MAX_DEPTH. Knows nothing of streams, texts
around calls, or tools.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

MAX_DEPTH = 64
_MAX_DIGITS = 4300  # CPython reads no longer integer: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
_ESCAPE = "<escape>"
_PREFIX = "call:"
_END_TAG = "<end_function_call>"

# Each alternative starts with another character, so no pattern can backtrack.
_SPACE = re.compile(r"\s*")
_NAME_END = re.compile(r'[{}\[\]()<>",=\n]')
_KEY_END = re.compile(r"[:,{}\[\]]|<escape>")
_BARE_END = {"}": re.compile(r"[,}]|<escape>"), "]": re.compile(r"[,\]}]|<escape>")}
_QUOTE = re.compile(r'["\\]')
_WORD = re.compile(r"[^\W\d][\w.\-]*")
_BETWEEN_CALLS = re.compile(r"[\s,;]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "None": None}
_PYTHON_WORDS = {"True": True, "False": False}

# detail -> (what is wrong, what should have stood there); a truncated call lacks its end, a malformed one is refused for what it holds.
_TRUNCATED = {
    "truncated_prefix": ("The call is cut off before its name", '"call:" and the name of a function'),
    "truncated_name": ("The call is cut off at its name", "the rest of the name and {"),
    "truncated_key": ("The call is cut off in the name of an argument", "the rest of the name, a colon and a value"),
    "truncated_pair": ("The call is cut off after the name of an argument", "a colon and a value"),
    "truncated_value": ("The call is cut off at a value", "the rest of the value and }"),
    "truncated_array": ("The call is cut off inside a list", "a comma or ]"),
    "truncated_object": ("The call is cut off inside its arguments", "a comma or }"),
    "unterminated_string": ("The call is cut off inside a string", "a closing <escape>"),
}
_MALFORMED = {
    "not_a_call": ("The block holds no call", '"call:" and the name of a function'),
    "missing_name": ("The call names no function", "the name of a function"),
    "args_not_object": ("The arguments are not an object", "{"),
    "missing_colon": ("An argument has no value", "a colon and a value"),
    "bad_key": ("An argument has no readable name", "the name of an argument"),
    "empty_value": ("An argument has an empty value", "a value"),
    "junk_before_string": ("Loose text stands before a string", "<escape>, or a comma after the value"),
    "ambiguous_escape_or_junk": ("Loose text follows a value, or a string holds <escape> itself", "a comma or a closing bracket"),
    "too_deep": (f"The arguments nest deeper than {MAX_DEPTH} levels", "flatter arguments"),
}


class Broken(Exception):
    """Why a block, from the character `start` on, gives no call: the codes, where it broke, and a sentence with what was expected."""

    def __init__(self, detail: str, body: str, position: int):
        self.code = "truncated_call" if detail in _TRUNCATED else "malformed_call"
        self.detail, self.position, self.start = detail, position, 0
        wrong, self.expected = _TRUNCATED.get(detail) or _MALFORMED[detail]
        found = body[position : position + 20]
        self.sentence = f"{wrong}: expected {self.expected}, found {repr(found) if found else 'the end'}."
        super().__init__(self.sentence)


class Found(NamedTuple):
    """A call of a block: the characters it spans, and the codes of what was tolerated."""

    start: int
    end: int
    name: str
    arguments: dict[str, Any]
    codes: list[str]


def read_block(body: str, closed: bool, tagged: bool = True) -> tuple[list[Found], Broken | None]:
    """The calls of a block and, if it could not be read to its end, why.

    `closed` says that the end tag was there: only then may a brace be missing. An untagged block (no start tag) is taken only if it is one
    call with its braces and nothing else.
    """
    reader, found = _Reader(body, closed), []
    while True:
        start = reader.at
        reader.codes = []
        try:
            name, arguments = reader.call()
        except Broken as broken:
            broken.start = start
            for call in found:
                call.codes.append("multiple_calls_in_block")
            return found, broken
        found.append(Found(start, reader.at, name, arguments, reader.codes))
        next_call = _BETWEEN_CALLS.match(body, reader.at).end()
        if not body.startswith(_PREFIX, next_call):
            break
        reader.at = next_call
    codes = found[-1].codes
    rest = body[reader.at :].strip()
    if rest and (closed or not _END_TAG.startswith(rest)):
        codes.append("junk_after_args")
    if not tagged:
        if len(found) > 1 or {"junk_after_args", "missing_args_object"} & set(codes):
            return [], Broken("not_a_call", body, reader.at)
        codes.append("missing_start_tag")
    elif not closed:
        codes.append("missing_end_tag")
    if len(found) > 1:
        for call in found:
            call.codes.append("multiple_calls_in_block")
    return found, None


class _Reader:
    """A position in a block that moves right; `codes` collects what was tolerated on the way."""

    def __init__(self, body: str, closed: bool):
        self.body, self.closed = body, closed
        self.at = 0
        self.codes: list[str] = []

    def broken(self, detail: str, at: int | None = None) -> Broken:
        return Broken(detail, self.body, self.at if at is None else at)

    def space(self) -> None:
        self.at = _SPACE.match(self.body, self.at).end()

    def next(self) -> str:
        """The next character, "" at the end of the block."""
        return self.body[self.at : self.at + 1]

    def starts(self, text: str) -> bool:
        return self.body.startswith(text, self.at)

    def call(self) -> tuple[str, dict[str, Any]]:
        self.space()
        if self.next() == "{":
            return self.json_style()
        if self.starts(_PREFIX):
            self.at += len(_PREFIX)
        elif not self.closed and _PREFIX.startswith(self.body[self.at :]):
            raise self.broken("truncated_prefix", len(self.body))
        elif self.starts("call") and self.body[self.at + 4 : self.at + 5].isspace():
            self.codes.append("nonstandard_call_prefix")
            self.at += 4
            self.space()
            self.at += self.starts(":")
        else:
            raise self.broken("not_a_call")
        return self.name(), self.arguments()

    def name(self) -> str:
        end = _NAME_END.search(self.body, self.at)
        stop = end.start() if end else len(self.body)
        name = self.body[self.at : stop].strip()
        if not name:
            raise self.broken("missing_name" if end or self.closed else "truncated_name")
        self.at = stop
        self.space()
        if self.next() != "{" and len(name.split()) > 1:
            raise self.broken("args_not_object" if self.next() or self.closed else "truncated_name")
        return name

    def arguments(self) -> dict[str, Any]:
        if self.next() == "{":
            return self.object(1)
        if self.next():
            raise self.broken("args_not_object")
        if not self.closed:
            raise self.broken("truncated_name")
        self.codes.append("missing_args_object")
        return {}

    def json_style(self) -> tuple[str, dict[str, Any]]:
        """{"name": ..., "arguments": {...}} where "call:" should stand; the arguments may be JSON text of an object."""
        start = self.at
        call = self.object(1)
        arguments = call.get("arguments", call.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = self.json_text(arguments)
        if not isinstance(call.get("name"), str) or not call["name"].strip():
            raise self.broken("missing_name", start)
        if not isinstance(arguments, dict):
            raise self.broken("args_not_object", start)
        self.codes = ["json_style", *(code for code in self.codes if not code.startswith("json_quoted"))]
        return call["name"].strip(), arguments

    def json_text(self, text: str) -> Any:
        """The object that JSON text spells; None if it is none."""
        inner = _Reader(text, closed=False)
        inner.space()
        if inner.next() != "{":
            return None
        try:
            value = inner.object(1)
        except Broken:
            return None
        self.codes += inner.codes
        return value

    def object(self, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise self.broken("too_deep")
        self.at += 1
        pairs: dict[str, Any] = {}
        self.space()
        while self.next() != "}":
            if not self.next():
                return self.unclosed(pairs)
            key = self.key()
            self.space()
            if self.next() != ":":
                raise self.broken("missing_colon" if self.next() or self.closed else "truncated_pair")
            self.at += 1
            value = self.value("}", depth)
            if key in pairs:
                self.codes.append("duplicate_key")
            pairs[key] = value
            self.space()
            if self.next() == ",":
                self.at += 1
                self.space()
                if self.next() == "}":
                    self.codes.append("trailing_comma")
            elif self.next() not in ("}", ""):
                self.missing_comma_before_key()
        self.at += 1
        return pairs

    def unclosed(self, pairs: dict[str, Any]) -> dict[str, Any]:
        if not self.closed:
            raise self.broken("truncated_object")
        if "unclosed_object" not in self.codes:
            self.codes.append("unclosed_object")
        return pairs

    def missing_comma_before_key(self) -> None:
        """After a value without a comma: a well-formed "key:" may follow, anything else may be a string with <escape> inside."""
        start = self.at
        if self.starts(_ESCAPE) or self.next() == '"':
            self.key()
        elif word := _WORD.match(self.body, self.at):
            self.at = word.end()
        key_end = self.at
        self.space()
        if self.next() != ":" or key_end == start:
            cut = not self.next() and not self.closed and key_end > start
            raise self.broken("truncated_key" if cut else "ambiguous_escape_or_junk", None if cut else start)
        self.at = start
        self.codes.append("missing_comma")

    def key(self) -> str:
        if self.starts(_ESCAPE):
            return self.escaped()
        if self.next() == '"':
            key, end = self.quoted()
            if key is not None:
                self.codes.append("json_quoted_key")
                self.at = end
                return key
        end = _KEY_END.search(self.body, self.at)
        if end is None:
            raise self.broken("missing_colon" if self.closed else "truncated_key", len(self.body))
        key = self.body[self.at : end.start()].strip()
        if end.group() != ":":
            raise self.broken("missing_colon" if key and end.group() in ",}" else "bad_key", end.start() if key else None)
        if not key:
            raise self.broken("bad_key")
        self.at = end.start()
        return key

    def value(self, closer: str, depth: int) -> Any:
        """A value inside an object (closer "}") or a list (closer "]") that is itself `depth` levels deep."""
        self.space()
        if self.starts(_ESCAPE):
            return self.escaped()
        first = self.next()
        if first == "{":
            return self.object(depth + 1)
        if first == "[":
            return self.array(depth + 1)
        if first == '"':
            text, end = self.quoted()
            follows = self.body[_SPACE.match(self.body, end).end() :][:1] if text is not None else ""
            if text is not None and (not follows or follows in ",]}"):
                self.codes.append("json_quoted_string")
                self.at = end
                return text
        return self.bare(closer)

    def array(self, depth: int) -> list[Any]:
        if depth > MAX_DEPTH:
            raise self.broken("too_deep")
        self.at += 1
        values: list[Any] = []
        self.space()
        while self.next() != "]":
            if not self.next():
                raise self.broken("truncated_array")
            values.append(self.value("]", depth))
            self.space()
            if self.next() == ",":
                self.at += 1
                self.space()
                if self.next() == "]":
                    self.codes.append("trailing_comma")
            elif self.starts(_ESCAPE) or self.next() in ("{", "[", '"'):
                self.codes.append("missing_comma")
            elif self.next() not in ("]", ""):
                raise self.broken("ambiguous_escape_or_junk")
        self.at += 1
        return values

    def escaped(self) -> str:
        """A string between two <escape>; everything in it is text."""
        start = self.at + len(_ESCAPE)
        end = self.body.find(_ESCAPE, start)
        if end < 0:
            raise self.broken("unterminated_string", len(self.body))
        self.at = end + len(_ESCAPE)
        return self.body[start:end]

    def quoted(self) -> tuple[str | None, int]:
        """The JSON string that starts here and its end; (None, 0) if it is none."""
        at = self.at + 1
        while mark := _QUOTE.search(self.body, at):
            if mark.group() == '"':
                try:
                    return json.loads(self.body[self.at : mark.end()], strict=False), mark.end()
                except ValueError:
                    return None, 0
            at = mark.end() + 1
        if not self.closed:
            raise self.broken("unterminated_string", len(self.body))
        return None, 0

    def bare(self, closer: str) -> Any:
        """A number, true, false, None, null, or text that should have stood between <escape>."""
        end = _BARE_END[closer].search(self.body, self.at)
        if end is None and not self.closed:
            raise self.broken("truncated_value", len(self.body))
        stop = end.start() if end else len(self.body)
        text = self.body[self.at : stop].strip()
        if not text:
            raise self.broken("junk_before_string" if end and end.group() == _ESCAPE else "empty_value")
        if end and end.group() == _ESCAPE:
            raise self.broken("junk_before_string")
        self.at = stop
        if text in _WORDS:
            return _WORDS[text]
        if text in _PYTHON_WORDS:
            self.codes.append("python_literal")
            return _PYTHON_WORDS[text]
        number = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
        if number and not any(number.groups()):
            return int(text)
        if number and math.isfinite(float(text)):
            return float(text)
        self.codes.append("bare_string")
        return text
