"""Something that takes a while and needs this process: a thread that says how far it is and whose end can be waited for.

For work on behalf of a visitor whose token must not leave the memory of this process, and for what ends within minutes. What must outlive
a restart is a job (jobs.py). Knows nothing of what is done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import PipelineError
from pipeline.ui.widgets import OURS

log = logging.getLogger("studio")

EVERY = 0.4
"""Seconds between two looks at an errand."""

Work = Callable[[Callable[[float, str], None]], Any]
"""Gets a progress callback (fraction, message) and returns its result."""


class Stopped(PipelineError):
    """The work ended where it was because it was asked to."""


class Errand:
    """`work`, begun. `fraction` and `message` say how far it is; `over` is set when `result` or `error`, its sentence, is there.

    `stopping` says that it was asked to end, `stopped` that it did so before it was done.
    """

    def __init__(self, work: Work):
        self.fraction, self.message = 0.0, "Starting"
        self.stopping = self.stopped = False
        self.result: Any = None
        self.error: str | None = None
        self.over = threading.Event()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def watch(self) -> Iterator[Errand]:
        """Itself, every moment until it is over, and once more then."""
        while not self.over.wait(EVERY):
            yield self
        yield self

    def stop(self) -> None:
        """Ask the work to end: its next word of progress raises Stopped, unless it is the last one and all is done."""
        self.stopping = True

    def _run(self, work: Work) -> None:
        try:
            self.result = work(self._progress)
        except PipelineError as problem:
            self.error, self.stopped = str(problem), isinstance(problem, Stopped)
        except Exception:
            log.exception("an errand ended with a defect of ours")
            self.error = OURS
        finally:
            self.over.set()

    def _progress(self, fraction: float, message: str) -> None:
        self.fraction, self.message = fraction, message
        if self.stopping and fraction < 1:
            raise Stopped("It was stopped.")
