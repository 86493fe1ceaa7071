"""Changes to a project's dataset: each reads it, makes one change and saves it whole.

Texts come from a page's form and are read here into tools and examples; every problem is a PipelineError with a sentence. Two changes
to one project never overlap. It knows nothing about widgets, nor whether the result can be trained on (pipeline.dataset.validate does).
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import dataset as data
from pipeline import importers, jsontext, schema, sources
from pipeline.dataset import Example, ToolDataset
from pipeline.errors import DataError
from pipeline.runs import Project
from pipeline.tools import ToolCall, ToolSpec, tools_from_json

_locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)

A_CALL = '[{"name": "set_light", "arguments": {"on": true}}]'
TOOL_GONE = "That tool is no longer there. Close the form, and choose one that is."
CHANGED_MEANWHILE = "That row has changed or moved meanwhile. Choose it again in the table."


def _change(project: Project, change: Callable[[ToolDataset], ToolDataset], afresh: bool = False) -> ToolDataset:
    """Save what `change` makes of the dataset; a project without one, or `afresh`, starts from an empty one."""
    with _locks[project.path]:
        changed = data.split(change((None if afresh else _there(project)) or ToolDataset((), ())))
        if not changed.tools:
            raise DataError("A dataset needs at least one tool. Add another one before removing this.")
        data.save(changed, project.dataset_path)
        return changed


def _there(project: Project) -> ToolDataset | None:
    return data.load(project.dataset_path) if (project.dataset_path / data.TOOLS_FILE).is_file() else None


# -- tools


def read_tool(text: str) -> ToolSpec:
    """The one tool that a form's JSON describes."""
    tools = tools_from_json(text)
    if len(tools) != 1:
        raise DataError(f"This describes {len(tools)} tools. Keep one here, and import lists of tools.")
    return tools[0]


def put_tool(project: Project, text: str, old_name: str | None = None) -> ToolSpec:
    """Add a tool, or put it in the place of `old_name`; calls of a renamed tool are renamed in every example."""
    tool = read_tool(text)

    def change(dataset: ToolDataset) -> ToolDataset:
        others = [each.name for each in dataset.tools if each.name != old_name]
        if tool.name in others:
            raise DataError(f"There is a tool {tool.name} already. Give this one another name.")
        if old_name is None:
            return replace(dataset, tools=(*dataset.tools, tool))
        if len(others) == len(dataset.tools):
            raise DataError(TOOL_GONE)
        tools = tuple(tool if each.name == old_name else each for each in dataset.tools)
        examples = tuple(_renamed(example, old_name, tool.name) for example in dataset.examples)
        return ToolDataset(tools, examples if tool.name != old_name else dataset.examples)

    _change(project, change)
    return tool


def _renamed(example: Example, old: str, new: str) -> Example:
    def call_named(call: dict[str, Any]) -> dict[str, Any]:
        function = call.get("function", {})
        return {**call, "function": {**function, "name": new}} if function.get("name") == old else call

    def message(each: dict[str, Any]) -> dict[str, Any]:
        if each.get("role") == "tool" and each.get("name") == old:
            return {**each, "name": new}
        calls = each.get("tool_calls")
        if not calls:
            return each
        return {**each, "tool_calls": [call_named(call) for call in calls]}

    return example if example.tools is not None else replace(example, messages=tuple(message(each) for each in example.messages))


def remove_tool(project: Project, name: str) -> None:
    """Remove a tool; examples that call it stay and are reported as problems."""

    def change(dataset: ToolDataset) -> ToolDataset:
        kept = tuple(tool for tool in dataset.tools if tool.name != name)
        if len(kept) == len(dataset.tools):
            raise DataError(TOOL_GONE)
        return replace(dataset, tools=kept)

    _change(project, change)


# -- examples


def read_calls(text: str) -> list[ToolCall]:
    """The calls of a form's JSON: a list, one call, or nothing. DataError says what is wrong with it."""
    if not (text or "").strip():
        return []
    try:
        value = jsontext.loads(text)
    except jsontext.JsonTextError as problem:
        raise DataError(f"The calls are not usable: {problem}. Expected a list such as {A_CALL}.") from None
    return [ToolCall.from_json(call) for call in (value if isinstance(value, list) else [value])]


def with_call(text: str, tool: ToolSpec) -> str:
    """A form's JSON of calls with one more of `tool`, whose required arguments have a first value of the right type."""
    blank = {"string": "", "integer": 0, "number": 0.0, "boolean": True, "array": [], "object": {}}
    properties = schema.properties_of(tool.parameters)
    wanted = [name for name in tool.parameters.get("required", properties) if name in properties]
    values = {name: properties[name].get("enum") or [blank.get(next(iter(schema.types_of(properties[name])), ""), "")] for name in wanted}
    made = [*read_calls(text), ToolCall(tool.name, {name: choices[0] for name, choices in values.items()})]
    return jsontext.dumps([call.to_json() for call in made], indent=2)


def mark(example: Example) -> str:
    """A short digest by which a row is known again."""
    return hashlib.sha256(jsontext.dumps(example.to_json()).encode()).hexdigest()[:16]


def put_example(project: Project, request: str, calls: str, reply: str, row: tuple[int, str] | None = None) -> int:
    """Add an example, or change the one of `row` (index from 0, mark), which must be there unchanged; returns its index.

    What is not in the form stays: the developer's text, earlier messages, the row's own tools, its split.
    """
    request, reply, made = (request or "").strip(), (reply or "").strip(), read_calls(calls)
    if not request:
        raise DataError("An example needs a request: write what a person would say.")
    if not made and not reply:
        raise DataError("An example needs an answer: a call, or words where no tool fits.")
    fresh = data.example(request, made, reply)
    where = row[0] if row else 0

    def change(dataset: ToolDataset) -> ToolDataset:
        nonlocal where
        examples = list(dataset.examples)
        if row is None:
            where = len(examples)
            examples.append(fresh)
        else:
            _check_same(examples, row)
            examples[where] = _edited(examples[where], fresh)
        return replace(dataset, examples=tuple(examples))

    _change(project, change)
    return where


def _edited(old: Example, fresh: Example) -> Example:
    """`old` with the request and the answer of `fresh`."""
    prompt = list(old.prompt)
    last = max((i for i, message in enumerate(prompt) if message.get("role") == "user"), default=None)
    user = {"role": "user", "content": fresh.request}
    prompt = [*prompt, user] if last is None else [*prompt[:last], user, *prompt[last + 1 :]]
    return replace(old, messages=(*prompt, fresh.completion))


def remove_example(project: Project, row: tuple[int, str]) -> None:
    """Remove a row (index from 0, mark), which must be there unchanged."""

    def change(dataset: ToolDataset) -> ToolDataset:
        _check_same(dataset.examples, row)
        index = row[0]
        return replace(dataset, examples=(*dataset.examples[:index], *dataset.examples[index + 1 :]))

    _change(project, change)


def remove_duplicates(project: Project) -> None:
    _change(project, lambda dataset: data.deduplicate(dataset)[0])


def _check_same(examples: Sequence[Example], row: tuple[int, str]) -> None:
    if not 0 <= row[0] < len(examples) or mark(examples[row[0]]) != row[1]:
        raise DataError(CHANGED_MEANWHILE)


# -- import


def import_files(project: Project, examples: str | None, tools: str | None, pasted: str, replace_all: bool) -> Any:
    """Import a file of examples and the tools from a file or pasted text; returns the importer's report, None without examples.

    Without `replace_all` the rows and tools are added to those that are there; a tool of the same name takes its new description.
    """
    if tools and pasted.strip():
        raise DataError("There are tools in a file and in the text field. Keep one of the two.")
    given = sources.tools_from(tools) if tools else tools_from_json(pasted) if pasted.strip() else None
    if not examples and given is None:
        raise DataError("Choose a file with examples, or describe your tools, and import again.")
    known = given
    if known is None and (there := _there(project)):
        known = there.tools
    found, report = importers.read(examples, list(known) if known else None) if examples else (ToolDataset(tuple(given), ()), None)

    def change(dataset: ToolDataset) -> ToolDataset:
        tools = {tool.name: tool for tool in (*dataset.tools, *found.tools)}
        return ToolDataset(tuple(tools.values()), (*dataset.examples, *found.examples))

    _change(project, (lambda _: found) if replace_all else change, afresh=replace_all)
    return report
