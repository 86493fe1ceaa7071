"""Follows Jobs in the background: one thread a run reads its log, and brings the result back when the Job has ended.

A thread has the token of whoever looked, in memory, until its Job is over; a closed page changes nothing, and a restarted server begins
again when the page is opened. What it learns lies in the run folder. Knows no page.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.hub import job_fetch, job_lines, job_logs, remote
from pipeline.runs import Run

log = logging.getLogger("studio")

AGAIN = 15.0
"""Seconds after which a thread that met a problem is followed by another."""
LOOK = 10.0
"""Seconds between two questions how a Job is, at least."""
MOST = 100
"""Jobs that one server follows at once."""

_watches: dict[Path, Watch] = {}
_lock = threading.Lock()


class Watch:
    """One Job that is followed. `problem` is the sentence of the last failure, None while all is well."""

    def __init__(self, run: Run, token: str):
        self.run, self.problem, self.doing = run, None, ""
        self.looked = self.ended = 0.0
        self._token = token
        self._thread = threading.Thread(target=self._follow, name=f"job of {run.id}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still follows."""
        return self._thread.is_alive()

    def look(self, token: str) -> None:
        """Ask how the Job is, if that was not asked just now; with the token of whoever looks, for the thread's is gone when it ends."""
        if time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            remote.refresh(self.run, token)

    def _follow(self) -> None:
        try:
            if not remote.refresh(self.run, self._token).over:
                self.doing = job_logs.follow(self.run, self._token, self._line).doing
            after = remote.refresh(self.run, self._token)
            if after.stage == "COMPLETED" and not after.fetched:
                self.doing = "Fetching the result."
                job_fetch.fetch(self.run, self._token)
        except PipelineError as problem:
            self.problem = str(problem)
        except Exception:
            log.exception("following a Job")
            self.problem = "Following the Job met an error of ours, which was written to the log; it goes on all the same."
        finally:
            self._token = ""
            self.ended = time.monotonic()

    def _line(self, text: str) -> None:
        said = job_lines.read(text)
        if said and said["kind"] == "say":
            self.doing = said["text"][:200]


def watch(run: Run, token: str) -> Watch:
    """The thread that follows the Job of `run`; begun if there is none, or begun again some time after it met a problem."""
    key = run.path.resolve()
    with _lock:
        for old in [path for path, one in _watches.items() if not one.alive and time.monotonic() - one.ended > 3600]:
            del _watches[old]
        found = _watches.get(key)
        over = found is not None and not found.alive and time.monotonic() - found.ended > AGAIN
        if found is None or over:
            if sum(one.alive for one in _watches.values()) >= MOST:
                raise PipelineError(f"This server follows {MOST} Jobs already; yours goes on, look again later.")
            found = _watches[key] = Watch(run, token)
            found.start()
        return found


def forget(run: Run) -> None:
    """Another Job begins: what was known of the last one does not count."""
    with _lock:
        _watches.pop(run.path.resolve(), None)


def known(run: Run) -> Watch | None:
    """The thread that follows or followed the Job of `run` on this server."""
    return _watches.get(run.path.resolve())
