"""`inspect` for files of strangers: in a process of its own, with a limit on its memory and its time.

inspect.py bounds what it reads by itself; this is for what it did not think of, and for the native code of the protobuf library.
`python -m pipeline.export.apart` is the child's side. Knows nothing of files.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.errors import ExportError

MEMORY = 1 << 30
"""Bytes that the child may allocate; the file itself is mapped and does not count. A bundle of the 270M shape takes 0.15 GB."""
SECONDS = 20
"""Of computing. A bundle of the 270M shape takes one, most of it for the checksum."""


def inspect(path: str | Path) -> dict[str, Any]:
    """What `pipeline.export.inspect.inspect` returns and raises, and ExportError for a file that takes too much to read."""
    report = child.run("pipeline.export.apart", {"path": str(Path(path).absolute())}, None, "Reading the file")
    return report | {"path": str(path)}


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"path"} -> the report."""
    import resource

    from pipeline.export.inspect import inspect as read

    # On Linux this counts what is allocated; elsewhere it may count less, and the limit of time is the one that holds.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return read(job["path"])
    except MemoryError as error:
        raise ExportError(f"The file takes more than {MEMORY >> 20} MB to read: it is damaged, or made to take much.") from error


def _too_long(*_: Any) -> None:
    raise ExportError(f"The file takes more than {SECONDS} seconds to read: it is damaged, or made to take long.")


if __name__ == "__main__":
    child.serve(work)
