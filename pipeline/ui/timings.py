"""How long work takes on this machine: learnt from work that was done here, before that guessed from the speed of its CPU.

`<workspace>/timings.json` maps a kind of work ("train embedded full") to the seconds that it takes to begin (starting Python, loading a
model) and to its seconds per unit (an example, a row). Nothing in it tells whose work it was.
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path

from pipeline.files import write_atomic
from pipeline.model import on_zero_gpu

NEWEST = 0.5
"""Weight of the newest measurement: follows a machine that becomes slower within two or three jobs."""

MEASURED = {"train embedded full": (8.0, 0.042), "evaluate embedded base": (6.5, 0.03), "evaluate embedded tuned": (6.5, 0.03)}
"""CPU seconds to begin and per example, on one core that multiplies matrices at MEASURED_SPEED: the sample project, torch 2.13."""
MEASURED_SPEED = 118e9
"""float32 operations a second, as `speed` counts them."""


def record(root: Path, kind: str, units: float, seconds: float, working: float | None = None) -> None:
    """Remember that `units` of this kind of work took `seconds`, of which `working` were spent on the units (default: all)."""
    working = seconds if working is None else min(working, seconds)
    if not kind or units <= 0 or working <= 0:
        return
    known = _read(root)
    new = {"begin": seconds - working, "unit": working / units}
    old = known.get(kind, new)
    known[kind] = {name: NEWEST * new[name] + (1 - NEWEST) * old[name] for name in new}
    write_atomic(root / "timings.json", json.dumps(known, indent=1, sort_keys=True))


def expected(root: Path, kind: str, units: float) -> float | None:
    """Seconds that `units` of this kind of work should take; None when none was done here yet."""
    found = _read(root).get(kind)
    return None if found is None else found["begin"] + found["unit"] * units


def guess(kind: str, units: float) -> float | None:
    """Seconds that such work should take on a machine where none was done yet; None for work that nobody has measured, or on a GPU."""
    own_gpu = not on_zero_gpu() and any(Path("/proc/driver/nvidia/gpus").glob("*"))
    if kind not in MEASURED or own_gpu:
        return None
    begin, unit = MEASURED[kind]
    return begin + unit * units * MEASURED_SPEED / speed()


@cache
def speed() -> float:
    """float32 operations a second of a matrix product on all cores of this machine, as free as they are: the best of three tries.

    Takes some 50 ms, once a process.
    """
    import numpy

    matrix = numpy.ones((768, 768), dtype=numpy.float32)
    matrix @ matrix  # the first product starts the threads
    times = []
    for _ in range(3):
        began = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - began)
    return 2 * len(matrix) ** 3 / min(times)


def _read(root: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads((root / "timings.json").read_text("utf-8"))
        return {str(kind): {"begin": float(one["begin"]), "unit": float(one["unit"])} for kind, one in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # missing or damaged: it is learnt again
        return {}


def in_words(seconds: float) -> str:
    """A duration as a person says it: "about 40 s", "about 3 min", "about 2 h 10 min"."""
    if seconds < 55:
        return f"about {max(5, round(seconds / 5) * 5)} s" if seconds > 7 else "a few seconds"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60} min"
