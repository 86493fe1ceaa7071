"""JSON Schema as tools use it: bring a schema to one spelling, check a value against it, compare two values under it.

Covers what function declarations hold: type, properties, required, items, enum, const, anyOf, oneOf, bounds, additionalProperties.
Every other keyword, $ref, allOf, not and pattern among them, is passed over: a value is not checked against it.
Knows nothing of tools or calls; what FunctionGemma's template makes of a schema stands in declarations.py.
"""

from __future__ import annotations

import json
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_PLURAL_NAMES = ("properties", "$defs", "definitions", "patternProperties")  # name -> schema
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")  # schemas in a list
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames")  # one schema
_NULL_IS_A_VALUE = ("default", "const", "example")
_ARTICLES = {
    "integer": "a whole number",
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
    "string": "text",
    "number": "a number",
    "null": "null",
}


def normalise(schema: Any) -> Any:
    """A copy in one spelling: Google's upper-case types in lower case, and keywords that hold null left out.

    Null keywords come from tables (Arrow, Parquet) that give every schema the keywords of all the others.
    """
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if value is None and key not in _NULL_IS_A_VALUE:
            continue
        if key == "type":
            value = [_lower_type(item) for item in value] if isinstance(value, list) else _lower_type(value)
        elif key in _PLURAL_NAMES and isinstance(value, dict):
            value = {name: normalise(inner) for name, inner in value.items() if inner is not None}
        elif key in _LISTS and isinstance(value, list):
            value = [normalise(inner) for inner in value]
        elif key in _SINGLE:
            value = normalise(value)
        result[key] = value
    return result


def _lower_type(name: Any) -> Any:
    return name.lower() if isinstance(name, str) and name.lower() in TYPES else name


def malformed(node: Any, path: str) -> list[tuple[str, str, str]]:
    """Where a schema has the wrong shape, so that nothing can be checked against it or rendered from it."""
    if not isinstance(node, dict):
        return [
            (
                path,
                f"expected a JSON Schema object, found {shown(node)}",
                'Write for example {"type": "string"}.',
            )
        ]
    found = []
    kind = node.get("type", "object")
    if not isinstance(kind, str) and not (isinstance(kind, list) and all(isinstance(item, str) for item in kind)):
        found.append(
            (
                f"{path}.type",
                f"expected the name of a type, found {shown(kind)}",
                f"Use one of {', '.join(TYPES)}.",
            )
        )
    if not isinstance(node.get("properties", {}), dict):
        found.append(
            (
                f"{path}.properties",
                f"expected an object of name and schema, found {shown(node['properties'])}",
                "Write {name: schema}.",
            )
        )
    required = node.get("required", [])
    if not isinstance(required, list) or not all(isinstance(item, str) for item in required):
        found.append(
            (
                f"{path}.required",
                f"expected a list of names, found {shown(required)}",
                "List the required parameters by name.",
            )
        )
    if not isinstance(node.get("enum", []), list):
        found.append(
            (
                f"{path}.enum",
                f"expected a list of values, found {shown(node['enum'])}",
                "List the allowed values.",
            )
        )
    for name, inner in properties_of(node).items():
        found += malformed(inner, f"{path}.properties.{name}")
    if isinstance(node.get("items"), dict):
        found += malformed(node["items"], f"{path}.items")
    return found


def types_of(schema: Any) -> tuple[str, ...]:
    """The types that `schema` names, `nullable` counted as "null"; empty where it names none."""
    if not isinstance(schema, dict):
        return ()
    named = schema.get("type", ())
    types = tuple(item for item in ([named] if isinstance(named, str) else named) if isinstance(item, str))
    return (*types, "null") if types and schema.get("nullable") is True and "null" not in types else types


def allows_null(schema: Any) -> bool:
    """Whether null is a value of `schema` (which may be empty or missing: then anything is)."""
    return not [message for _, severity, message in violations(None, schema) if severity == "error"]


def properties_of(schema: Any) -> dict[str, Any]:
    """The declared properties of an object schema, {} where it declares none."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def required_of(schema: Any) -> list[str]:
    """The names that an object schema requires."""
    names = schema.get("required") if isinstance(schema, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def is_type(value: Any, name: str) -> bool:
    """Whether a JSON value has a JSON Schema type. True is no number, and 2.0 no integer: the wire writes it `2.0`."""
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    kinds = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}
    return name not in kinds or isinstance(value, kinds[name])


def violations(value: Any, schema: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Every way in which `value` is not what `schema` describes, as (path, "error" or "warning", sentence)."""
    if not isinstance(schema, dict):
        return []
    found: list[tuple[str, str, str]] = []
    types = types_of(schema)
    here = path or "the value"
    if types and not any(is_type(value, name) for name in types):
        expected = " or ".join(_ARTICLES.get(name, name) for name in types)
        return [(path, "error", f"{here} must be {expected}, found {shown(value)}")]
    if value is None and "null" in types:
        return []
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and not any(same(value, item, schema) for item in enum):
        found.append((path, "error", f"{here} must be one of {', '.join(map(shown, enum))}, found {shown(value)}"))
    if "const" in schema and not same(value, schema["const"], schema):
        found.append((path, "error", f"{here} must be {shown(schema['const'])}, found {shown(value)}"))
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options and all(violations(value, option, path) for option in options):
            found.append((path, "error", f"{here} fits none of the {len(options)} forms allowed, found {shown(value)}"))
    if is_type(value, "number"):
        low, high = schema.get("minimum"), schema.get("maximum")
        if is_type(low, "number") and value < low or is_type(high, "number") and value > high:
            found.append((path, "warning", f"{here} is {shown(value)}, outside of {_range(low, high)}"))
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += violations(item, schema.get("items"), f"{path}[{index}]")
    if isinstance(value, dict):
        found += _object_violations(value, schema, path)
    return found


def _object_violations(value: dict, schema: dict, path: str) -> list[tuple[str, str, str]]:
    properties = properties_of(schema)
    found = [
        (_join(path, name), "error", f"{_join(path, name)} is required and missing")
        for name in required_of(schema)
        if name not in value
    ]
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        if name in properties:
            found += violations(item, properties[name], _join(path, name))
        elif isinstance(extra, dict):
            found += violations(item, extra, _join(path, name))
        elif extra is not True and (properties or extra is False):
            known = ", ".join(properties) or "none"
            found.append(
                (
                    _join(path, name),
                    "error" if extra is False else "warning",
                    f"{_join(path, name)} is not declared (declared: {known})",
                )
            )
    return found


def same(a: Any, b: Any, schema: Any = None) -> bool:
    """Whether two JSON values are equal with their types: True is not 1, "2" is not 2.

    2 and 2.0 are equal only where `schema` says "number" and not "integer"; without a schema they differ.
    """
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        types = {name for form in _forms(schema) for name in types_of(form)}
        return a == b and (type(a) is type(b) or "number" in types and "integer" not in types)
    if isinstance(a, list) and isinstance(b, list):
        items = next((form["items"] for form in _forms(schema) if "items" in form), None)
        return len(a) == len(b) and all(same(x, y, items) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        properties = {name: inner for form in _forms(schema) for name, inner in properties_of(form).items()}
        others = next((form["additionalProperties"] for form in _forms(schema) if "additionalProperties" in form), None)
        return a.keys() == b.keys() and all(same(a[key], b[key], properties.get(key, others)) for key in a)
    return type(a) is type(b) and a == b


def _forms(schema: Any) -> list[dict[str, Any]]:
    """A schema and those that it offers to choose from, as `int | None` becomes anyOf of integer and null in MCP's tools."""
    if not isinstance(schema, dict):
        return []
    offered = [form for keyword in ("anyOf", "oneOf") if isinstance(schema.get(keyword), list) for form in schema[keyword]]
    return [schema, *(form for form in offered if isinstance(form, dict))]


def shown(value: Any, limit: int = 60) -> str:
    """A JSON value for a sentence, cut to `limit` characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _range(low: Any, high: Any) -> str:
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"
