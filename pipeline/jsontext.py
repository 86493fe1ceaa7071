"""JSON as this project reads and writes it: every value survives the way there and back, or is refused with a reason.

Stricter than Python's `json`, which reads NaN, turns 1e400 into infinity, keeps the last of two equal keys and stops with
a RecursionError. Knows nothing of tools or examples.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 64  # as deep as pipeline.functiongemma parses the arguments of a call (FORMAT.md, section 7)
ROW_DEPTH = MAX_DEPTH + 16  # a whole row: messages, calls, function and arguments stand around that
# CPython neither reads nor writes longer ones: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
_TOO_LONG = "an integer of more than 4300 digits"
_TOO_LARGE = 10**4300
# A string, which may lack its end, or one bracket. Takes linear time whatever the text is.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class JsonTextError(ValueError):
    """Why a text or value is not JSON; the message completes "... is not usable: "."""


def loads(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `text` spells. Integers of any length and floats keep their type.

    Raises JsonTextError for broken JSON, NaN and infinities, numbers beyond a double, a key given twice, half a
    surrogate pair, and more than `max_depth` lists and objects in one another.
    """
    if text.count("[") + text.count("{") > max_depth and _is_deeper(text, max_depth):
        raise JsonTextError(f"nested deeper than {max_depth} levels")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_float, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise JsonTextError(f"broken JSON at {where} ({error.msg})") from None
    except JsonTextError:
        raise
    except ValueError:
        raise JsonTextError(_TOO_LONG) from None
    # The hooks have refused what else `check` would: only escapes can hide something, and most rows have few.
    if "\\u" in text or not _is_unicode(text):
        check(value, max_depth)
    return value


def dumps(value: Any, indent: int | None = None, max_depth: int = MAX_DEPTH) -> str:
    """`value` as JSON text in readable UTF-8; raises JsonTextError for what `check` refuses."""
    check(value, max_depth)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def check(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Raises JsonTextError unless `value` is made of JSON's types and comes back equal, types included, from its text."""
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if depth == max_depth and isinstance(item, dict | list):
            raise JsonTextError(f"nested deeper than {max_depth} levels")
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    raise JsonTextError(f"a key that is not text ({key!r})")
                _check_text(key)
            todo.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            todo.extend((inner, depth + 1) for inner in item)
        elif isinstance(item, str):
            _check_text(item)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise JsonTextError(f"{item} is not a number that JSON can hold")
        elif isinstance(item, int):
            if abs(item) >= _TOO_LARGE:
                raise JsonTextError(_TOO_LONG)
        elif item is not None:
            raise JsonTextError(f"a value of type {type(item).__name__}")


def _is_deeper(text: str, max_depth: int) -> bool:
    """Whether more than `max_depth` brackets are open at once, outside strings. Asked before Python's decoder sees the text: up to Python
    3.11 that ends the process where a library has raised the recursion limit, as exporters do."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > max_depth:
                return True
        elif token[0] in "]}":
            depth -= 1
    return False


def _check_text(text: str) -> None:
    if not _is_unicode(text):
        raise JsonTextError("text with half of a surrogate pair, which no tokenizer can read")


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: false for half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise JsonTextError(f"{name} is not a number that JSON can hold")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonTextError(f"{text[:20]} is larger than a number can be")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise JsonTextError(f"the key {twice[:40]!r} is given twice")
    return result
