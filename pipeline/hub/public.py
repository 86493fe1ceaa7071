"""A public model of the Hub, fetched for anybody who has its name: for a link that opens the playground on it.

Asked for as nobody, so only what everybody may see is found. Fetched are named kinds of files of the resolved commit and nothing else: a
.litertlm or the safetensors of a gemma3_text model with its tokenizer, its functions, its rows. No code and no chat template of it is ever
used, and what is in it is treated as a stranger's. The cache holds few models: who is asked for least goes first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline import hub, jsontext
from pipeline.child import Progress
from pipeline.errors import HubError, PipelineError
from pipeline.examples import DEFAULT, conversation, to_try
from pipeline.export import apart
from pipeline.files import exclusive, remove, write_atomic
from pipeline.model import check_checkpoint
from pipeline.tools import ToolSpec, tools_from_json

MAX_MODEL = 1_300_000_000
"""Bytes of weights: FunctionGemma 270M in float32 has 1.07 GB."""
MAX_SMALL = {"config.json": 100_000, "tools.json": 1_000_000, "examples.jsonl": 5_000_000, "tokenizer.json": 60_000_000}
"""Bytes of the other files; Gemma's tokenizer.json has 33 MB."""
MAX_CACHE = 5_000_000_000
"""Bytes that all models together may take on disk."""
MAX_TOOLS = 64
PATIENCE = 20.0
"""Seconds that the Hub may take to say what is in a repository."""
LONGEST_REQUEST = 200
"""Characters of a request to try; a longer one is no button."""
FOUND = "found.json"
"""Written last into a model's folder: without it, the folder does not count."""
_downloads = threading.BoundedSemaphore(2)
"""Models that are fetched at a time: what is here already is opened in between."""
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


@dataclass(frozen=True)
class PublicModel:
    """A model on this disk: `source` is its .litertlm or the folder of its checkpoint; `developer` begins its conversations."""

    repo: str
    commit: str
    source: Path
    size: int
    tools: tuple[ToolSpec, ...]
    developer: str = DEFAULT
    requests: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Its address on the Hub."""
        return f"https://huggingface.co/{self.repo}"


def name_in(text: Any) -> str:
    """The repository that somebody typed or pasted: "user/name", or an address of it on huggingface.co. Raises HubError."""
    words = text.strip() if isinstance(text, str) else ""
    if not words:
        raise HubError("Type the name of a model on the Hub, such as user/name.")
    address = re.match(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#\s]+/[^/?#\s]+)", words)
    return hub.check_repo_id(address[1] if address else words)


def fetch(repo: str, cache: str | Path, progress: Progress | None = None, need_tools: bool = True) -> PublicModel:
    """The newest commit of `repo`, from `cache` if it is there. Raises HubError, or PipelineError for a model that is not FunctionGemma's.

    Without `need_tools` a repository may lack tools.json: whoever asks then brings functions of their own. Every call asks the Hub anew
    whether the model is still public.
    """
    repo, progress = hub.check_repo_id(repo), progress or (lambda fraction, message: None)
    progress(0.0, f"Asking the Hub for {repo}")
    commit, files = _listed(repo)
    wanted = _chosen(repo, files, need_tools)
    home = _home(cache, repo)
    home.mkdir(parents=True, exist_ok=True)
    os.utime(home)
    with exclusive(home):
        folder = home / commit
        if not folder.is_dir():
            progress(0.02, "Waiting for other models that are being fetched")
            with _downloads:
                _fetch(repo, commit, wanted, files, home, progress)
        found = _read(repo, commit, folder)  # now, so that a damaged one is told at once
    _trim(Path(cache), home)
    progress(1.0, f"{repo} is open")
    return found


def opened(repo: str, commit: str, cache: str | Path) -> PublicModel:
    """What `fetch` has found before, without asking the Hub. Raises PipelineError if it is not in the cache any more."""
    folder = _home(cache, hub.check_repo_id(repo)) / commit
    try:
        if re.fullmatch(r"[0-9a-f]{40}", commit):
            return _read(repo, commit, folder)
    except FileNotFoundError:
        pass
    raise PipelineError(f"{repo} made room for others in the meantime; load the page again to open it anew.")


def _home(cache: str | Path, repo: str) -> Path:
    return Path(cache) / repo.replace("/", "--").lower()


def _listed(repo: str) -> tuple[str, dict[str, int]]:
    """The newest commit, and its files with their sizes in bytes."""
    try:
        with hub.sentences(f"Opening {repo}"):
            info = hub.client(None).model_info(repo, files_metadata=True, timeout=PATIENCE)
    except HubError as error:
        if error.status in (401, 403, 404):
            raise HubError(
                f"{repo} cannot be opened: there is no such model on the Hub, or it is private. A link shows public models only; its owner "
                "can make it public.",
                error.status,
            ) from None
        raise
    if info.gated:
        raise HubError(f"{repo} is gated: its owner lets in only who asks, with an account. A link shows public models only.", 403)
    if info.private or info.disabled or not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
        raise HubError(f"{repo} cannot be opened: it is not public, or has been disabled.")
    return info.sha, {one.rfilename: one.size or 0 for one in info.siblings or ()}


def _chosen(repo: str, files: Mapping[str, int], need_tools: bool) -> dict[str, str]:
    """Path in the repository -> name here, of what is fetched. Raises PipelineError where something is missing or too large."""
    tools = _nearest(files, "tools.json")
    if tools is None and need_tools:
        raise PipelineError(f"{repo} holds no tools.json, which says what the model can call; it was not pushed by this studio.")
    bundles = sorted((one for one in files if one.endswith(".litertlm") and one.count("/") < 3), key=lambda one: ("int8" not in one, one))
    if bundles:
        model = {bundles[0]: "model.litertlm"}
    else:
        config = _nearest(files, "config.json")
        beside = "" if config is None else config.removesuffix("config.json")
        weights = [one for one in files if one.startswith(beside) and _WEIGHTS.fullmatch(one.removeprefix(beside))]
        model = {one: one.removeprefix(beside) for one in (config, *weights, f"{beside}tokenizer.json") if one in files}
        if not weights or "config.json" not in model.values() or "tokenizer.json" not in model.values():
            raise PipelineError(f"{repo} holds no model that can be opened here: neither a .litertlm nor safetensors with their tokenizer.")
        if f"{beside}model.safetensors.index.json" in files:
            model[f"{beside}model.safetensors.index.json"] = "model.safetensors.index.json"
    size = sum(files[one] for one in model)
    if size > MAX_MODEL:
        raise PipelineError(f"{repo} has {size / 1e9:.1f} GB of weights; models up to {MAX_MODEL / 1e9:.1f} GB are opened here.")
    wanted = {**model, tools: "tools.json"} if tools else model
    rows = _nearest(files, "examples.jsonl")
    if tools and rows and files[rows] <= MAX_SMALL["examples.jsonl"]:
        wanted[rows] = "examples.jsonl"
    for path, name in wanted.items():
        if files[path] > MAX_SMALL.get(name, MAX_MODEL):
            raise PipelineError(f"{path} of {repo} has {files[path] / 1e6:.1f} MB, more than such a file needs; it is not opened.")
    return wanted


def _nearest(files: Mapping[str, int], name: str) -> str | None:
    """The path of the file `name` that is nearest to the top, two folders down at most."""
    found = [one for one in files if one.rpartition("/")[2] == name and one.count("/") < 3]
    return min(found, key=lambda one: (one.count("/"), one), default=None)


def _fetch(repo: str, commit: str, wanted: Mapping[str, str], files: Mapping[str, int], home: Path, progress: Progress) -> None:
    """Make `home`/`commit`: first the small files, so that a wrong model costs no large download. Other commits go."""
    beside = home / ".partial"
    small_first = sorted(wanted, key=lambda path: files[path])
    total, done = sum(files[path] for path in wanted) or 1, 0
    kept = beside / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in small_first:
        progress(0.05 + 0.9 * done / total, f"Fetching {path}, {files[path] / 1e6:,.1f} MB")
        with hub.sentences(f"Fetching {path} of {repo}"):
            got = hub.client(None).hf_hub_download(repo, path, revision=commit, local_dir=beside / "fetched")
        os.replace(got, kept / wanted[path])
        done += files[path]
        if wanted[path] == "config.json":
            _check_config(kept / "config.json", repo)
        elif wanted[path] == "tools.json":
            _tools(kept / "tools.json", repo)
    progress(0.95, "Looking into the model")
    bundle = kept / "model.litertlm"
    if bundle.is_file():
        _check_bundle(bundle, repo)
    else:
        check_checkpoint(kept, repo)
    developer, requests = _habits(kept)
    write_atomic(kept / FOUND, json.dumps({"repo": repo, "size": total, "developer": developer, "requests": requests}))
    os.rename(kept, home / commit)
    shutil.rmtree(beside, ignore_errors=True)
    for other in [one for one in home.iterdir() if one.is_dir() and one.name != commit]:
        remove(other)


def _check_config(file: Path, repo: str) -> None:
    try:
        config = jsontext.loads(file.read_text("utf-8"))
    except ValueError:
        config = None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "gemma3_text" or "auto_map" in config:
        raise PipelineError(f"{repo} is a model of type {str(kind)[:40]}; only gemma3_text, FunctionGemma's, is opened here.")


def _check_bundle(file: Path, repo: str) -> None:
    try:
        kind = apart.inspect(file)["metadata"].get("model_type")
    except PipelineError:
        raise PipelineError(f"The .litertlm of {repo} is damaged or of another kind; it is not opened.") from None
    if kind != "function_gemma":
        raise PipelineError(f"The .litertlm of {repo} holds a model of type {str(kind)[:40]}; only function_gemma is opened here.")


def _tools(file: Path, repo: str) -> tuple[ToolSpec, ...]:
    if not file.is_file():
        return ()
    try:
        tools = tools_from_json(file.read_bytes())
    except PipelineError as error:
        raise PipelineError(f"tools.json of {repo} cannot be used: {str(error)[:300]}") from None
    if len(tools) > MAX_TOOLS:
        raise PipelineError(f"{repo} has {len(tools)} functions; models of up to {MAX_TOOLS} are opened here.")
    return tuple(tools)


def _habits(folder: Path) -> tuple[str, list[str]]:
    """How the conversations of its rows begin, and requests to try, if there are rows that can be read; they are not kept."""
    rows_file = folder / datasets.EXAMPLES_FILE
    if not rows_file.is_file():
        return DEFAULT, []
    try:
        rows = datasets.load(folder)
        first = conversation("", rows)[0]
        return first["content"] if first["role"] == "developer" else "", [one for one in to_try(rows) if len(one) <= LONGEST_REQUEST]
    except PipelineError:  # a stranger's rows: the model can be asked without
        return DEFAULT, []
    finally:
        rows_file.unlink()


def _read(repo: str, commit: str, folder: Path) -> PublicModel:
    bundle, known = folder / "model.litertlm", json.loads((folder / FOUND).read_text("utf-8"))
    return PublicModel(
        repo, commit, bundle if bundle.is_file() else folder, known["size"], _tools(folder / "tools.json", repo), known["developer"],
        tuple(known["requests"]),
    )  # fmt: skip


def _trim(cache: Path, keep: Path) -> None:
    """Delete the models that were asked for longest ago until all take MAX_CACHE at most; not those that are being fetched just now.

    Those that run keep their open files.
    """
    homes = sorted((one for one in cache.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime, reverse=True)
    homes.sort(key=lambda one: one != keep)
    total = 0
    for home in homes:
        total += _size(home)
        if total > MAX_CACHE and home != keep:
            with suppress(BlockingIOError), exclusive(home, waiting=_not_now):
                for inner in [one for one in home.iterdir() if one.is_dir()]:
                    remove(inner)


def _size(folder: Path) -> int:
    """Bytes of all files below `folder`, in which others may be making and moving files."""
    total = 0
    for inside, _, names in os.walk(folder):  # passes over a folder that has gone
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(inside, name)).st_size
    return total


def _not_now() -> None:
    """Somebody else holds it: leave it."""
    raise BlockingIOError
