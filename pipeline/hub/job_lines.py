"""What a Job says of itself in its log, line by line, and how it is read back: a mark, then one JSON object.

    studio-job: {"kind": "step", "step": 3, "total": 24, "loss": 1.2, ...}      a line of log.jsonl
    studio-job: {"kind": "sample", ...}                                         a line of samples.jsonl
    studio-job: {"kind": "say", "text": "..."}                                  a sentence for people
    studio-job: {"kind": "kept", "step": 20}                                    a checkpoint is in the repository
    studio-job: {"kind": "end", "status": "done", "error": null}                the last line

Everything else in the log is what libraries print. A reader trusts nothing: what does not fit is passed over. Knows no run and no Hub.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from pipeline.runs import STATUSES, Sample, StepLog

MARK = "studio-job: "
LONGEST = 20_000
"""Characters of a line; a longer one is not ours."""
MOST = 1e300
"""A number beyond it is none of ours."""
_WHOLE = ("step", "total", "memory")
_TEXTS = ("request", "expected", "answer")


def line(kind: str, **said: Any) -> str:
    """The line that says this."""
    return MARK + json.dumps({"kind": kind, **said}, ensure_ascii=True)


def read(text: str) -> dict[str, Any] | None:
    """What a line of the log says, its values of the right types; None for a line that is not ours or makes no sense."""
    text = text.strip()
    if not text.startswith(MARK) or len(text) > LONGEST:
        return None
    try:
        said = json.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and _fits(said) else None


def step(said: dict[str, Any]) -> StepLog:
    """The line of log.jsonl that a "step" stands for."""
    return StepLog(**{f.name: said[f.name] for f in fields(StepLog) if said.get(f.name) is not None})


def sample(said: dict[str, Any]) -> Sample:
    """The line of samples.jsonl that a "sample" stands for."""
    return Sample(**{f.name: said[f.name] for f in fields(Sample)})


def fits_step(said: dict[str, Any]) -> bool:
    """Whether an object has what a StepLog has: whole numbers from 0, finite figures, nothing else under those names."""
    numbers = {f.name: said.get(f.name) for f in fields(StepLog)}
    whole = all(_is_whole(numbers[name]) or (name == "memory" and numbers[name] is None) for name in _WHOLE)
    return whole and all(value is None or is_number(value) for value in numbers.values())


def fits_sample(said: dict[str, Any]) -> bool:
    """The same for a Sample."""
    return _is_whole(said.get("step")) and is_number(said.get("epoch")) and all(isinstance(said.get(name), str) for name in _TEXTS)


def _fits(said: dict[str, Any]) -> bool:
    match said.get("kind"):
        case "step":
            return fits_step(said)
        case "sample":
            return fits_sample(said)
        case "say":
            return isinstance(said.get("text"), str)
        case "kept":
            return _is_whole(said.get("step"))
        case "end":
            return said.get("status") in STATUSES and isinstance(said.get("error"), str | None)
    return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number that a float can hold: a whole one of 400 digits cannot be written as one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST < value < MOST
