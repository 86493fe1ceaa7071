"""A child process that leads its own group: start it, see what it takes, end it with all its children.

A process is known by its id *and* its time of birth, because ids are used again; both survive on disk, so a restarted server
recognises a child that its predecessor started. It knows nothing about queues, runs or what the child computes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from pipeline.child import born, environment, lives

NICENESS = 5
"""How much children give way to the server, so that pages answer quickly while both cores train."""

_children: dict[int, subprocess.Popen] = {}
"""Children of this very process. They must be reaped, and only a parent learns an exit status."""


def start(argv: Sequence[str], cwd: Path, stdout: Path, stderr: Path) -> tuple[int, float]:
    """Start `argv` (never through a shell) as the leader of a new session; return its id and when it was born (`child.born`).

    Hub tokens of the server are not handed down. Raises OSError when the program cannot be started.
    """
    with stdout.open("ab") as out, stderr.open("ab") as err:
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=environment(),
        )
    _children[child.pid] = child
    try:
        psutil.Process(child.pid).nice(min(19, psutil.Process().nice() + NICENESS))
        return child.pid, born(child.pid)
    except psutil.NoSuchProcess:  # ended before it could be looked at
        return child.pid, 0.0


def end_group(pid: int, since: float, force: bool = False) -> None:
    """Ask (SIGTERM) or make (SIGKILL) the process and all of its group end. Does nothing when it has ended already."""
    if lives(pid, since):
        _signal_group(pid, signal.SIGKILL if force else signal.SIGTERM)


def reap(pid: int) -> int | None:
    """Clear away what an ended child left behind; return its exit status, or None when another process was its parent."""
    child = _children.pop(pid, None)
    if child is None:
        return None
    _signal_group(pid, signal.SIGKILL)  # grandchildren; safe, for an unreaped child still holds the id
    return child.wait()


def memory(pid: int, since: float) -> int:
    """Resident bytes of the process and its descendants; 0 when it has ended."""
    if not lives(pid, since):
        return 0
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):  # it ends in this moment
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # nobody is left (macOS says "permission" for a group of zombies)
        return
