"""JSON on disk, for records that must survive a crash: one object a file, or one object a line.

A file of lines is only ever appended to. A process that dies while it writes leaves a torn last line; readers pass over it and the
next writer starts a new one. This file does not know what the records mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import RunError


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """The JSON object in `path`. Raises RunError if there is none, or if it lacks one of `keys`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}); restore it or delete its folder.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} should hold a JSON object, found {type(value).__name__}; restore it or delete its folder.")
    if missing := [key for key in keys if key not in value]:
        raise RunError(f"{path} lacks {', '.join(missing)}; restore it or delete its folder.")
    return value


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines, none if there is no file; lines torn by a crash are passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """One more line at the end of `path`, on a line of its own even if a crash tore the last one."""
    with open(path, "a+b") as file:
        torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(value, ensure_ascii=False).encode() + b"\n")
