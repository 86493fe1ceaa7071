"""Rows in the formats of the wild become examples, with a report of every row that was changed or refused.

Knows nothing of encodings and delimiters (rowfiles.py), of the formats' columns (formats.py), nor whether an example makes sense
(dataset.validate).
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import jsontext, schema
from pipeline.dataset import DEFAULT, Example, ToolDataset
from pipeline.errors import DataError
from pipeline.formats import (
    ARGUMENT_KEYS,
    CALLS_COLUMNS,
    KNOWN_COLUMNS,
    NAME_KEYS,
    REPLY_COLUMNS,
    REQUEST_COLUMNS,
    decoded,
    first,
    format_of,
)
from pipeline.rowfiles import read_rows
from pipeline.tools import Issue, ToolCall, ToolSpec, read_arguments, summary, tools_from_json

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "function": "tool",
}  # other projects' words for the roles
SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(
    ("test", "eval", "evaluation", "validation", "valid", "dev"), "test"
)
MESSAGE_KEYS = {"role", "content", "tool_calls", "function_call", "tool_call_id", "weight"}
_TOOL_KEYS = {"description", "parameters", "inputSchema", "input_schema"}
_TOOL_LISTS = {"tools", "functions", "function_declarations", "functionDeclarations", "result"}
_AROUND_TOOLS = {*_TOOL_LISTS, "jsonrpc", "id", "nextCursor"}  # what MCP's answer to tools/list has besides
_CAPITAL_TYPE = re.compile(r'"type": "(STRING|INTEGER|NUMBER|BOOLEAN|ARRAY|OBJECT)"')


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: read = imported + refused, and changed are those imported that are not as they stood.

    `issues` has an error for each refused row, a warning for each change, and notes on the whole file (row None).
    """

    source: str
    format: str
    read: int
    imported: int
    changed: int
    refused: int
    issues: tuple[Issue, ...] = ()

    def to_json(self) -> dict[str, Any]:
        counts = {key: getattr(self, key) for key in ("source", "format", "read", "imported", "changed", "refused")}
        return counts | {"issues": [issue.to_json() for issue in self.issues]}


Note = Callable[[str, str], None]  # (field, what was changed)


def read(path: str | os.PathLike, tools: Any = None) -> tuple[ToolDataset, ImportReport]:
    """The examples in a JSON, JSON Lines or CSV file, and what had to be changed or refused.

    `tools` (ToolSpecs, or anything tools_from_json takes) stand for the whole dataset; without them each row's own are used:
    those that most rows carry become the dataset's, other rows keep theirs. Raises DataError for a file that cannot be read, or
    holds no usable row, or has calls and no tools.
    """
    given = None if tools is None else tuple(tools_from_json(tools))
    file = read_rows(path, KNOWN_COLUMNS)
    name = Path(path).name
    issues = list(file.notes)
    parsed_tools: dict[str, tuple[ToolSpec, ...]] = {}
    examples: list[Example] = []
    formats: Counter[str] = Counter()
    changed = 0
    unlearned: list[int] = []
    for number, row in file.rows:
        changes: list[Issue] = []

        def note(field: str, what: str, changes: list[Issue] = changes, number: int = number) -> None:
            changes.append(Issue(number, field, "warning", what))

        try:
            found = format_of(row)
            draft = found.convert(row)
            own = _own_tools(draft.get("tools"), parsed_tools) if given is None else given
            messages = _messages(draft["messages"], own or (), note)
        except (DataError, jsontext.JsonTextError) as problem:
            issues.append(
                Issue(number, "", "error", str(problem).rstrip("."), "The row was left out; mend it and import again.")
            )
            continue
        formats[found.name] += 1
        examples.append(Example(messages, None if given is not None else own, _split_of(row)))
        if examples[-1].has_earlier_calls:
            unlearned.append(number)
        issues += changes
        changed += bool(changes)
    if not examples:
        if all(_is_tools(row) for _, row in file.rows):
            raise DataError(
                f"{name} holds tools, not examples; give it as the tools (--tools FILE), and the examples in a file of their own."
            )
        raise DataError(
            summary(
                f"{name}: none of {len(file.rows)} rows could be read", [i for i in issues if i.severity == "error"]
            ),
            issues,
        )
    dataset = _with_common_tools(examples, given)
    if not dataset.tools and any(item.calls for item in examples):
        raise DataError(
            f"{name} has calls but no tools; give the tools too, as a JSON list of function descriptions (--tools FILE)."
        )
    dataset = _without_onesided_split(dataset, issues)
    issues += _file_notes(file.rows, parsed_tools, given)
    if unlearned:
        message = f"{len(unlearned)} rows (the first: row {unlearned[0]}) have calls before their last message; only that one is learned"
        issues.append(Issue(None, "messages", "warning", message, "Add rows that end with those calls."))
    report = ImportReport(
        name,
        formats.most_common(1)[0][0],
        len(file.rows),
        len(examples),
        changed,
        len(file.rows) - len(examples),
        tuple(issues),
    )
    return dataset, report


def _is_tools(row: Any) -> bool:
    """Whether a row is a function description, or a list of them as MCP, Google and OpenAI wrap it."""
    if not isinstance(row, dict):
        return False
    function = row["function"] if isinstance(row.get("function"), dict) else row
    is_tool = isinstance(function.get("name"), str) and bool(_TOOL_KEYS & function.keys())
    return is_tool or bool(_TOOL_LISTS & row.keys()) and row.keys() <= _AROUND_TOOLS


# --- messages in their exact shape --------------------------------------------------------------------------------------


def _messages(rough: Any, tools: tuple[ToolSpec, ...], note: Note) -> tuple[dict[str, Any], ...]:
    if not isinstance(rough, list) or not all(isinstance(message, dict) for message in rough):
        raise DataError(f"expected a list of messages, found {schema.shown(rough)}")
    names: dict[str, str] = {}  # OpenAI's call ids, which the wire format has not: a result names its tool
    messages = [_message(message, index, tools, names, note) for index, message in enumerate(rough)]
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise DataError("there is no assistant message, so nothing to learn")
    last = len(roles) - roles[::-1].index("assistant")
    if last < len(messages):
        note("messages", f"{len(messages) - last} messages after the last assistant message were left out")
    messages = messages[:last]
    for index, message in enumerate(rough[:last]):
        weight, is_learned = message.get("weight"), index == last - 1
        if weight is not None and weight == 0 and is_learned:
            raise DataError("the last assistant message has the weight 0, so there is nothing to learn")
        if weight is not None and weight != is_learned:
            note(f"messages[{index}].weight", f"{schema.shown(weight)} was left out: the last assistant message is learned, and it alone")
    requests = [message["content"] for message in messages if message["role"] == "user"]
    if not requests or not requests[-1].strip():
        raise DataError("the request is empty")
    if not messages[-1].get("tool_calls") and not messages[-1].get("content", "").strip():
        raise DataError("the row has neither a call nor a reply")
    if roles[0] not in ("developer", "system"):
        note("messages", "the developer sentence that FunctionGemma needs was put first")
        messages.insert(0, {"role": "developer", "content": DEFAULT})
    return tuple(messages)


def _message(rough: dict, index: int, tools: tuple[ToolSpec, ...], names: dict[str, str], note: Note) -> dict[str, Any]:
    where = f"messages[{index}]"
    role = rough.get("role")
    if isinstance(role, str) and role in ROLES:
        note(f"{where}.role", f"{role} became {ROLES[role]}")
        role = ROLES[role]
    if role not in ("developer", "system", "user", "assistant", "tool"):
        raise DataError(
            f"{where} has the role {schema.shown(role)}; expected developer, system, user, assistant or tool"
        )
    message: dict[str, Any] = {"role": role}
    for key, value in rough.items():
        if key not in MESSAGE_KEYS and not (key == "name" and role == "tool") and value not in (None, "", [], {}):
            note(f"{where}.{key}", "not used, and left out")
    if role == "tool" and (name := rough.get("name") or names.get(str(rough.get("tool_call_id")))):
        message["name"] = str(name)
    content = rough.get("content")
    if role != "tool" and isinstance(content, list):
        content = _joined(content, where)
        note(f"{where}.content", "the parts of the text were joined")
    if role != "tool" and content is not None and not isinstance(content, str):
        raise DataError(f"{where}.content must be text, found {schema.shown(content)}")
    calls = decoded(rough.get("tool_calls")) or ([rough["function_call"]] if rough.get("function_call") else [])
    if calls and role != "assistant":
        raise DataError(f"{where} has tool calls; only assistant messages can, and its role is {role}")
    if not isinstance(calls, list):
        raise DataError(f"{where}.tool_calls must be a list, found {schema.shown(calls)}")
    if content is not None and not (calls and content == ""):
        message["content"] = content
    elif not calls:
        message["content"] = ""
    if calls:
        message["tool_calls"] = [
            _call(call, f"{where}.tool_calls[{at}]", tools, names, note) for at, call in enumerate(calls)
        ]
    return message


def _joined(parts: list, where: str) -> str:
    """The text of content given in parts, each trimmed, as the model's chat template joins them."""
    if not all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts
    ):
        raise DataError(f"{where}.content has parts that are not text, and FunctionGemma reads text only")
    return "".join(part["text"].strip() for part in parts)


def _call(rough: Any, where: str, tools: tuple[ToolSpec, ...], names: dict[str, str], note: Note) -> dict[str, Any]:
    """One call in OpenAI's shape, from any of the keys in which calls are written, without the nulls that tables fill in."""
    inner = rough.get("function") if isinstance(rough, dict) and isinstance(rough.get("function"), dict) else rough
    name = inner.get(first(inner, NAME_KEYS) or "") if isinstance(inner, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where} names no function, found {schema.shown(rough)}")
    try:
        arguments = read_arguments(inner.get(first(inner, ARGUMENT_KEYS) or ""))
    except DataError as problem:
        raise DataError(f"{where}: {str(problem).rstrip('.')}") from None
    if isinstance(rough.get("id"), str | int):
        names[str(rough["id"])] = name.strip()
    spec = next((tool for tool in tools if tool.name == name.strip()), None)
    if spec:
        dropped: list[str] = []
        arguments = _without_fillers(arguments, spec.parameters, "", dropped)
        for path in dropped:
            note(f"{where}.{path}", "null, which the tool does not take, was left out")
    return {"type": "function", "function": ToolCall(name.strip(), arguments).to_json()}


def _without_fillers(value: dict[str, Any], rules: Any, path: str, dropped: list[str]) -> dict[str, Any]:
    """Arguments without nulls that the schema has no place for: tables give every call the arguments of all the others."""
    properties, required = schema.properties_of(rules), schema.required_of(rules)
    kept = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        known = key in properties
        if (
            item is None
            and key not in required
            and (not schema.allows_null(properties[key]) if known else bool(properties) or not path)
        ):
            dropped.append(here)
        else:
            kept[key] = (
                _without_fillers(item, properties[key], here, dropped) if known and isinstance(item, dict) else item
            )
    return kept


# --- the dataset from its rows ------------------------------------------------------------------------------------------


def _own_tools(raw: Any, parsed: dict[str, tuple[ToolSpec, ...]]) -> tuple[ToolSpec, ...] | None:
    """A row's tools, read once for all the rows that carry the same; None where it carries none."""
    if raw is None or raw == [] or raw == "":
        return None
    key = raw if isinstance(raw, str) else json.dumps(raw)
    if key not in parsed:
        parsed[key] = tuple(tools_from_json(raw))
    return parsed[key]


def _with_common_tools(examples: list[Example], given: tuple[ToolSpec, ...] | None) -> ToolDataset:
    """The tools of most rows as the dataset's; rows that carry these carry none of their own."""
    if given is not None:
        return ToolDataset(given, tuple(examples))
    carried = Counter(
        id(item.tools) for item in examples if item.tools
    )  # one object for all the rows that carry the same text
    sets = {id(item.tools): item.tools for item in examples if item.tools}
    if not sets:
        return ToolDataset((), tuple(examples))
    text_of = {key: json.dumps([tool.to_json() for tool in tools]) for key, tools in sets.items()}
    rows: Counter[str] = Counter()
    for key, count in carried.items():
        rows[text_of[key]] += count
    common = rows.most_common(1)[0][0]
    tools = next(sets[key] for key, text in text_of.items() if text == common)
    return ToolDataset(
        tools,
        tuple(
            replace(item, tools=None) if item.tools and text_of[id(item.tools)] == common else item for item in examples
        ),
    )


def _split_of(row: Any) -> str | None:
    values = (row.get("split"), row.get("metadata")) if isinstance(row, dict) else ()
    return next((SPLITS[value.lower()] for value in values if isinstance(value, str) and value.lower() in SPLITS), None)


def _without_onesided_split(dataset: ToolDataset, issues: list[Issue]) -> ToolDataset:
    """A file of one split only says nothing about which rows to hold back."""
    splits = {item.split for item in dataset.examples}
    if splits == {"train"} or splits == {"test"}:
        issues.append(
            Issue(
                None,
                "split",
                "warning",
                f"every row is marked {splits.pop()}: the marks were left out, so that rows can be held back",
            )
        )
        return replace(dataset, examples=tuple(replace(item, split=None) for item in dataset.examples))
    return dataset


def _file_notes(
    rows: list[tuple[int, Any]], parsed: dict[str, tuple[ToolSpec, ...]], given: tuple[ToolSpec, ...] | None
) -> list[Issue]:
    """What holds for the file as a whole."""
    notes = []
    if given is not None and any(isinstance(row, dict) and row.get("tools") for _, row in rows):
        notes.append(Issue(None, "tools", "warning", "the rows carry tools; the given ones took their place"))
    if any(_CAPITAL_TYPE.search(json.dumps(json.loads(key))) for key in parsed):
        notes.append(
            Issue(None, "tools", "warning", "types in capitals, as Google writes them, were written in lower case")
        )
    known = {
        *REQUEST_COLUMNS,
        *CALLS_COLUMNS,
        *REPLY_COLUMNS,
        *NAME_KEYS,
        *ARGUMENT_KEYS,
        "messages",
        "completion",
        "tools",
        "split",
        "metadata",
    }
    unused = {key: None for _, row in rows if isinstance(row, dict) for key in row if key not in known}
    if unused:
        notes.append(Issue(None, "columns", "warning", f"not used: {', '.join(list(unused)[:20])}"))
    return notes
