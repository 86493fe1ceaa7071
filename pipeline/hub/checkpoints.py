"""A training that is not over, kept in a private repository and brought back: a Space's disk is gone when it restarts, the Hub's is not.

    run/run.json  run/log.jsonl  run/samples.jsonl  run/dataset/*  run/checkpoints/checkpoint-<step>/*        the newest whole one alone

`push_checkpoint` may be called while the run is trained; `fetch_run` makes a run folder that `train` goes on with, bit for bit as if it had
never been away. What comes back is looked at like anybody's: names from a list, sizes, the base only with the visitor's own access.
Optimiser and random state are torch files, which the trainer reads as numbers only (weights_only); no other pickle comes along.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline.config import TrainConfig
from pipeline.errors import HubError, RunError
from pipeline.files import link, write_atomic
from pipeline.hub import account, client, job_lines, repo_id, sentences
from pipeline.hub.parcel import Item, own
from pipeline.hub.push import Pushed, look, push_items
from pipeline.journal import read_lines, read_object
from pipeline.model import recorded
from pipeline.runs import COMPLETE, Run

Progress = Callable[[float, str], None]

TOP = ("run.json", "log.jsonl", "samples.jsonl")
ADAPTER = "adapter_config.json"
STATE = (
    "model.safetensors", "config.json", "generation_config.json", "adapter_model.safetensors", ADAPTER, "optimizer.pt", "scheduler.pt",
    "rng_state.pth", *(f"rng_state_{process}.pth" for process in range(8)), "trainer_state.json", COMPLETE,
)  # fmt: skip
"""Files of a checkpoint, of one process or of up to eight.

What else transformers saves (training_args.bin, a pickle; the tokenizer) is made anew and not looked at.
"""
DATASET = ("tools.json", "examples.jsonl")
BASE = {"id", "path", "revision", "embedded", "label"}
MIB = 2**20
TABLE, WEIGHTS, EVERYTHING = 64 * MIB, 4096 * MIB, 8192 * MIB
"""Most bytes of a text, of a file of numbers, and of all: the 270M model's checkpoint in float32 has 3.2 GB."""
BETWEEN, RESTS, LOOK = 60.0, 120.0, 1.0
"""Seconds between two pushes of one training; without a process after which it rests; between two looks at its folder."""
_CHECKPOINT = re.compile(rf"run/checkpoints/(checkpoint-\d{{1,9}})/({'|'.join(map(re.escape, STATE))})")
_IGNORED = re.compile(r"\.gitattributes|README\.md")
CARD = """---
tags:
- functiongemma-studio-checkpoint
---
A training of FunctionGemma Studio that is not over. The studio brings it back and goes on with it:
`python -m pipeline fetch {repo} --out RUN`, then `python -m pipeline train RUN/dataset --out RUN`.
"""


def push_checkpoint(run: Run, repo: str, token: str | None, progress: Progress | None = None) -> Pushed:
    """Keep the run as it is, with its newest whole checkpoint, in the private repository `repo`; what was kept there before goes.

    Raises HubError as `push_items` does, for a run that has no checkpoint, and for a repository that holds anything else.
    """
    base = run.base
    if not base["embedded"] and base["revision"] is None:
        raise HubError(f"{run.title} is trained on a model in a folder of this computer, which is not on the Hub; it cannot be kept there.")
    repo = repo_id(account(token), repo)
    there = look(repo, token)
    if there is not None and (strange := [name for name in there.files if not _IGNORED.fullmatch(name) and not name.startswith("run/")]):
        raise HubError(f"{repo} holds something else ({strange[0]}); choose a new name for what is to be kept.", 409)
    held = run.path / f".kept.{secrets.token_hex(4)}.partial"
    try:
        if run.last_checkpoint is None:
            raise HubError(f"{run.title} has no whole checkpoint yet; one is made every {run.config.save_steps} steps.")
        with sentences(f"Keeping {run.title}"):
            step, items = hold(run, held)
        items.append(Item("README.md", "card", CARD.format(repo=repo).encode()))
        stale = [name for name in there.files if name.startswith("run/")] if there else []
        return push_items(
            items, repo, token, message=f"{run.title}: step {step}", overwrite=True, parent=there.commit if there else None, delete=stale,
            progress=progress,
        )  # fmt: skip
    finally:
        shutil.rmtree(held, ignore_errors=True)


def keep(run: Run, repo: str, token: str | None, progress: Progress | None = None) -> Pushed:
    """`push_checkpoint` now, and again for each new checkpoint, until the training ends or rests. Returns the last push.

    Of checkpoints that come faster than one in BETWEEN seconds only the last goes. Raises HubError if a push fails twice in a row.
    """
    pushed, step, failed, rest = None, 0, False, time.monotonic()
    report = progress or (lambda fraction, message: None)
    while True:
        last, began = run.last_checkpoint, time.monotonic()
        if pushed is None or (last is not None and last.step > step):
            try:
                pushed, step, failed = push_checkpoint(run, repo, token, report), last.step if last else 0, False
                report(1.0, f"Step {step} is kept; the next checkpoint goes there too")
            except HubError as problem:
                if failed or pushed is None:
                    raise
                failed = True
                report(0.0, f"{problem} It is tried once more")
            rest = time.monotonic()
        behind = failed and last is not None and last.step > step
        if not behind and (run.status in ("done", "failed") or (not run.is_alive and time.monotonic() - rest > RESTS)):
            return pushed
        time.sleep(max(LOOK, BETWEEN - (time.monotonic() - began)) if run.is_alive else LOOK)


def fetch_run(repo: str, token: str | None, path: Path, progress: Progress | None = None, *, owner: bool = False) -> Run:
    """The run that `push_checkpoint` kept in `repo`, one of the token's owner, as the new folder `path`, which appears whole.

    `owner` as in `pipeline.model.find_base`. Raises HubError, RunError for what is no run of ours, and ModelError for its base.
    """
    path = Path(path)
    if path.exists():
        raise RunError(f"{path} exists already; name a new folder for the run that is fetched.")
    repo, report = repo_id(account(token), repo), progress or (lambda fraction, message: None)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    report(0.0, f"Looking at {repo}")
    try:
        beside.mkdir(parents=True)
        with sentences(f"Fetching the run from {repo}"):
            api = client(token)
            commit = api.repo_info(repo).sha
            files = _listed(api, repo, commit)
            total, done = sum(files.values()), 0
            for name, size in files.items():
                report(0.9 * done / total, f"Fetching {name.removeprefix('run/')}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
                take(api, repo, commit, name, size, beside)
                done += size
        shutil.rmtree(beside / ".cache", ignore_errors=True)
        report(0.9, "Looking through it")
        run = _looked_at(beside / "run", repo)
        base = {**run.base, "path": str(beside / "base")}  # a path from elsewhere counts for nothing: it is found anew, with this token
        found = recorded(base, token, owner=owner)
        run.update(base=found.to_json(), process=None, status="paused", error=None)
        os.rename(beside / "run", path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    report(1.0, "The run is here")
    return Run(path)


def hold(run: Run, held: Path, **changes: Any) -> tuple[int, list[Item]]:
    """What is kept of a run that is not over, and the step of its newest whole checkpoint, 0 without one.

    `held` is a folder to be made beside the run: it gets second names for the checkpoint's files, so that they stay while they are pushed.
    The journals are as they are now, `changes` replace values of run.json. Raises HubError.
    """
    for _ in range(3):
        last = run.last_checkpoint
        try:
            shutil.rmtree(held, ignore_errors=True)
            held.mkdir()
            if last is None:
                break
            for name in STATE:
                if (last.path / name).exists():
                    link(own(last.path / name, run.path), held / name)
            if (held / COMPLETE).exists():
                break
        except FileNotFoundError:  # the training has just removed it for a newer one
            continue
    else:
        raise HubError(f"The checkpoints of {run.title} changed while they were read; try again.")
    info = {**run.info, "base": {**run.base, "path": run.base["id"]}, "process": None, "error": None}
    info |= {"status": "paused" if last else "new", "steps": last.step if last else 0, "checkpoint": last.path.name if last else None}
    info |= changes
    items = [Item("run/run.json", "run", (json.dumps(info, indent=1, ensure_ascii=False) + "\n").encode())]
    for name in TOP[1:]:
        if (run.path / name).exists():
            items.append(Item(f"run/{name}", "run", own(run.path / name, run.path).read_bytes()))
    items += [Item(f"run/dataset/{name}", "run", own(run.path / "dataset" / name, run.path)) for name in DATASET]
    if last is None:
        return 0, items
    kept = {file.name: file for file in sorted(held.iterdir())}
    if ADAPTER in kept:  # peft writes where the base lies on this disk into it, which is nobody's business
        settings = {**read_object(kept[ADAPTER]), "base_model_name_or_path": run.base["id"]}
        kept[ADAPTER] = json.dumps(settings, indent=2, sort_keys=True).encode()
    return last.step, items + [Item(f"run/checkpoints/{last.path.name}/{name}", "run", source) for name, source in kept.items()]


def _listed(api: Any, repo: str, commit: str) -> dict[str, int]:
    """Names and sizes of what is fetched. Raises RunError for what no run of ours holds."""
    texts = {*(f"run/{name}" for name in TOP), *(f"run/dataset/{name}" for name in DATASET)}
    found: dict[str, int] = {}
    for entry in api.list_repo_tree(repo, recursive=True, revision=commit):
        size = getattr(entry, "size", None)
        if size is None or _IGNORED.fullmatch(entry.path):
            continue  # a folder, or the Hub's own
        limit = TABLE if entry.path in texts else WEIGHTS if _CHECKPOINT.fullmatch(entry.path) else 0
        if not limit:
            raise RunError(f"{repo} holds {entry.path[:80]!r}, which no kept training has; it is not fetched.")
        if size > limit:
            raise RunError(f"{entry.path} in {repo} has {size / MIB:,.0f} MB, more than such a file may have; it is not fetched.")
        found[entry.path] = size
    steps = {match[1] for name in found if (match := _CHECKPOINT.fullmatch(name))}
    whole = [step for step in steps if f"run/checkpoints/{step}/{COMPLETE}" in found]
    if "run/run.json" not in found or len(steps) != 1 or not whole:
        raise RunError(f"{repo} holds no whole training that was kept by this studio.")
    if sum(found.values()) > EVERYTHING:
        raise RunError(f"{repo} holds {sum(found.values()) / 1e9:.1f} GB, more than a training may have; it is not fetched.")
    return found


def take(api: Any, repo: str, commit: str, name: str, size: int, beside: Path) -> None:
    """Fetch a file of a name that was looked at into `beside`. Raises RunError if it is not what was listed."""
    file = Path(api.hf_hub_download(repo, name, revision=commit, local_dir=beside))
    if file.is_symlink() or not file.is_file() or file.resolve() != (beside / name).resolve() or file.stat().st_size != size:
        raise RunError(f"{name} in {repo} is not what was listed; it is not fetched.")


def check_journals(folder: Path) -> None:
    """Keep of a fetched run's journals what a run writes into them; reports must be JSON objects. Raises RunError."""
    for name, fits in (("log.jsonl", job_lines.fits_step), ("samples.jsonl", job_lines.fits_sample)):
        if (folder / name).is_file():
            lines = [json.dumps(line, ensure_ascii=False) for line in read_lines(folder / name) if fits(line)]
            write_atomic(folder / name, "".join(line + "\n" for line in lines))
    for report in folder.glob("eval/*.json"):
        read_object(report, "rows", "exact_match")


def _looked_at(folder: Path, repo: str) -> Run:
    """The fetched run, if its words are those of a run that can go on. Raises RunError, DataError, ConfigError."""
    run = Run(folder)
    info, last = run.info, run.last_checkpoint
    base, revision = info["base"], info["base"].get("revision") if isinstance(info["base"], dict) else None
    numbers = [info["steps"], info["total_steps"]]
    if not (
        last is not None
        and all(type(one) is int and 0 <= one <= 1_000_000 for one in numbers)
        and all(job_lines.is_number(info[key]) for key in ("created", "seconds"))
        and info.keys() >= {"finished", "final_loss", "versions", "error"} and isinstance(info["versions"], dict)
        and isinstance(base, dict) and set(base) == BASE and isinstance(base["id"], str) and isinstance(info["config"], dict)
        and (base["embedded"] is True or (isinstance(revision, str) and re.fullmatch("[0-9a-f]{40}", revision)))
    ):  # fmt: skip
        raise RunError(f"run.json in {repo} is not that of a run that can go on; it is not fetched.")
    try:
        TrainConfig.from_json(info["config"]).check()
    except TypeError as error:
        raise RunError(f"The settings in {repo} cannot be read ({error}); it is not fetched.") from None
    datasets.load(folder / "dataset")
    check_journals(folder)
    run.rename(str(info["title"]))
    run.update(checkpoint=last.path.name, steps=last.step)
    return run
