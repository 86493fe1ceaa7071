"""The formats of the wild: how a row of each is recognised, and how it becomes messages in a rough OpenAI shape.

Rough: calls under any of their usual keys, arguments as JSON text or object, nulls anywhere. importers.py brings that into the exact shape,
whatever the format, and knows nothing of the formats; this file knows nothing of tools and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.dataset import DEFAULT
from pipeline.errors import DataError
from pipeline.rowfiles import Overflow
from pipeline.schema import shown

REQUEST_COLUMNS = (
    "user_content",
    "user_message",
    "user_prompt",
    "request",
    "prompt",
    "query",
    "question",
    "instruction",
    "user",
)
CALLS_COLUMNS = ("tool_calls", "calls", "function_calls")
NAME_KEYS = ("name", "tool_name", "function_name", "tool", "function")
ARGUMENT_KEYS = ("arguments", "args", "parameters", "tool_args", "tool_arguments", "function_args")
REPLY_COLUMNS = ("reply", "response", "assistant_content", "assistant_message")
KNOWN_COLUMNS = {
    *REQUEST_COLUMNS,
    *CALLS_COLUMNS,
    *REPLY_COLUMNS,
    *NAME_KEYS[1:],
    "tool_arguments",
    "tool_args",
    "messages",
}


@dataclass(frozen=True)
class Format:
    """A shape of rows: how it is recognised, and how it becomes {"messages", and "tools" and "split" where it has them}."""

    name: str
    shape: str
    fits: Callable[[Any], bool]
    convert: Callable[[Any], dict[str, Any]]


def _has(row: Any, *groups: Iterable[str]) -> bool:
    """Whether a row has a key of every group."""
    return isinstance(row, dict) and all(first(row, group) is not None for group in groups)


def first(row: dict[str, Any], keys: Iterable[str]) -> str | None:
    """The first of `keys` under which `row` has something."""
    return next((key for key in keys if row.get(key) is not None), None)


def _of_messages(row: dict) -> dict[str, Any]:
    return {"messages": decoded(row["messages"]), "tools": row.get("tools")}


def _of_prompt_completion(row: dict) -> dict[str, Any]:
    return {"messages": [*row["prompt"], *row["completion"]], "tools": row.get("tools")}


def _of_one_call(row: dict) -> dict[str, Any]:
    name, arguments = row[first(row, NAME_KEYS[1:])], row.get(first(row, ARGUMENT_KEYS) or "")
    return _conversation(
        row[first(row, REQUEST_COLUMNS)], [{"name": name, "arguments": arguments}] if name else [], row
    )


def _of_call_list(row: dict) -> dict[str, Any]:
    calls = decoded(row[first(row, CALLS_COLUMNS)])
    return _conversation(
        row[first(row, REQUEST_COLUMNS)], calls if isinstance(calls, list) else [calls] if calls else [], row
    )


def _of_cells(row: list) -> dict[str, Any]:
    request, name, arguments = row
    return _conversation(request, [{"name": name, "arguments": arguments}] if name else [], {})


def _conversation(request: Any, calls: list, row: dict) -> dict[str, Any]:
    reply = row.get(first(row, REPLY_COLUMNS) or "")
    answer = {"role": "assistant", "tool_calls": calls, "content": reply}
    return {
        "messages": [{"role": "developer", "content": DEFAULT}, {"role": "user", "content": request}, answer],
        "tools": row.get("tools"),
    }


FORMATS = (
    Format(
        "messages",
        '{"messages": [...]} as OpenAI, TRL and Google\'s mobile-actions write it',
        lambda row: _has(row, ["messages"]),
        _of_messages,
    ),
    Format(
        "prompt_completion",
        '{"prompt": [...], "completion": [...]} as TRL writes it',
        lambda row: (
            _has(row, ["prompt"], ["completion"])
            and isinstance(row["prompt"], list)
            and isinstance(row["completion"], list)
        ),
        _of_prompt_completion,
    ),
    Format(
        "request_call",
        "user_content, tool_name, tool_arguments",
        lambda row: _has(row, REQUEST_COLUMNS, NAME_KEYS[1:]),
        _of_one_call,
    ),
    Format(
        "request_calls",
        "user_message, tool_calls",
        lambda row: _has(row, REQUEST_COLUMNS, CALLS_COLUMNS),
        _of_call_list,
    ),
    Format(
        "three_columns",
        "request, tool, arguments (CSV, with or without these as a header)",
        lambda row: isinstance(row, list) and len(row) == 3,
        _of_cells,
    ),
)


def format_of(row: Any) -> Format:
    """The first format that a row fits; raises DataError that says what was expected."""
    for candidate in FORMATS:
        if candidate.fits(row):
            return candidate
    found = f"the columns {', '.join(map(str, row))[:120]}" if isinstance(row, dict) else f"{shown(row)}"
    cells, columns = (
        (row.cells, row.columns) if isinstance(row, Overflow) else (len(row), 3) if isinstance(row, list) else (0, 0)
    )
    if cells > columns:
        raise DataError(
            f'expected {columns} cells, found {cells}; put text with commas in quotes and write "" for each quote in it'
        )
    raise DataError(f"found {found}, and not one of: {'; '.join(item.shape for item in FORMATS)}")


def decoded(value: Any) -> Any:
    """JSON text of a list or object as what it says, anything else as it is."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        return jsontext.loads(value, jsontext.ROW_DEPTH)
    return None if value == "" else value
