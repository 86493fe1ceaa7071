"""The shared cases of the wire format as pytest parameters; where they are not beside the checkout, one skip that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FORMAT = Path(__file__).resolve().parents[2] / "shared" / "format"


def cases(name: str) -> list:
    """The cases of one file under ../shared/format, each with its id."""
    path = FORMAT / name
    if not path.exists():
        return [pytest.param(None, id="missing", marks=pytest.mark.skip(reason=f"../shared/format/{name} is not beside this checkout"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text("utf-8"))]
