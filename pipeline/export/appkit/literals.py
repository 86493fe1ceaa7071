"""Anybody's text as source code: a string, or a JSON value, written so that a compiler reads back exactly that text and nothing runs.

For Dart, Kotlin, Swift, JavaScript and Python. What would end a literal, start an interpolation or hide what a line says (control
characters, white space that is no blank, characters that change the direction of writing) is written as an escape. User text goes into
literals only, never into comments or names; the names of constants are made here too, of letters that no language objects to.
Rules: Dart https://dart.dev/language/built-in-types#strings, Kotlin https://kotlinlang.org/docs/strings.html, Swift
https://docs.swift.org/swift-book/documentation/the-swift-programming-language/stringsandcharacters/, JavaScript
https://tc39.es/ecma262/#sec-literals-string-literals, Python https://docs.python.org/3/reference/lexical_analysis.html.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

LANGUAGES = ("dart", "kotlin", "swift", "javascript", "python")
_CHUNK = 8000
"""Characters of a literal; a constant of the JVM holds 65,535 bytes (JVMS 4.4.7), and one character takes up to 6."""
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_OWN = {"dart": {"$": "\\$"}, "kotlin": {"$": "\\$"}}
_BIG = 2**63
_JOIN = {"dart": "\n    ", "kotlin": " +\n    ", "swift": "\n    + ", "javascript": " +\n  ", "python": "\n    "}


def string(text: str, language: str) -> str:
    """`text` as one string literal in double quotes, on one line."""
    own = _OWN.get(language, {})
    written = "".join(own.get(char) or _NAMED.get(char) or (_escape(char, language) if _is_hidden(char) else char) for char in text)
    if language == "javascript":  # which may come to stand in a page
        written = written.replace("</", "<\\/").replace("<!--", "\\x3c!--")
    return f'"{written}"'


def long_string(text: str, language: str) -> str:
    """`text` as an expression of several literals, each on a line of its own and short enough for any compiler."""
    pieces = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)] or [""]
    literals = [string(piece, language) for piece in pieces]
    if language == "kotlin" and len(literals) > 1:  # a sum of constants would be folded into one that is too long
        return f"listOf({', '.join(literals)}).joinToString(\"\")"
    joined = _JOIN[language].join(literals)
    return f"({joined})" if language == "python" and len(literals) > 1 else joined


def value(data: Any, language: str, indent: int = 0) -> str:
    """A JSON value as an expression of Dart, JavaScript or Python; of Kotlin and Swift, which get JSON text, there is none.

    In Dart every object is a Map<String, dynamic>, as flutter_edge_ai casts it; an integer beyond 64 bits is a double there.
    """
    if isinstance(data, str):
        return string(data, language)
    if isinstance(data, bool) or data is None:
        words = {"python": {True: "True", False: "False", None: "None"}}.get(language, {True: "true", False: "false", None: "null"})
        return words[data]
    if isinstance(data, int | float):
        return repr(float(data)) if language == "dart" and isinstance(data, int) and not -_BIG <= data < _BIG else json.dumps(data)
    inner = "  " * (indent + 1)
    if isinstance(data, dict):
        pairs = [f"{inner}{_key(key, language)}: {value(item, language, indent + 1)},\n" for key, item in data.items()]
        opening, closing = ("<String, dynamic>{" if language == "dart" else "{"), "}"
    else:
        pairs = [f"{inner}{value(item, language, indent + 1)},\n" for item in data]
        opening, closing = ("<dynamic>[" if language == "dart" else "["), "]"
    return opening + closing if not pairs else f"{opening}\n{''.join(pairs)}{'  ' * indent}{closing}"


def constants(names: Iterable[str]) -> dict[str, str]:
    """Constant -> name: one in capitals for each name, the same in every language.

    Capitals, digits and single underscores, with a letter in front: no language reserves such a word. Names that would get the same one,
    or of which no letter is left, are numbered.
    """
    made: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
        words = re.sub(r"[^A-Z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).upper()).strip("_")
        base = words if words[:1].isalpha() else f"TOOL_{words}".rstrip("_")
        constant, number = base, 2
        while constant in made:
            constant, number = f"{base}_{number}", number + 1
        made[constant] = name
    return made


def _key(key: str, language: str) -> str:
    """In a JavaScript literal a plain "__proto__" would set the prototype."""
    literal = string(key, language)
    return f"[{literal}]" if language == "javascript" and key == "__proto__" else literal


def _is_hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char)[0] in "CZ"


def _escape(char: str, language: str) -> str:
    code = ord(char)
    if language in ("dart", "swift"):
        return f"\\u{{{code:x}}}"
    if language == "python" and code > 0xFFFF:
        return f"\\U{code:08x}"
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
