"""Heavy work as subprocesses of the same command line, in one visible line per machine.

A job is `python -m pipeline train|evaluate|export ...` together with its folder inside the run it works on:

    <run>/jobs/<id>/job.json         what was asked, what became of it
                    progress.json    {fraction, message, eta_seconds}, replaced by the job while it works
                    stdout.log  stderr.log

and `<workspace>/line/<number>-<id>` names the folder, and the process, as long as the job waits or runs. All state is on disk and every
change is made under one file lock, so a restarted server follows what its predecessor started, and two servers share one line. It knows
nothing about gradio, nor what the commands compute.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.child import lives
from pipeline.errors import RunError
from pipeline.files import write_atomic
from pipeline.ui import processes, timings

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parents[2]
PER_VISITOR = 3
"""Jobs that one visitor may have waiting or running."""
LINE_LENGTH = 30
"""Jobs that may wait on one machine; more would wait for hours."""
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit statuses of a command that was told to stop, finished its step and kept what there was."""
TICK = 0.5
"""Seconds between two looks at the line."""
KILL_AFTER = 3.0
"""Seconds between asking a process to end and making it."""

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


@dataclass(frozen=True)
class Job:
    """One command, waiting, running or over. `args` follows `python -m pipeline`; times are seconds since the epoch."""

    id: str
    kind: str
    session: str
    run: str
    args: tuple[str, ...]
    title: str
    status: str
    created: float
    timing: str = ""
    units: float = 0.0
    started: float | None = None
    ended: float | None = None
    pid: int | None = None
    born: float = 0.0
    end_at: float | None = None
    result: dict[str, Any] | None = None
    error: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.run) / "jobs" / self.id

    @property
    def over(self) -> bool:
        return self.status not in (WAITING, RUNNING)

    @property
    def log(self) -> Path:
        return self.folder / "stderr.log"


@dataclass(frozen=True)
class Progress:
    """How far a running job says it is; `eta_seconds` is None while nobody can know."""

    fraction: float
    message: str
    eta_seconds: float | None


class Line:
    """The machine's line of jobs, one running at a time, first come, first served.

    `start()` begins the thread that moves it along; without it `tick()` does one step.
    """

    def __init__(self, root: Path | str, command: Sequence[str] = (sys.executable, "-m", "pipeline")):
        self.root = Path(root).resolve()
        self.command = tuple(command)
        self.folder = self.root / "line"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = False

    # what visitors do

    def submit(
        self,
        kind: str,
        session: str,
        run: Path | str,
        args: Sequence[str],
        title: str,
        timing: str = "",
        units: float = 0.0,
    ) -> Job:
        """Put `python -m pipeline *args` at the end of the line.

        `timing` and `units` say what the duration is proportional to (see `timings`), so that waiting can be estimated.
        Raises RunError when this run already has such a job, or when the visitor or the machine has too many.
        """
        with self._lock():
            here = self._unfinished()
            mine = [job for job in here if job.session == session]
            if any(Path(job.run) == Path(run).resolve() and job.args == tuple(args) for job in mine):
                raise RunError(f"{title} is already in the line; wait for it or stop it first.")
            if len(mine) >= PER_VISITOR:
                raise RunError(
                    f"You have {len(mine)} jobs waiting or running, which is the limit; wait for one of them or stop it first."
                )
            if len(here) >= LINE_LENGTH:
                raise RunError(f"{len(here)} jobs are waiting on this machine, which is the limit; try again later.")
            now = time.time()
            job = Job(
                id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{kind}-{secrets.token_hex(3)}",
                kind=kind,
                session=session,
                run=str(Path(run).resolve()),
                args=tuple(str(arg) for arg in args),
                title=title,
                status=WAITING,
                created=now,
                timing=timing,
                units=units,
            )
            job.folder.mkdir(parents=True)
            self._write(job)
            write_atomic(self.folder / f"{time.time_ns():020d}-{job.id}", str(job.folder))
        self._wake.set()
        return job

    def stop(self, job: Job, within: float = 0.0) -> None:
        """End a job for certain: at once, or, where it has been asked to finish by itself, `within` so many seconds."""
        with self._lock():
            now = self.read(job.folder)
            if now.status == WAITING:
                self._finish(replace(now, status=CANCELLED, ended=time.time()))
            elif now.status == RUNNING:
                self._write(replace(now, end_at=min(now.end_at or float("inf"), time.time() + within)))
        self._wake.set()

    # what pages show

    def read(self, folder: Path | str) -> Job:
        """The job in that folder as it stands on disk. Raises RunError when there is none or it cannot be read."""
        path = Path(folder) / "job.json"
        try:
            fields = json.loads(path.read_text("utf-8"))
            return Job(**{**fields, "args": tuple(fields["args"])})
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise RunError(f"The job in {Path(folder).name} cannot be read ({problem}); start it again.") from problem

    def of_run(self, run: Path | str, kind: str | None = None) -> list[Job]:
        """Every job this run ever had, oldest first."""
        found = []
        for path in sorted((Path(run).resolve() / "jobs").glob("*/job.json")):
            with contextlib.suppress(RunError):
                found.append(self.read(path.parent))
        return sorted((job for job in found if kind in (None, job.kind)), key=lambda job: job.created)

    def unfinished(self, session: str | None = None) -> list[Job]:
        """Jobs that wait or run, in their order; only those of one visitor if `session` is given."""
        return [job for job in self._unfinished() if not job.over and session in (None, job.session)]

    def progress(self, job: Job) -> Progress:
        """What the job last said about itself; before its first word, how long such jobs take here."""
        try:
            said = json.loads((job.folder / "progress.json").read_text("utf-8"))
            eta = said.get("eta_seconds")
            return Progress(
                min(1.0, max(0.0, float(said["fraction"]))), str(said["message"]), None if eta is None else float(eta)
            )
        except (OSError, ValueError, TypeError, KeyError):
            expected = self.expected(job.timing, job.units)
            left = None if expected is None else max(1.0, expected - (time.time() - (job.started or time.time())))
            return Progress(0.0, "Starting", left)

    def ahead(self, job: Job) -> tuple[int, float | None]:
        """How many jobs are before this one, and the seconds until its turn (None while that cannot be known)."""
        jobs = self.unfinished()
        ids = [one.id for one in jobs]
        before = jobs[: ids.index(job.id)] if job.id in ids else []
        waits = [
            self.progress(one).eta_seconds if one.status == RUNNING else self.expected(one.timing, one.units) for one in before
        ]
        return len(before), None if any(wait is None for wait in waits) else sum(waits)

    def expected(self, timing: str, units: float) -> float | None:
        """Seconds such a job takes on this machine, from those that ran here before; None if none did."""
        return timings.expected(self.root, timing, units)

    def memory(self, job: Job) -> int:
        """Resident bytes of a running job and its children, else 0."""
        return processes.memory(job.pid, job.born) if job.status == RUNNING and job.pid else 0

    # what moves it along

    def start(self) -> None:
        """Begin moving the line in the background; harmless when already begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="job line", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop moving the line. Running jobs go on; the next server finds them."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tick(self) -> None:
        """One step: notice what has ended, end what was to be stopped, start the first that waits."""
        with self._lock():
            running = 0
            waiting: list[Job] = []
            for job in self._unfinished():
                if job.over:  # a server died between the two writes of `_finish`
                    self._forget(job)
                elif job.status == WAITING:
                    waiting.append(job)
                elif lives(job.pid or 0, job.born):
                    self._end_if_asked(job)
                    running += 1
                else:
                    self._finish(self._outcome(job))
            if not running and waiting:
                self._begin(waiting[0])

    def _run(self) -> None:
        while not self._ending:
            try:
                self.tick()
            except Exception:  # a full disk, a removed folder, a defect of ours: tried again at the next tick
                log.exception("The job line could not be moved along.")
            self._wake.wait(TICK)
            self._wake.clear()

    def _begin(self, job: Job) -> None:
        argv = [*self.command, *job.args, "--json", "--progress-file", str(job.folder / "progress.json")]
        try:
            pid, born = processes.start(argv, PROJECT, job.folder / "stdout.log", job.log)
        except OSError as problem:
            self._finish(replace(job, status=FAILED, ended=time.time(), error=f"{job.title} could not be started: {problem}"))
            return
        for pointer in self.folder.glob(f"*-{job.id}"):  # first, so that the process is found even if the run is deleted now
            write_atomic(pointer, f"{job.folder}\n{pid} {born!r}")
        self._write(replace(job, status=RUNNING, started=time.time(), pid=pid, born=born))

    def _end_if_asked(self, job: Job) -> None:
        if job.end_at is not None and time.time() >= job.end_at:
            processes.end_group(job.pid, job.born, force=time.time() >= job.end_at + KILL_AFTER)

    def _outcome(self, job: Job) -> Job:
        """What became of a job whose process is gone: its JSON line, or the sentence it left on stderr."""
        status = processes.reap(job.pid or 0)
        now = time.time()
        result = _last_json(job.folder / "stdout.log")
        if result is not None and status in (None, 0, *STOPPED):
            if job.end_at is None and job.started:
                working = result.get("seconds")
                timings.record(self.root, job.timing, job.units, now - job.started, working if isinstance(working, float) else None)
            return replace(job, status=DONE, ended=now, result=result)
        if job.end_at is not None and now >= job.end_at:
            return replace(job, status=CANCELLED, ended=now)
        return replace(job, status=FAILED, ended=now, error=_why(job, status))

    def _finish(self, job: Job) -> None:
        self._write(job)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        for pointer in self.folder.glob(f"*-{job.id}"):
            pointer.unlink(missing_ok=True)

    def _unfinished(self) -> list[Job]:
        """The jobs in the line, in order. Those of runs that were deleted, or that cannot be read, are ended and dropped."""
        found = []
        for pointer in sorted(self.folder.glob("[0-9]*-*")):
            try:
                folder, _, process = pointer.read_text("utf-8").partition("\n")
            except FileNotFoundError:  # it ended in this moment
                continue
            try:
                found.append(self.read(folder))
            except RunError as problem:
                log.warning("dropped from the line: %s", problem)
                if process:
                    pid, born = process.split()
                    processes.end_group(int(pid), float(born), force=True)
                    processes.reap(int(pid))
                pointer.unlink(missing_ok=True)
        return found

    def _write(self, job: Job) -> None:
        write_atomic(job.folder / "job.json", json.dumps(asdict(job), indent=1, ensure_ascii=False))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.folder / "lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


@functools.cache
def line_of(root: Path) -> Line:
    """The machine's line for the workspace in `root`, moving. One a process."""
    line = Line(root)
    line.start()
    return line


def _last_json(path: Path) -> dict[str, Any] | None:
    try:
        lines = path.read_text("utf-8", errors="replace").strip().splitlines()
        found = json.loads(lines[-1]) if lines else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _why(job: Job, status: int | None) -> str:
    """The sentence for a job that failed: its own where it ended with one, else what killed it."""
    try:
        lines = job.log.read_text("utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if status is not None and (status < 0 or status in STOPPED):
        killed = "most often because memory ran out" if status == -signal.SIGKILL else f"signal {abs(status) % 128}"
        return f"{job.title} was ended from outside ({killed}); try again, with less at once if it happens again."
    after = next((n for n in range(len(lines) - 1, -1, -1) if lines[n].startswith("Traceback (most recent")), None)
    uncaught = after is not None and all(line.startswith(" ") or not line for line in lines[after + 1 : -1])
    if lines and not uncaught and status in (1, None):
        return lines[-1].removeprefix("error: ").removeprefix("Error: ")
    return f"{job.title} ended with an error of ours (exit status {status}); its log says where."
