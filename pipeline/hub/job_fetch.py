"""Bring a run back that a Job has trained: whole or not at all, and only what a run consists of.

What lies in the repository was written elsewhere, so it is looked at first: names from a list, sizes within bounds, regular files,
weights in safetensors that can be read, the tokenizer of the base byte for byte, settings and dataset those that were sent.
Checkpoints, which hold pickles, are never fetched. Everything lands in a folder beside the final places and moves there at the end,
run.json last.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import hub
from pipeline.config import TrainConfig
from pipeline.errors import ConfigError, RunError
from pipeline.files import exclusive
from pipeline.hub import job_lines, remote
from pipeline.hub.access import TOKENIZER_FILES
from pipeline.hub.checkpoints import check_journals, take
from pipeline.journal import read_object
from pipeline.model import BaseModel, check_checkpoint
from pipeline.runs import Run
from pipeline.train import copy_tokenizer

MIB = 2**20
SMALL, TABLE, WEIGHTS = MIB, 64 * MIB, 2048 * MIB
"""Most bytes of a settings file, of a journal, report or tokenizer, and of a file of weights (the 270M model in float32 has 1.1 GB)."""
MOST_FILES = 40
INFO = "run/run.json"
ALLOWED: tuple[tuple[re.Pattern[str], int], ...] = tuple((re.compile(name), size) for name, size in (
    (r"run/run\.json", SMALL),
    (r"run/(log|samples)\.jsonl", TABLE),
    (r"run/eval/(base|tuned)-(test|train)\.json", TABLE),
    (r"run/model/(config|generation_config|model\.safetensors\.index)\.json", SMALL),
    (r"run/model/(model|model-\d{5}-of-\d{5})\.safetensors", WEIGHTS),
    (rf"run/model/({'|'.join(map(re.escape, TOKENIZER_FILES))})", TABLE),
    (r"run/adapter/adapter_config\.json", SMALL),
    (r"run/adapter/adapter_model\.safetensors", WEIGHTS),
))  # fmt: skip
PARTS = ("model", "adapter", "eval", "log.jsonl", "samples.jsonl")
"""What moves into the run folder, before run.json."""

Progress = Callable[[float, str], None]


def fetch(run: Run, token: str, progress: Progress | None = None) -> Run:
    """`run` with the result of its Job in it. Raises HubError, and RunError when the Job has not finished it or sent what it should not."""
    report = progress or (lambda fraction, message: None)
    where = remote.need_record(run)
    if where.fetched or run.status == "done":
        raise RunError(f"{run.title} is here and trained already.")
    report(0.0, "Looking at what the Job has made")
    beside = run.path / f".fetched.{secrets.token_hex(4)}.partial"
    try:
        with hub.sentences(f"Fetching the run from {where.repo}"):
            api = hub.client(token)
            commit = api.repo_info(where.repo).sha
            files = _listed(api, where.repo, commit)
            beside.mkdir(mode=0o700)
            take(api, where.repo, commit, INFO, files.pop(INFO), beside)
            info = _looked_at(run, where, read_object(beside / INFO))
            for number, (name, size) in enumerate(sorted(files.items())):
                report(0.05 + 0.85 * number / len(files), f"Fetching {name.removeprefix('run/')}")
                take(api, where.repo, commit, name, size, beside)
        report(0.9, "Looking through it")
        _check_model(run, beside / "run")
        check_journals(beside / "run")
        with run.claim():
            if run.status == "done":  # fetched by somebody else in the meantime
                raise RunError(f"{run.title} is here and trained already.")
            _move(run, beside / "run", info)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    with exclusive(run.path):
        remote.save(run, replace(remote.need_record(run), away=False, fetched=True))
    report(1.0, "Fetched")
    return run


def _looked_at(run: Run, where: remote.Remote, info: Mapping[str, Any]) -> dict[str, Any]:
    """What the fetched run.json changes in ours. Raises RunError if it is not finished or not of this run."""
    here = run.info
    if info.get("status") != "done":
        error, steps = info.get("error"), info.get("steps")
        with exclusive(run.path):
            now = remote.need_record(run)
            if over := now.over:
                remote.save(run, replace(now, away=False))
        failed = isinstance(error, str) and info.get("status") == "failed"
        why = f"It failed: {error[:400]}" if failed else f"It got to step {steps} of {here['total_steps']}."
        then = "Another Job goes on from there." if over else "Wait for the Job to end."
        raise RunError(f"The Job has not finished {run.title}. {why} {then}")
    try:
        config = TrainConfig.from_json(info.get("config") or {})
    except (ConfigError, TypeError) as error:
        raise RunError(f"The settings in {where.repo} cannot be read ({error}); it is not fetched.") from None
    sent = remote.shared_config(run.config, where.processes)
    if replace(config, dtype=sent.dtype) != sent or info.get("dataset_sha256") != here["dataset_sha256"]:
        raise RunError(f"{where.repo} holds a run with other settings or another dataset than {run.title}; it is not fetched.")
    taken = {"status": "done", "config": config.to_json(), "checkpoint": None, "error": None, "process": None}
    for name in ("steps", "total_steps"):
        taken[name] = _number(info.get(name), name, whole=True)
    for name in ("started", "finished", "seconds", "final_loss"):
        taken[name] = None if info.get(name) is None else _number(info.get(name), name)
    versions = info.get("versions")
    if isinstance(versions, Mapping):
        taken["versions"] = {str(name)[:40]: str(version)[:40] for name, version in list(versions.items())[:20]}
    return taken


def _number(value: Any, name: str, whole: bool = False) -> Any:
    if not job_lines.is_number(value) or (whole and not isinstance(value, int)) or value < 0:
        raise RunError(f"{name} of the fetched run should be a number, found {str(value)[:40]!r}; it is not fetched.")
    return value


def _listed(api: Any, repo: str, commit: str) -> dict[str, int]:
    """Names and sizes of what is fetched. Raises RunError for what no run of ours holds."""
    found: dict[str, int] = {}
    for entry in api.list_repo_tree(repo, "run", recursive=True, revision=commit):
        size = getattr(entry, "size", None)
        if size is None or entry.path.startswith(("run/dataset/", "run/checkpoints/")) or entry.path == "run/train.log":
            continue  # a folder, or what is not wanted
        limit = next((most for pattern, most in ALLOWED if pattern.fullmatch(entry.path)), None)
        if limit is None:
            raise RunError(f"{repo} holds {entry.path[:80]!r}, which no run has; it is not fetched.")
        if size > limit:
            raise RunError(f"{entry.path} in {repo} has {size / MIB:,.0f} MB, more than such a file may have; it is not fetched.")
        found[entry.path] = size
        if len(found) > MOST_FILES:
            raise RunError(f"{repo} holds more than {MOST_FILES} files of a run; it is not fetched.")
    if INFO not in found:
        raise RunError(f"{repo} holds no {INFO}; the Job has pushed nothing yet.")
    return found


def _check_model(run: Run, folder: Path) -> None:
    """Raises ModelError or RunError unless the model in `folder` can be loaded as the base's, with nothing of its own but weights."""
    from safetensors import SafetensorError, safe_open

    check_checkpoint(folder / "model", "The fetched model")
    for file in [*folder.glob("model/*.safetensors"), *folder.glob("adapter/*.safetensors")]:
        try:
            with safe_open(file, "numpy") as opened:
                if not opened.keys():
                    raise RunError(f"{file.name} of the fetched run holds no weights; it is not fetched.")
        except (SafetensorError, OSError) as error:
            raise RunError(f"{file.name} of the fetched run cannot be read ({error}); it is not fetched.") from None
    base = Path(run.base["path"])
    if not (base / "config.json").is_file():
        return  # the base has left this disk
    expected = folder / "tokenizer"
    expected.mkdir()
    copy_tokenizer(BaseModel(**run.base), expected)  # what training puts beside the weights
    for name in TOKENIZER_FILES:
        ours, theirs = expected / name, folder / "model" / name
        if ours.is_file() != theirs.is_file() or (ours.is_file() and ours.read_bytes() != theirs.read_bytes()):
            raise RunError(f"{name} of the fetched run is not the one of {run.base['label']}; it is not fetched.")
    ours, theirs = (read_object(one / "config.json") for one in (base, folder / "model"))
    for one in (ours, theirs):
        one.pop("dtype", None), one.pop("torch_dtype", None)
    if ours != theirs:
        raise RunError(f"The fetched model is not built as {run.base['label']}; it is not fetched.")


def _move(run: Run, folder: Path, info: dict[str, Any]) -> None:
    """Put everything in its place. Until the last line the run is what it was before: a model beside an unfinished run does not count."""
    for name in PARTS:
        if not (folder / name).exists():
            continue
        old = run.path / name
        if old.is_dir():
            shutil.rmtree(old)
        os.replace(folder / name, old)
    shutil.rmtree(run.checkpoints_path, ignore_errors=True)
    run.update(**info)
