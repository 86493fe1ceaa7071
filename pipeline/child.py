"""A piece of work in a process of its own: memory comes back when it ends, a crash of a native library takes nothing along.

`run("pipeline.some_module", job)` starts `python -m pipeline.some_module`, whose last lines are
`if __name__ == "__main__": serve(work)`; `work(job, progress)` gets the job and returns its result, both JSON. The child dies
with its parent: it holds the other end of a pipe that closes when the parent is gone, however that went. Knows nothing of
what the work is; waiting in line, restarts and logs for the visitor are `pipeline.ui.jobs`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pipeline import errors
from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Work = Callable[[dict[str, Any], Progress], dict[str, Any]]

PROJECT = Path(__file__).resolve().parent.parent
TICK = 0.5
"""Seconds between two calls of `progress`, so that a caller who wants to stop is heard even while the child is silent."""
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OAUTH_CLIENT_SECRET")
"""Not handed down: no child needs the Hub, and a Space signs its visitors' cookies with the last one."""


def environment(**more: str) -> dict[str, str]:
    """What a child finds in its environment: what this process has but for SECRETS, and `more`."""
    kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return kept | {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"} | more


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what a child writes down for itself. The child is ended by a kill, so it is the parent who deletes it: of the embedded
    base's file of 6.0 MB LiteRT-LM compiles 4.9 MB."""
    return tempfile.TemporaryDirectory(prefix="studio-", ignore_cleanup_errors=True)


def born(pid: int) -> float:
    """When a process started: on Linux in clock ticks since boot, which no clock correction moves. Raises psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    stat = Path(f"/proc/{pid}/stat")
    return float(stat.read_text().rpartition(")")[2].split()[19]) if stat.exists() else process.create_time()


def lives(pid: int, since: float) -> bool:
    """Whether the process that was `born` then still runs: ids are used again, and no later one was born at that moment."""
    try:
        return born(pid) == since
    except (psutil.Error, OSError, ValueError):
        return False


def run(module: str, job: dict[str, Any], progress: Progress | None = None, what: str = "The work") -> dict[str, Any]:
    """The result of `work(job)` of `module`, done in a child process. `what` begins the sentence for a child that fell over.

    `progress` is called at least every TICK seconds; whatever it raises ends the child at once and goes on to the caller.
    Raises the PipelineError that the child raised, and PipelineError if it ended without a result.
    """
    with tempfile.TemporaryFile() as stderr, scratch() as folder:
        child = subprocess.Popen(
            [sys.executable, "-m", module], cwd=PROJECT, env=environment(HF_HUB_OFFLINE="1", TMPDIR=folder), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
        reader.start()
        try:
            result = _converse(child, job, lines, progress or (lambda fraction, message: None))
        finally:
            child.kill()
            child.wait()
            reader.join(timeout=5)  # not for ever: a grandchild may hold the pipe
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):  # it never read the job
                child.stdin.close()
        if result is not None:
            return result
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 20_000))
        text = stderr.read().decode("utf-8", "replace").strip()
        log.error("%s ended with status %s:\n%s", module, child.returncode, text)
        raise PipelineError(_why(what, child.returncode, text))


def by_the_clock(progress: Progress, expected: float) -> Progress:
    """Moves on with the time for work that says nothing of itself: two thirds after the `expected` seconds, and never the whole."""
    began = time.monotonic()

    def report(fraction: float, message: str) -> None:
        progress(max(fraction, 1 - math.exp(-(time.monotonic() - began) / expected)), message)

    return report


def serve(work: Work) -> None:
    """The child's side: read the job, do it, say what came of it. Never returns before the work is over."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries, native ones too, print what they like: none of it may end up among our lines
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def say(**event: Any) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    try:
        result = work(job, lambda fraction, message: say(fraction=fraction, message=message))
    except PipelineError as error:
        say(error=str(error), kind=type(error).__name__)
    else:
        say(result=result)


def _die_with_parent() -> None:
    os.read(0, 1)  # returns when the parent closes the pipe or is gone; sys.stdin's lock would block our own exit
    os.kill(os.getpid(), signal.SIGKILL)


def _read(stream: Any, lines: queue.SimpleQueue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _converse(child: subprocess.Popen, job: dict[str, Any], lines: queue.SimpleQueue, progress: Progress) -> dict[str, Any] | None:
    """The child's result; None if it ended without one. Raises what the child or `progress` raised."""
    try:
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:  # it ended before it could be told: the exit status says why
        child.wait()
        return None
    said = (0.0, "Starting")
    while True:
        try:
            line = lines.get(timeout=TICK)
        except queue.Empty:
            progress(*said)
            continue
        if line is None:
            child.wait()
            return None
        event = json.loads(line)
        if "result" in event:
            return event["result"]
        if "error" in event:
            raise getattr(errors, event["kind"], PipelineError)(event["error"])
        said = (event["fraction"], event["message"])
        progress(*said)


def _why(what: str, status: int, text: str) -> str:
    if status == -signal.SIGKILL:
        return f"{what} was ended from outside, most often because memory ran out; close other programs and try again."
    if status < 0:
        return f"{what} crashed (signal {-status}, {signal.Signals(-status).name}); the log has what it said last."
    last = text.splitlines()[-1][:300] if text else "it said nothing"
    return f"{what} ended with an error (exit status {status}): {last}"
