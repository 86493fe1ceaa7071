"""What a function might return, for trying out a model without the app: made from the tools' schemas, meant to be edited.

A template is JSON in which the text "{room}" stands for the value that a call gives to the parameter `room`. Nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import schema
from pipeline.tools import ToolCall, ToolSpec

SHOWN = 6
"""Parameters that come back in a result; more would fill the model's short context."""
DONE = {"status": "done"}


def templates(tools: Iterable[ToolSpec]) -> dict[str, Any]:
    """Tool name -> what it might return: that it is done, and what it was told."""
    return {tool.name: DONE | {name: f"{{{name}}}" for name in list(schema.properties_of(tool.parameters))[:SHOWN]} for tool in tools}


def result(call: ToolCall, templates: Mapping[str, Any]) -> Any:
    """The result of this call: its function's template with the call's values; parameters that it leaves out are left out."""
    return _filled(templates.get(call.name, DONE), call.arguments)


def _filled(value: Any, arguments: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        name = _parameter(value)
        return arguments[name] if name in arguments else value
    if isinstance(value, dict):
        return {key: _filled(inner, arguments) for key, inner in value.items() if _parameter(inner) in (None, *arguments)}
    return [_filled(inner, arguments) for inner in value] if isinstance(value, list) else value


def _parameter(value: Any) -> str | None:
    """The parameter that a text of a template stands for."""
    return value[1:-1] if isinstance(value, str) and len(value) > 2 and value[0] == "{" and value[-1] == "}" else None
