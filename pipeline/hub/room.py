"""Room for the base models of visitors on a Space: before one is fetched, those that no run uses go, the one not wanted for longest first.

A Space has 50 GB in all and is ended when it writes more, which the free bytes of its disk do not tell; so the Hub's cache is held to LIMIT
as well. Anywhere else the cache belongs to the owner of the computer and to other programs, and nothing here touches it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import HubError
from pipeline.hub import sentences
from pipeline.runs import Workspace

LIMIT = 15_000_000_000
"""Bytes that base models may take on a Space; runs, their checkpoints and the models of links share the rest."""
SPARE = 1_000_000_000
"""Bytes that stay free on the disk."""
RECENT = 3600.0
"""Seconds after which a base that was fetched, and that no run names by then, is nobody's any more."""
_deciding = threading.Lock()
_fetching = threading.Lock()
"""One fetches at a time: what another one will still take cannot be seen on the disk."""


def on_space() -> bool:
    """Whether this is a Hugging Face Space, as gradio finds it out."""
    return os.environ.get("SYSTEM") == "spaces"


@contextmanager
def room(name: str, folder: Path, missing: Callable[[], int], waiting: Callable[[], None]) -> Iterator[None]:
    """On a Space there is room for the base `name`, of which `missing()` bytes are not in `folder`, its snapshot, while inside.

    `waiting` is called where others are fetched first. Raises HubError where too little can go.
    """
    if not on_space():
        yield
        return
    with _deciding:
        _mark(folder)
        wanted = missing()
    if not wanted:
        yield
        return
    if not _fetching.acquire(blocking=False):
        waiting()
        _fetching.acquire()
    try:
        with _deciding, sentences(f"Making room for {name}"):
            _mark(folder)
            _make(name, folder, missing())
        yield
    finally:
        _fetching.release()


def _mark(folder: Path) -> None:
    """Somebody wants it now: the time of a snapshot's folder says when that was last."""
    with suppress(FileNotFoundError):
        os.utime(folder)


def _make(name: str, folder: Path, wanted: int) -> None:
    """Delete what must go for `wanted` bytes. Raises HubError, and deletes nothing, if that is not enough."""
    from huggingface_hub import constants, scan_cache_dir

    found = scan_cache_dir(constants.HF_HUB_CACHE)
    broken_off: Counter[Path] = Counter()
    for one in found.incomplete_files:
        broken_off[one.file_path.parents[1]] += one.size_on_disk
    taken = found.size_on_disk + broken_off.total()
    too_much = max(taken + wanted - LIMIT, wanted + SPARE - shutil.disk_usage(constants.HF_HUB_CACHE).free)
    used = {*Workspace.of_server().bases(), folder.resolve()}
    going: list[Any] = []
    for repo in sorted((one for one in found.repos if _is_idle(one, used)), key=_last_wanted):
        if too_much > 0:
            going.append(repo)
            too_much -= repo.size_on_disk + broken_off[repo.repo_path]
    if too_much > 0:
        raise HubError(
            f"There is no room for {name} ({wanted / 1e9:.1f} GB) on the disk of this Space, which its visitors share: models of runs and "
            f"of the last hour take {taken / 1e9:.1f} of {LIMIT / 1e9:.0f} GB. Delete projects that you do not need, try again later, or "
            "duplicate the Space to have one of your own."
        )
    for repo in going:  # one by one: a commit may lie in a repository and in a copy of it
        replace(found, repos=frozenset({repo})).delete_revisions(*(one.commit_hash for one in repo.revisions)).execute()


def _is_idle(repo: Any, used: set[Path]) -> bool:
    """Whether no run names a revision of `repo`, and nobody has wanted it recently."""
    return not any(one.snapshot_path in used for one in repo.revisions) and time.time() - _last_wanted(repo) > RECENT


def _last_wanted(repo: Any) -> float:
    return max((one.snapshot_path.stat().st_mtime for one in repo.revisions), default=repo.last_modified)
