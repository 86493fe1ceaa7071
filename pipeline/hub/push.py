"""Files into a repository of the Hub: all of them in one commit, on top of the commit that was looked at, or none.

Large files go first, one after the other; the Hub keeps them, so the same push begun again after a broken connection sends only what is
missing. A repository that exists is changed only where that was asked for, and never made private or public on the way. Knows what a run
sends from parcel.py, and who may from the Hub.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HubError
from pipeline.files import write_atomic
from pipeline.hub import account, client, parcel, repo_id, sentences
from pipeline.hub.parcel import Item
from pipeline.journal import read_object
from pipeline.runs import Run

Progress = Callable[[float, str], None]

RECORD = "pushed.json"
"""In the run's folder: where it was pushed to last."""
SENT = 0.95
"""Share of the progress that sending takes; the rest is the commit."""
OF_THE_HUB = {"model": {".gitattributes"}, "dataset": {".gitattributes"}, "space": {".gitattributes", "README.md"}}
"""What the Hub itself puts into a new repository. One that holds nothing else is as good as new: a push into it broke off."""
SMALL = 1_000_000
"""Bytes up to which a text goes straight into the commit, without asking the Hub where it belongs."""
TEXTS = {".json", ".jsonl", ".md", ".txt", ".jinja", ".py", ".toml", ".yaml", ".yml", ".html", ".css", ".js", ""}


@dataclass(frozen=True)
class Existing:
    """A repository as it was looked at: `commit` is the one that a push has to find again."""

    repo: str
    commit: str
    private: bool
    files: tuple[str, ...]
    changed: str
    type: str = "model"

    @property
    def is_new(self) -> bool:
        """Whether it holds nothing yet but what the Hub itself puts there."""
        return not set(self.files) - OF_THE_HUB[self.type]


@dataclass(frozen=True)
class Pushed:
    """What a push made: the repository's page, the commit, the names of its files there, and their bytes."""

    url: str
    repo: str
    commit: str
    private: bool
    files: tuple[str, ...]
    size: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def push(
    run: Run, repo: str, token: str | None, *, include: Sequence[str] = parcel.USUAL, private: bool = True, overwrite: bool = False,
    parent: str | None = None, progress: Progress | None = None,
) -> Pushed:  # fmt: skip
    """Push these parts of a run, with its card, to `repo`: "name", or "owner/name" of the token's owner or one of its organizations.

    Raises HubError for everything that `push_items` and `pipeline.hub.parcel.pack` refuse.
    """
    message = f"{run.title}: {', '.join(include)}, by FunctionGemma Studio"
    pushed = push_items(
        parcel.pack(run, include), repo, token, message=message, private=private, overwrite=overwrite, parent=parent, progress=progress
    )
    write_atomic(run.path / RECORD, json.dumps(pushed.to_json(), indent=1))
    return pushed


def last(run: Run) -> Pushed | None:
    """What was pushed of this run last, as it was then; None before the first push."""
    if not (run.path / RECORD).is_file():
        return None
    said = read_object(run.path / RECORD, *Pushed.__dataclass_fields__)
    return Pushed(**{**said, "files": tuple(said["files"])})


def push_folder(
    folder: Path, repo: str, token: str | None, *, repo_type: str = "model", private: bool = True, message: str, overwrite: bool = False,
    parent: str | None = None, progress: Progress | None = None, space_sdk: str | None = None,
) -> Pushed:  # fmt: skip
    """The same for all files of a folder. Raises HubError for a link among them too."""
    found = sorted(file for file in Path(folder).rglob("*") if not file.is_dir() or file.is_symlink())
    items = [Item(file.relative_to(folder).as_posix(), "folder", parcel.own(file, folder)) for file in found]
    return push_items(
        items, repo, token, repo_type=repo_type, private=private, message=message, overwrite=overwrite, parent=parent, progress=progress,
        space_sdk=space_sdk,
    )  # fmt: skip


def push_items(
    items: Sequence[Item], repo: str, token: str | None, *, repo_type: str = "model", private: bool = True, message: str,
    overwrite: bool = False, parent: str | None = None, delete: Sequence[str] = (), progress: Progress | None = None,
    space_sdk: str | None = None,
) -> Pushed:  # fmt: skip
    """One commit with `items`, in a new repository or, with `overwrite`, on top of commit `parent` of an existing one.

    `delete` names files, or folders with a slash at their end, that go in the same commit. Files that are not named stay. Raises
    HubError: no account, no right, a repository that is there and not to be overwritten, one that is public where `private` is asked for,
    one that somebody else changed meanwhile, and whatever else the Hub answers. What `progress` raises ends the push; nothing is committed.
    """
    who = account(token)
    repo = repo_id(who, repo)
    if not who.can_write:
        raise HubError(f"The token of {who.name} may only read; use one that may write (https://huggingface.co/settings/tokens).", 403)
    _check_no_token(items, token)
    report, api, doing = progress or (lambda fraction, message: None), client(token), f"Pushing to {repo}"
    report(0.0, f"Looking at {repo}")
    existing = look(repo, token, repo_type)
    if existing is None:
        with sentences(f"Making {repo}"):
            api.create_repo(repo, repo_type=repo_type, private=private, space_sdk=space_sdk)
        existing = look(repo, token, repo_type) or _gone(repo)
    else:
        _check_existing(existing, private, overwrite, parent)
        with _rights(repo, doing):
            api.auth_check(repo, repo_type=repo_type, write=True)
        if existing.is_new and existing.private != private:
            with sentences(doing):
                api.update_repo_settings(repo, repo_type=repo_type, private=private)
    from huggingface_hub import CommitOperationDelete

    additions = [_addition(item) for item in items]
    stale = [name for name in (*delete, *_stale_weights(existing, items)) if name not in {item.name for item in items}]
    total = sum(item.size for item in items)
    with _rights(repo, doing), _waits_told(report) as report:
        _send(api, repo, repo_type, additions, total, report)
        report(SENT, f"Writing one commit with {len(items)} files")
        made = api.create_commit(
            repo, [*additions, *(CommitOperationDelete(path_in_repo=name) for name in stale)], commit_message=message[:200],
            repo_type=repo_type, parent_commit=existing.commit,
        )  # fmt: skip
    prefix = {"dataset": "datasets/", "space": "spaces/"}.get(repo_type, "")
    report(1.0, f"{len(items)} files, {total / 1e6:,.1f} MB")
    private = existing.private if not existing.is_new else private
    return Pushed(f"{api.endpoint}/{prefix}{repo}", repo, made.oid, private, tuple(item.name for item in items), total)


def look(repo: str, token: str | None, repo_type: str = "model") -> Existing | None:
    """The repository as it is now; None if there is none that this token may see. Raises HubError for every other answer."""
    try:
        with sentences(f"Looking at {repo}"):
            found = client(token).repo_info(repo, repo_type=repo_type)
    except HubError as refused:
        if refused.status in (401, 404):  # 401 where the token may not see what is there; that it is valid is known
            return None
        raise
    names = tuple(one.rfilename for one in found.siblings or ())
    changed = f"{found.last_modified:%Y-%m-%d %H:%M}" if found.last_modified else ""
    return Existing(repo, found.sha, bool(found.private), names, changed, repo_type)


def _check_existing(existing: Existing, private: bool, overwrite: bool, parent: str | None) -> None:
    if parent is not None and parent != existing.commit:
        raise HubError(f"{existing.repo} has been changed since you looked at it; look again, then confirm once more.", 412)
    if existing.is_new:
        return
    if not overwrite:
        raise HubError(
            f"{existing.repo} exists and holds {len(existing.files)} files; confirm that files of the same name are replaced "
            "(--overwrite), or choose another name.", 409,
        )  # fmt: skip
    if private and not existing.private:
        raise HubError(f"{existing.repo} is public, and this is to stay private; choose another name, or push as public (--public).", 409)


def _send(api: Any, repo: str, repo_type: str, additions: Sequence[Any], total: int, report: Progress) -> None:
    """The large files to the Hub's storage, unless they are there. The others travel in the commit."""
    done = 0
    for addition in additions:
        size, name = addition.upload_info.size, addition.path_in_repo

        def of_file(sent: int, before: int = done, name: str = name, size: int = size) -> None:
            fraction = SENT * (before + min(sent, size)) / max(1, total)
            report(fraction, f"Sending {name}: {min(sent, size) / 1e6:,.1f} of {size / 1e6:,.1f} MB")

        addition.told = of_file
        of_file(0)
        if size > SMALL or os.path.splitext(name)[1] not in TEXTS:
            api.preupload_lfs_files(repo, [addition], repo_type=repo_type)
        done += size
        of_file(size)


def _addition(item: Item) -> Any:
    """What the Hub's client calls a file to commit; it tells how far it is read where the client reads it itself (not with Xet)."""
    from huggingface_hub import CommitOperationAdd

    class Addition(CommitOperationAdd):
        told: Callable[[int], None] = staticmethod(lambda sent: None)

        @contextmanager
        def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
            with super().as_file() as file, _Told(getattr(file, "raw", file), self.told) as telling:
                yield telling if with_tqdm else file

    return Addition(item.name, item.source)


class _Told(io.BufferedReader):
    """A file that says how much of it was read; the client winds it back itself before it tries again."""

    def __init__(self, raw: Any, told: Callable[[int], None]):
        super().__init__(raw)
        self._told = told

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        self._told(self.tell())
        return part


def _stale_weights(existing: Existing, items: Sequence[Item]) -> list[str]:
    """Weights of an earlier push in the root that a loader would take for these ones' other parts."""
    weights = {item.name for item in items if item.name.endswith(".safetensors") and "/" not in item.name}
    if not weights:
        return []
    old = [name for name in existing.files if "/" not in name and name.endswith((".safetensors", ".safetensors.index.json"))]
    return [name for name in old if name not in {item.name for item in items}]


def _check_no_token(items: Sequence[Item], token: str | None) -> None:
    """Raises HubError if a text holds the very token that it would be sent with."""
    for item in items:
        if token and os.path.splitext(item.name)[1] in TEXTS:
            raw = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
            if token.encode() in raw:
                raise HubError(f"{item.name} holds your Hub token; take it out of your data and make a new token, then push again.")


@contextmanager
def _rights(repo: str, doing: str) -> Iterator[None]:
    """`sentences`, with what a token that may touch only its own repositories runs into."""
    try:
        with sentences(doing):
            yield
    except HubError as refused:
        if refused.status == 403 and "storage" not in str(refused):
            raise HubError(
                f"{doing} did not work: this sign-in may write only into repositories that it has made itself; choose a new name, or use a "
                "token that may write (https://huggingface.co/settings/tokens).", 403,
            ) from None  # fmt: skip
        raise


@contextmanager
def _waits_told(report: Progress) -> Iterator[Progress]:
    """A progress callback that also says when the client waits before it tries again, which the client says in its log alone."""
    mine, reached = threading.get_ident(), [0.0]

    def telling(fraction: float, message: str) -> None:
        reached[0] = fraction
        report(fraction, message)

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = re.search(r"(Waiting|Retrying in) ([\d.]+)s", record.getMessage())
            if found and record.thread == mine:
                why = "The Hub takes no more requests for now" if found[1] == "Waiting" else "That did not get through"
                report(reached[0], f"{why}; trying again in {float(found[2]):.0f} s")

    log, handler = logging.getLogger("huggingface_hub"), Telling(logging.WARNING)
    log.addHandler(handler)
    try:
        yield telling
    finally:
        log.removeHandler(handler)


def _gone(repo: str) -> Existing:
    raise HubError(f"{repo} was made and cannot be seen with this token; sign in with read access to your repositories too.", 403)
