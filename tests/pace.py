"""Trainings that go as fast as a test says and wait in the step that it names, so that no test relies on a machine's speed.

    set_pace(), until_held()    the test's side: two small files, in the run's folder or, for any run, in that of the environment's PACE
    keep_pace()                 the side of the process that trains; `python -m tests.pace` is `python -m pipeline` with it
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.files import write_atomic

PACE = "STUDIO_TEST_PACE"
LIMIT = 240
"""Seconds that anything may take; costs time only where something fails."""


def set_pace(folder: Path, seconds: float = 0.0, hold: int | None = None) -> None:
    """A step takes `seconds` more, and training waits in step `hold` and in those after it until it is told another pace."""
    write_atomic(folder / "pace.json", json.dumps({"seconds": seconds, "hold": hold}))


def until_held(run: Path, step: int) -> None:
    """Returns when the training in the run's folder, which may not be there yet, waits in `step`."""
    end = time.monotonic() + LIMIT
    while not (file := run / "held").is_file() or int(file.read_text()) != step:
        assert time.monotonic() < end, f"step {step} has not begun in {LIMIT} s"
        time.sleep(0.05)


def keep_pace() -> None:
    """Let trainings of this process go at the pace that a test has set."""
    from pipeline.callbacks import Watch

    plain = Watch.on_step_begin

    def on_step_begin(self: Any, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        plain(self, args, state, *rest, **kwargs)
        folder, step = self.run.path, state.global_step + 1
        time.sleep(_pace(folder)[0])
        end = time.monotonic() + LIMIT  # should its test have failed meanwhile
        while (hold := _pace(folder)[1]) is not None and step >= hold and time.monotonic() < end:
            write_atomic(folder / "held", str(step))
            time.sleep(0.05)
        (folder / "held").unlink(missing_ok=True)

    Watch.on_step_begin = on_step_begin


def _pace(run: Path) -> tuple[float, int | None]:
    for folder in filter(None, (run, os.environ.get(PACE))):
        if (file := Path(folder) / "pace.json").is_file():
            found = json.loads(file.read_text())
            return found["seconds"], found["hold"]
    return 0.0, None


if __name__ == "__main__":
    from pipeline.cli import main

    keep_pace()
    sys.exit(main())
