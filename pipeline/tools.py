"""Tools and calls: what a function is called and takes, whether a call fits it, and what FunctionGemma will not see of it.

Reads the JSON shapes in which tools are found (OpenAI, Google, MCP, Anthropic). Knows nothing of examples, files or tokens; the text of a
declaration is made in functiongemma.py, and what that text loses is found here (../shared/format/FORMAT.md, section 5).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline import jsontext, schema
from pipeline.declarations import losses
from pipeline.errors import DataError

# The sentence that puts the model into function calling; every prompt that FunctionGemma was trained on has it.
# https://ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices
TRIGGER = "You are a model that can do function calling with the following functions"

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_UNWRITABLE = re.compile(r'[:,{}\[\]]|^["\s]|\s$|^$')  # keys that a call's reader would end elsewhere, or trim
# All single tokens of the wire format; spelled in a user's text they become the tokens themselves.
CONTROL_TOKENS = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<escape>",
    "<start_function_declaration>",
    "<end_function_declaration>",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<end_function_response>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "<start_receiver>",
    "<end_receiver>",
    "<unk>",
    "<mask>",
)
MAX_TOOLS = 256  # more is a mistake: a declaration costs some 60 tokens, and every one stands in every prompt
MANY_TOOLS = 20
LONG_DESCRIPTION = 500


@dataclass(frozen=True)
class Issue:
    """A problem in tools or examples: where (row counts from 1, None is the whole), what, and what mends it."""

    row: int | None
    field: str
    severity: Literal["error", "warning"]
    message: str
    fix: str | None = None

    def __str__(self) -> str:
        where = ", ".join(part for part in (f"row {self.row}" if self.row is not None else "", self.field) if part)
        return f"{where}: {self.message}" if where else self.message

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "field": self.field,
            "severity": self.severity,
            "message": self.message,
            "fix": self.fix,
        }


@dataclass(frozen=True)
class ToolSpec:
    """A function that the model may call; `parameters` is a JSON Schema object, or {} for a function without any."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """OpenAI's shape, as chat templates and TRL take it."""
        function = {"name": self.name, "description": self.description}
        return {"type": "function", "function": function | ({"parameters": self.parameters} if self.parameters else {})}

    @classmethod
    def from_json(cls, obj: Any) -> ToolSpec:
        """One tool in any of the known shapes; raises DataError with every problem of it."""
        if isinstance(obj, ToolSpec):
            return obj
        tools = tools_from_json([obj])
        if len(tools) != 1:
            raise DataError(f"Expected one tool, found {len(tools)}; use tools_from_json for a list.")
        return tools[0]


@dataclass(frozen=True)
class ToolCall:
    """A call of a function with arguments of any JSON type."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "arguments": self.arguments}

    @classmethod
    def from_json(cls, obj: Any) -> ToolCall:
        """From {"name", "arguments"}, or the same inside OpenAI's {"function": ...}; arguments may be JSON text.

        Raises DataError with a sentence that says what is wrong with it.
        """
        inner = obj.get("function", obj) if isinstance(obj, dict) else obj
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
            raise DataError(f"A call needs a name, found {schema.shown(obj)}.")
        return cls(inner["name"].strip(), read_arguments(inner.get("arguments")))

    def display(self) -> str:
        """As a programmer would write it: set_light(room="hall", on=true)."""
        return f"{self.name}({', '.join(f'{key}={schema.shown(value, 200)}' for key, value in self.arguments.items())})"


def read_arguments(value: Any) -> dict[str, Any]:
    """Arguments as a mapping: from a mapping, from JSON text of one, or from nothing (None or blank text: {}).

    Raises DataError where it is neither.
    """
    if value is None or isinstance(value, str) and not value.strip():
        return {}
    try:
        if isinstance(value, str):
            value = jsontext.loads(value)
        else:
            jsontext.check(value)
    except jsontext.JsonTextError as error:
        raise DataError(f"The arguments are not usable: {error}.") from None
    if not isinstance(value, dict):
        raise DataError(f'The arguments must be an object such as {{"room": "hall"}}, found {schema.shown(value)}.')
    return value


def tools_from_json(source: Any) -> list[ToolSpec]:
    """Tools from JSON text or from what JSON text holds: a list of tools, one tool, or an object around such a list.

    Shapes: OpenAI {"type": "function", "function": {...}}, plain {"name", "description", "parameters"}, Google
    {"function_declarations": [...]} with upper-case types, MCP {"tools": [{..., "inputSchema"}]}, Anthropic "input_schema".
    Types come out in lower case. Raises DataError that carries all problems at once.
    """
    if isinstance(source, str | bytes):
        try:
            source = jsontext.loads(
                source if isinstance(source, str) else source.decode("utf-8-sig"), jsontext.ROW_DEPTH
            )
        except (jsontext.JsonTextError, UnicodeDecodeError) as error:
            raise DataError(
                f"The tools are not usable: {error}; expected a JSON list of function descriptions."
            ) from None
    else:
        source = list(source) if isinstance(source, tuple) else source
    tools: list[ToolSpec] = []
    issues: list[Issue] = []
    for number, item in enumerate(_unwrapped(source), start=1):
        spec = item if isinstance(item, ToolSpec) else _read_tool(item, number, issues)
        if spec:
            tools.append(spec)
    if not tools and not issues:
        raise DataError(
            "No tools found; expected a JSON list with at least one function description (name, description, parameters)."
        )
    if len(tools) > MAX_TOOLS:
        issues.append(
            Issue(
                None,
                "tools",
                "error",
                f"{len(tools)} tools are more than the {MAX_TOOLS} allowed",
                "Keep the tools that this app needs.",
            )
        )
    counts = Counter(tool.name for tool in tools)
    issues += [
        Issue(None, name, "error", f"the tool {name} is described {count} times", "Keep one description of each tool.")
        for name, count in counts.items()
        if count > 1
    ]
    if issues:
        raise DataError(summary("The tools cannot be used", issues), issues)
    return tools


def _unwrapped(source: Any) -> Iterable[Any]:
    """The tool descriptions in a list, in an object that holds one, or in a list of such objects."""
    if isinstance(source, list):
        for item in source:
            yield from _unwrapped(item) if isinstance(item, dict) and _inner_list(item) is not None else [item]
    elif isinstance(source, dict) and (inner := _inner_list(source)) is not None:
        yield from _unwrapped(inner)
    else:
        yield source


def _inner_list(obj: dict) -> list | None:
    if "name" in obj:
        return None
    for key in ("tools", "functions", "function_declarations", "functionDeclarations", "result"):
        if isinstance(obj.get(key), list):
            return obj[key]
        if key == "result" and isinstance(obj.get(key), dict):  # the whole answer to MCP's tools/list
            return _inner_list(obj[key])
    return None


def _read_tool(obj: Any, number: int, issues: list[Issue]) -> ToolSpec | None:
    """The tool that `obj` describes, or None with its problems added to `issues`."""

    def problem(where: str, message: str, fix: str) -> None:
        issues.append(Issue(number, where, "error", message, fix))

    function = obj.get("function", obj) if isinstance(obj, dict) else obj
    if not isinstance(function, dict):
        problem(
            "tool",
            f"expected an object with a name, found {schema.shown(obj)}",
            'Write {"name": ..., "description": ..., "parameters": {...}}.',
        )
        return None
    before = len(issues)
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        problem("name", f"a tool needs a name, found {schema.shown(name)}", "Give the function's name.")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        problem(
            "description",
            f"the description must be text, found {schema.shown(description)}",
            "Describe in a sentence what the function does.",
        )
    keys = ("parameters", "inputSchema", "input_schema", "parametersJsonSchema", "parameters_json_schema")
    parameters = next((function[key] for key in keys if function.get(key) is not None), {})
    if not isinstance(parameters, dict):
        problem(
            "parameters",
            f"expected a JSON Schema object, found {schema.shown(parameters)}",
            'Write {"type": "object", "properties": {...}}.',
        )
        parameters = {}
    try:
        jsontext.check(obj, jsontext.ROW_DEPTH)
    except jsontext.JsonTextError as error:
        problem("tool", f"{error}", "Mend the value.")
    else:
        parameters = schema.normalise(parameters)
        for path, message, fix in schema.malformed(parameters, "parameters"):
            problem(path, message, fix)
    if len(issues) > before:
        return None
    return ToolSpec(name.strip(), description or "", parameters)


def summary(start: str, issues: Sequence[Issue], shown: int = 3) -> str:
    """One sentence, on one line, of several problems: the first few, and how many more."""
    first = "; ".join(" ".join(str(issue).split())[:300] for issue in issues[:shown])
    return f"{start}: {first}{f'; and {len(issues) - shown} more' if len(issues) > shown else ''}."


def control_tokens_in(text: str) -> list[str]:
    """The control tokens that `text` spells, each once, in the order of CONTROL_TOKENS."""
    return [token for token in CONTROL_TOKENS if token in text]


def same_value(a: Any, b: Any, value_schema: dict | None = None) -> bool:
    """Typed equality of two JSON values: True is not 1, "2" is not 2, and 2 is 2.0 only under a schema that says "number"."""
    return schema.same(a, b, value_schema)


def same_call(a: ToolCall, b: ToolCall, tools: Iterable[ToolSpec] = ()) -> bool:
    """Whether two calls have one name and the same arguments (`same_value` under the tool's schema; key order is nothing)."""
    spec = next((tool for tool in tools if tool.name == a.name), None)
    return a.name == b.name and same_value(a.arguments, b.arguments, spec.parameters if spec else None)


def check_call(call: ToolCall, tools: Sequence[ToolSpec]) -> list[Issue]:
    """Everything in which `call` does not fit its tool; the rows of the issues are None, the fields name the argument."""
    spec = next((tool for tool in tools if tool.name == call.name), None)
    if spec is None:
        known = ", ".join(tool.name for tool in tools[:10]) or "none"
        return [
            Issue(
                None,
                call.name,
                "error",
                f"there is no tool {call.name} (the tools are {known})",
                "Rename the call, or add the tool.",
            )
        ]
    rules = (
        spec.parameters if schema.properties_of(spec.parameters) else {**spec.parameters, "additionalProperties": False}
    )
    unwritable = [
        Issue(None, call.name, "error", f"a call cannot carry the key {key!r}: keys are written without quotes", "Rename it.")
        for key in _keys(call.arguments)
        if _UNWRITABLE.search(key)
    ]
    return unwritable + [
        Issue(
            None,
            f"{call.name}.{path}" if path else call.name,
            severity,
            message,
            "Correct the argument, or the tool's parameters.",
        )
        for path, severity, message in schema.violations(call.arguments, rules)
    ]


def _keys(value: Any) -> Iterable[str]:
    """The keys of a JSON value's objects, at any depth."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)
    if isinstance(value, dict):
        yield from value


def lint_tools(tools: Sequence[ToolSpec]) -> list[Issue]:
    """What FunctionGemma's template drops or mangles of `tools`, and what else is unwise.

    Rows count the tools from 1; fields are paths such as "set_light.room". An error breaks the prompt or the call, a warning
    says what the model will not know.
    """
    issues: list[Issue] = []
    counts = Counter(tool.name for tool in tools)
    for number, tool in enumerate(tools, start=1):

        def add(where: str, severity: str, message: str, fix: str, row: int = number, name: str = tool.name) -> None:
            issues.append(Issue(row, f"{name}.{where}" if where else name, severity, message, fix))  # type: ignore[arg-type]

        if not NAME_PATTERN.fullmatch(tool.name):
            add(
                "",
                "error",
                f"{tool.name!r} is not a name that a call can carry",
                "Begin with a letter; use letters, digits, _ . and - only.",
            )
        if counts[tool.name] > 1:
            add(
                "", "error", f"{counts[tool.name]} tools have the name {tool.name}", "Give each tool a name of its own."
            )
        if not tool.description.strip():
            add(
                "", "warning", "the tool has no description", "Say in a sentence what it does; the model chooses by it."
            )
        elif tool.description != tool.description.strip():
            add("", "warning", "the description begins or ends with blanks, which are rendered as they are", "Trim it.")
        if len(tool.description) > LONG_DESCRIPTION:
            add(
                "",
                "warning",
                f"the description has {len(tool.description)} characters, and every prompt carries it",
                "Say it shorter.",
            )
        for where, text in _texts(tool.parameters, "", tool.description):
            if found := control_tokens_in(text):
                add(
                    where,
                    "error",
                    f"the text holds the control token {found[0]}, which would take effect in the prompt",
                    "Take it out.",
                )
        for loss in losses(tool.parameters):
            add(loss.path, loss.severity, loss.message, loss.fix)
    if len(tools) > MANY_TOOLS:
        issues.append(
            Issue(
                None,
                "tools",
                "error" if len(tools) > MAX_TOOLS else "warning",
                f"{len(tools)} tools: each stands in every prompt, and a small model confuses many",
                "Leave out what the app can do without.",
            )
        )
    return issues


def _texts(node: Any, path: str, description: str | None = None) -> Iterable[tuple[str, str]]:
    """Every text of a schema that reaches a prompt: names, descriptions, values of enums."""
    if description is not None:
        yield path, description
    if isinstance(node, dict):
        for key, value in node.items():
            yield path, key
            yield from _texts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, path)
    elif isinstance(node, str):
        yield path, node
