"""What a command hands back to the door. Knows nothing of how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """`json` for --json, `text` for a person; a command that has a result but did not succeed gives `error`, its sentence."""

    json: dict[str, Any]
    text: str = ""
    error: str | None = None
    status: int = 0
