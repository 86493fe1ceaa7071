"""Tools out of what people have: a file or pasted text.

One reader a kind of source, found out by looking; read so far are the JSON shapes of tools.tools_from_json (JSON Schema lists as
OpenAI, Google, MCP and Anthropic write them). Nothing is imported or executed. Knows nothing of examples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pipeline import jsontext
from pipeline.errors import DataError
from pipeline.rowfiles import read_text
from pipeline.tools import ToolSpec, tools_from_json

_EXPECTED = "expected a JSON list of function descriptions (name, description, parameters as JSON Schema)"


def tools_from(path_or_text: str | os.PathLike) -> list[ToolSpec]:
    """The tools in a file, or in text itself. Raises DataError with all problems at once, or with what is read instead."""
    name, text = _named_text(path_or_text)
    if not text.strip():
        raise DataError(f"{name} is empty; {_EXPECTED}.")
    reader = next(reader for looks_like, reader in KINDS if looks_like(text))
    try:
        return reader(text)
    except DataError as problem:
        raise DataError(f"{name}: {problem}", problem.issues) from None


def _named_text(path_or_text: str | os.PathLike) -> tuple[str, str]:
    """What to call the source in a sentence, and its text."""
    if isinstance(path_or_text, str):
        one_line = "\n" not in path_or_text.strip() and len(path_or_text) < 1_000
        if not path_or_text.strip() or path_or_text.lstrip()[:1] in ("{", "[") or not one_line:
            return "The text", path_or_text
        if not Path(path_or_text).exists() and not re.search(r"[/\\]|\.\w{2,5}$", path_or_text):
            return "The text", path_or_text
    return Path(path_or_text).name, read_text(path_or_text, [], _EXPECTED)


def _not_read(what: str) -> Callable[[str], list[ToolSpec]]:
    def refuse(_: str) -> list[ToolSpec]:
        raise DataError(f"{what} is not read yet; {_EXPECTED}.")

    return refuse


def _is_openapi(text: str) -> bool:
    if re.search(r"^(openapi|swagger)\s*:", text, re.MULTILINE):
        return True
    if not text.lstrip().startswith("{"):
        return False
    try:
        return not {"openapi", "swagger"}.isdisjoint(jsontext.loads(text))
    except ValueError:
        return False


def _is_python(text: str) -> bool:
    return bool(
        re.search(r"^\s*((async\s+)?def\s+\w+\s*\(|class\s+\w+|from\s+\S+\s+import\s|import\s+\w)", text, re.MULTILINE)
    )


# How a kind of source is recognised, and who reads it; the first that fits is taken.
KINDS: tuple[tuple[Callable[[str], bool], Callable[[str], list[ToolSpec]]], ...] = (
    (_is_openapi, _not_read("An OpenAPI description")),
    (_is_python, _not_read("Python source")),
    (lambda text: True, tools_from_json),
)
