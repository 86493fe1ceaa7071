"""How long work takes on this machine, learnt from work that was done here; never invented.

`<workspace>/timings.json` maps a kind of work ("train embedded full") to its seconds per unit (a step, a row). Nothing in it tells
whose work it was.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.files import write_atomic

NEWEST = 0.5
"""Weight of the newest measurement: follows a machine that becomes slower within two or three jobs."""


def record(root: Path, kind: str, units: float, seconds: float) -> None:
    """Remember that `units` of this kind of work took `seconds`."""
    if not kind or units <= 0 or seconds <= 0:
        return
    known = _read(root)
    rate = seconds / units
    known[kind] = rate if kind not in known else NEWEST * rate + (1 - NEWEST) * known[kind]
    write_atomic(root / "timings.json", json.dumps(known, indent=1, sort_keys=True))


def expected(root: Path, kind: str, units: float) -> float | None:
    """Seconds that `units` of this kind of work should take; None when none was done here yet."""
    rate = _read(root).get(kind)
    return None if rate is None else rate * units


def _read(root: Path) -> dict[str, float]:
    try:
        found = json.loads((root / "timings.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(kind): float(rate) for kind, rate in found.items() if isinstance(rate, int | float)}


def in_words(seconds: float) -> str:
    """A duration as a person says it: "about 40 s", "about 3 min", "about 2 h 10 min"."""
    if seconds < 55:
        return f"about {max(5, round(seconds / 5) * 5)} s" if seconds > 7 else "a few seconds"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60} min"
