"""Files that are whole or absent: written beside their final name, flushed to disk, then renamed; folders held by one at a time.

Knows nothing of what is in them. Everything that the project writes and later reads back goes through here.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BETWEEN_TRIES = 0.2
"""Seconds between two tries to take a folder that somebody else holds."""
_PENDING = ".pending"


def write_atomic(path: str | os.PathLike, data: bytes | str) -> Path:
    """Puts `data` (text as UTF-8, newlines as they are) at `path`; its folder is made if missing.

    Whoever reads `path` at any moment sees the old content or the new, never a part. Raises OSError, and
    UnicodeEncodeError for text that UTF-8 cannot hold, and then leaves the old content and nothing beside it.
    """
    path = Path(path)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        with open(beside, "xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def write_all(folder: str | os.PathLike, contents: Mapping[str, bytes | str]) -> Path:
    """Puts several files into `folder` in one step, and leaves its others alone; none is touched if one cannot be encoded.

    The caller must not hold the folder (`exclusive`). They are written to a hidden folder in it. As soon as that has its final name
    they count as written: if the process is killed while they move to their places, `complete`, which a reader calls first, moves
    the rest.
    """
    raw = {name: data.encode("utf-8") if isinstance(data, str) else data for name, data in contents.items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        _move_pending(folder)
        for stale in folder.glob(f"{_PENDING}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        beside = folder / f"{_PENDING}-{secrets.token_hex(6)}"
        try:
            for name, data in raw.items():
                write_atomic(beside / name, data)
            os.rename(beside, folder / _PENDING)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync_folder(folder)
        _move_pending(folder)
    return folder


def complete(folder: str | os.PathLike) -> None:
    """Finish a `write_all` whose process was killed between two files. Raises OSError if the folder may not be written to."""
    if (Path(folder) / _PENDING).is_dir():
        with exclusive(folder):
            _move_pending(Path(folder))


def _move_pending(folder: Path) -> None:
    pending = folder / _PENDING
    if pending.is_dir():
        for file in sorted(pending.iterdir()):
            os.replace(file, folder / file.name)
        _sync_folder(folder)
        pending.rmdir()


def link(source: Path, target: Path) -> None:
    """A second name for a file that is never written into, which costs no disk; a copy where there are none. Raises OSError."""
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:  # another file system, or one without second names
        shutil.copyfile(source, target)


def remove(folder: Path) -> None:
    """Delete a folder: first the name, then what is in it, so that nothing half-deleted is ever found. Raises OSError."""
    doomed = folder.with_name(f".deleted-{secrets.token_hex(4)}")
    os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)  # what somebody still writes into it is nobody's


@contextmanager
def exclusive(folder: str | os.PathLike, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """This thread alone holds `folder`; another thread or process that wants it waits, and so must not hold it already.

    `waiting` is called again and again while it waits; what it raises ends that. The kernel lets go of the folder when the process
    dies. Raises OSError if there is no such folder.
    """
    handle = _lockable(Path(folder))
    try:
        while waiting is not None and not _taken(handle):
            waiting()
            time.sleep(BETWEEN_TRIES)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lockable(folder: Path) -> int:
    """What the lock is on: the folder itself, so that no file is left in it, or a hidden file where folders cannot be locked.

    That is so on NFS, which locks only what is open for writing (flock(2)).
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _taken(handle)
    except OSError:
        os.close(handle)
        return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    return handle


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut (POSIX only: Windows cannot open a folder)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
