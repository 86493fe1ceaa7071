"""What the tests of importers and datasets share: two functions, a call of each, files on disk, and a report's counts held against one another."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import importers
from pipeline.tools import ToolCall, ToolSpec

SHARED = Path(__file__).resolve().parents[2] / "shared"
FORMATS = SHARED / "data" / "formats"


def light(**room: object) -> ToolSpec:
    """set_light; `room` is what the schema of its first parameter says besides."""
    parameters = {
        "room": {"type": "string", "description": "The room", **room},
        "on": {"type": "boolean", "description": "True to turn on"},
        "brightness": {"type": "integer", "description": "Percent"},
    }
    return ToolSpec("set_light", "Turns a lamp on or off.", {"type": "object", "properties": parameters, "required": ["room", "on"]})


LIGHT = light()
TIMER = ToolSpec(
    "start_timer",
    "Starts a timer.",
    {
        "type": "object",
        "properties": {"minutes": {"type": "number", "description": "Minutes"}, "label": {"type": "string", "description": "For what"}},
        "required": ["minutes"],
    },
)
TOOLS = [LIGHT, TIMER]
ANY = ToolSpec("f", "Anything.", {"type": "object", "properties": {"value": {"description": "Anything"}}})
KITCHEN = ToolCall("set_light", {"room": "kitchen", "on": True})
PASTA = ToolCall("start_timer", {"minutes": 10, "label": "pasta"})
ASK, ON = {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"function": KITCHEN.to_json()}]}


def write(folder: Path, name: str, content: str | bytes | list) -> Path:
    """A file; a list becomes JSON Lines."""
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def check_counts(report: importers.ImportReport) -> None:
    assert report.read == report.imported + report.refused
    assert 0 <= report.changed <= report.imported
    assert len({issue.row for issue in report.issues if issue.severity == "error"}) == report.refused
    assert len({issue.row for issue in report.issues if issue.severity == "warning" and issue.row}) == report.changed
