"""What FunctionGemma's chat template makes of a parameter schema: what it leaves out, and what it mangles.

The template writes description and type of each property, enum of strings, properties and required of objects, items of arrays,
and nothing else (FORMAT.md, sections 4 and 5; the numbers below are those of its table of peculiarities). Knows nothing of tools;
writing the declaration itself is functiongemma.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline import schema

STANDARD_KEYS = (
    "description",
    "type",
    "properties",
    "required",
    "nullable",
)  # the template skips properties of these names
_SILENT = (
    "title",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
)
_STRUCTURE = re.compile(r"[\s{}\[\],:<>]")  # keys are written bare, so these would end them


class Loss(NamedTuple):
    """One thing that the declaration does not say as the schema does."""

    path: str
    severity: str
    message: str
    fix: str


def losses(parameters: dict[str, Any]) -> Iterator[Loss]:
    """Everything lost between a function's parameter schema and its declaration; {} (no parameters) loses nothing."""
    if not parameters:
        return
    if schema.types_of(parameters) != ("object",):
        named = (
            schema.shown(parameters["type"])
            if "type" in parameters
            else "no type: a brace of the declaration stays open"
        )  # 8
        yield Loss(
            "",
            "error",
            f'the parameters must have the type "object", found {named}',
            'Add "type": "object" beside "properties".',
        )
    yield from _dropped(parameters, "", ("type", "properties", "required", "description"))
    yield from _properties(parameters, "")


def _properties(node: dict[str, Any], path: str) -> Iterator[Loss]:
    properties = schema.properties_of(node)
    for name in schema.required_of(node):
        if name not in properties:
            yield Loss(
                path,
                "error",
                f"{name} is required and not declared",
                "Declare it under properties, or take it out of required.",
            )
    for name, inner in properties.items():
        here = f"{path}.{name}" if path else name
        if name in STANDARD_KEYS:  # 4
            yield Loss(
                here,
                "error",
                f"a parameter named {name} vanishes from the declaration",
                f"Rename it, for example {name}_text.",
            )
        if not name or _STRUCTURE.search(name):
            yield Loss(
                here,
                "error",
                "a parameter's name is written without quotes and must not hold spaces or any of {}[],:<>",
                "Use letters, digits and _.",
            )
        yield from _property(inner, here)


def _property(node: dict[str, Any], path: str) -> Iterator[Loss]:
    types = schema.types_of({"type": node.get("type", ())})
    kind = types[0] if len(types) == 1 else ""
    yield from _text(node.get("description"), path, "the parameter")
    if not types:
        by = next((key for key in ("$ref", "anyOf", "oneOf", "allOf") if key in node), None)
        found = f"its type stands in {by}, which is not rendered" if by else "it has no type"
        yield Loss(
            path,
            "warning",
            f"the model is not told the type: {found}",
            'Write the type itself, for example "type": "string".',
        )
    for name in types:
        if name not in schema.TYPES:
            yield Loss(
                path, "warning", f"{name} is not a type of JSON Schema", f"Use one of {', '.join(schema.TYPES)}."
            )
    if isinstance(node.get("type"), list):  # 7
        yield Loss(
            path,
            "warning",
            f"a list of types is rendered as Python text ({[name.upper() for name in types]})",
            "Name one type, and say in the description when to leave it out.",
        )
    enum = node.get("enum")
    if kind == "string" and isinstance(enum, list) and not all(isinstance(item, str) for item in enum):
        yield Loss(path, "warning", "the values of a string's enum should be text", "Quote them all.")
    read = ("type", "description", "properties", "required") if kind == "object" else ("type", "description")
    read += {"string": ("enum",), "array": ("items",)}.get(kind, ())
    if kind == "object" and not isinstance(node.get("properties"), dict):
        bogus = [key for key in node if key not in STANDARD_KEYS]
        if bogus:  # 5
            yield Loss(
                path,
                "warning",
                f"an object without properties: {', '.join(bogus)} would be declared as its parameters",
                "Declare its properties, and take these keywords out.",
            )
        else:
            yield Loss(
                path,
                "warning",
                "an object without properties: the model is not told what belongs in it",
                "Declare its properties.",
            )
        return
    yield from _dropped(node, path, read)
    if kind == "object":
        yield from _properties(node, path)
    if kind == "array":
        yield from _items(node.get("items"), path)


def _items(items: Any, path: str) -> Iterator[Loss]:
    if not isinstance(items, dict) or not items:
        yield Loss(path, "warning", "the model is not told what the list holds", 'Add "items": {"type": ...}.')
        return
    if "items" in items:  # 6
        yield Loss(
            f"{path}[]",
            "warning",
            "a list in a list is rendered with quoted keys and types in lower case",
            "Make it a list of objects, or two parameters.",
        )
    yield from _properties(items, f"{path}[]")


def _dropped(node: dict[str, Any], path: str, read: tuple[str, ...]) -> Iterator[Loss]:
    """3: keywords that the model never sees."""
    lost = [key for key in node if key not in read and key not in _SILENT]
    if node.get("additionalProperties") is False:
        lost.remove("additionalProperties")
    if lost:
        yield Loss(
            path,
            "warning",
            f"the declaration leaves out {', '.join(lost)}",
            "Say it in the description if the model needs to know.",
        )


def _text(description: Any, path: str, what: str) -> Iterator[Loss]:
    if not isinstance(description, str) or not description.strip():
        yield Loss(
            path,
            "warning",
            f"{what} has no description",
            "Say in a few words what it is; the model has nothing else to go by.",
        )
    elif description != description.strip():  # 14
        yield Loss(
            path, "warning", "the description begins or ends with blanks, which are rendered as they are", "Trim it."
        )
