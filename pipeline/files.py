"""Files that are whole or absent: written beside their final name, flushed to disk, then renamed.

Knows nothing of what is in them. Everything that the project writes and later reads back goes through here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path


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
    """Puts several files into `folder`, in the given order, each whole; none is touched if one cannot be encoded.

    Put that file last whose presence means that the others are complete.
    """
    raw = {name: data.encode("utf-8") if isinstance(data, str) else data for name, data in contents.items()}
    for name, data in raw.items():
        write_atomic(Path(folder) / name, data)
    return Path(folder)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut (POSIX only: Windows cannot open a folder)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
