"""A child process that leads its own group: start it, look whether it lives, end it with all its children.

A process is known by its id *and* its time of birth, because ids are used again; both survive on disk, so a restarted server
recognises a child that its predecessor started. It knows nothing about queues, runs or what the child computes.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from pipeline.child import SECRETS

NICENESS = 5
"""How much children give way to the server, so that pages answer quickly while both cores train."""

_children: dict[int, subprocess.Popen] = {}
"""Children of this very process. They must be reaped, and only a parent learns an exit status."""


def start(argv: Sequence[str], cwd: Path, stdout: Path, stderr: Path) -> tuple[int, float]:
    """Start `argv` (never through a shell) as the leader of a new session; return its id and its birth time in seconds.

    Hub tokens of the server are not handed down. Raises OSError when the program cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    with stdout.open("ab") as out, stderr.open("ab") as err:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=environment | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
    _children[child.pid] = child
    try:
        process = psutil.Process(child.pid)
        process.nice(min(19, psutil.Process().nice() + NICENESS))
        return child.pid, process.create_time()
    except psutil.NoSuchProcess:  # ended before it could be looked at
        return child.pid, 0.0


def alive(pid: int, born: float) -> bool:
    """Whether that very process still runs: neither a finished one nor a later one with the same id."""
    process = _process(pid, born)
    return process is not None


def end_group(pid: int, born: float, force: bool = False) -> None:
    """Ask (SIGTERM) or make (SIGKILL) the process and all of its group end. Does nothing when it has ended already."""
    if _process(pid, born) is not None:
        _signal_group(pid, signal.SIGKILL if force else signal.SIGTERM)


def reap(pid: int) -> int | None:
    """Clear away what an ended child left behind; return its exit status, or None when another process was its parent."""
    child = _children.pop(pid, None)
    if child is None:
        return None
    _signal_group(pid, signal.SIGKILL)  # grandchildren; safe, for an unreaped child still holds the id
    return child.wait()


def memory(pid: int, born: float) -> int:
    """Resident bytes of the process and its descendants; 0 when it has ended."""
    process = _process(pid, born)
    if process is None:
        return 0
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _process(pid: int, born: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < 0.5
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):
        return None


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # nobody is left (macOS says "permission" for a group of zombies)
        return
