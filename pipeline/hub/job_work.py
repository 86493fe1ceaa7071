"""The work inside a Hugging Face Job: get the run, train it as everywhere else, keep what it makes in the user's repository.

    <repository>/job.py, pipeline.zip            what runs here (pipeline.hub.job, pipeline.hub.package)
                 run/run.json, run/dataset/      the run, as pipeline.runs lays it out
                 run/checkpoints/checkpoint-N/   the newest one, until the run is done
                 run/model/, log.jsonl, samples.jsonl, eval/

Training is `python -m pipeline train` in a process of its own, which gets no token, under `accelerate launch` where there are several
GPUs. A Job that died is started again with the same words and goes on from the newest checkpoint that was pushed whole. What happens
is said in lines of the log (job_lines). Does not know who watches, nor what the Job costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import hub
from pipeline.child import PROJECT, SECRETS, environment
from pipeline.errors import PipelineError
from pipeline.hub import checkpoints, job_lines
from pipeline.hub.parcel import Item
from pipeline.hub.push import look, push_items
from pipeline.journal import read_lines
from pipeline.runs import COMPLETE, Run

LOOK = 0.5
"""Seconds between two looks at the run folder."""


@dataclass
class Words:
    """What the Job was started with; `seconds` may be trained, `minutes` lie between two pushes of a checkpoint at least."""

    repo: str
    revision: str
    processes: int
    minutes: float
    seconds: float
    evaluate: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if the run is done or stopped in time with its checkpoint pushed, else 1; the last line says which, and why."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repo", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--package", metavar="SHA256")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--no-evaluate", dest="evaluate", action="store_false")
    given = vars(parser.parse_args(argv))
    del given["package"]
    token = os.environ.get("HF_TOKEN")
    for name in SECRETS:
        os.environ.pop(name, None)
    try:
        run = work(Words(**given), token, Path.cwd() / "work" / "run")
        status, error = run.status, run.info["error"]
    except (PipelineError, OSError) as problem:  # also a full disk
        status, error = "failed", str(problem)
    say("end", status=status, error=error)
    return 0 if status in ("done", "paused") else 1


def say(kind: str, **said: Any) -> None:
    """A line of the Job's log, as job_lines has it."""
    print(job_lines.line(kind, **said), flush=True)


def work(words: Words, token: str | None, folder: Path) -> Run:
    """The run, trained as far as time allows, with everything pushed. Raises PipelineError when it could not even begin or push."""
    api = hub.client(token)
    say("say", text="Fetching the run.")
    run = restore(api, words, folder)
    keeper = Keeper(words.repo, token, run, words.minutes * 60)
    kept = run.last_checkpoint
    keeper.pushed = kept.step if kept else 0
    if run.status != "done":
        try:
            _fetch_base(run, token)
        except PipelineError as problem:
            run.update(status="failed", error=str(problem))
            keeper.push_all()
            return run
        _train(run, words, keeper)
    if run.status == "done" and words.evaluate and not run.evaluation_path("tuned", "test").exists():
        say("say", text="Scoring the tuned model on the held-out rows.")
        if _run(run, ["evaluate", str(run.path), "--on", "tuned", "--json"]):  # done all the same
            say("say", text="The tuned model has no score; the lines above say why.")
    say("say", text="Pushing what was made.")
    keeper.push_all()
    return run


# ------------------------------------------------------------------------------------------------------------- the run


def restore(api: Any, words: Words, folder: Path) -> Run:
    """The run as it was pushed, its dataset of the revision that the Job was started with, and the newest whole checkpoint."""
    with hub.sentences(f"Fetching the run from {words.repo}"):
        names = api.list_repo_files(words.repo)
        step = newest_checkpoint(names)
        wanted = ["run/run.json", "run/log.jsonl", "run/samples.jsonl", "run/model/*", "run/eval/*"]
        if step is not None:
            wanted.append(f"run/checkpoints/checkpoint-{step}/*")
        api.snapshot_download(words.repo, allow_patterns=wanted, local_dir=folder.parent)
        api.snapshot_download(words.repo, revision=words.revision, allow_patterns=["run/dataset/*"], local_dir=folder.parent)
    shutil.rmtree(folder.parent / ".cache", ignore_errors=True)
    run = Run(folder)
    info = run.info
    run.update(process=None, status="paused" if info["status"] == "training" else info["status"])
    return run


def newest_checkpoint(names: Sequence[str]) -> int | None:
    """The step of the newest checkpoint that is whole among the files of the repository."""
    parts = [name.split("/") for name in names]
    steps = [p[2].removeprefix("checkpoint-") for p in parts if len(p) == 4 and p[:2] == ["run", "checkpoints"] and p[3] == COMPLETE]
    return max((int(step) for step in steps if step.isdecimal()), default=None)


def _fetch_base(run: Run, token: str | None) -> None:
    """The base on this disk, with the user's own access to it, at the revision of the run; run.json says where. Raises PipelineError."""
    from pipeline.model import find_base

    base = run.base
    if not base["embedded"]:
        say("say", text=f"Fetching {base['label']}.")
    name = "embedded" if base["embedded"] else f"{base['id']}@{base['revision']}"
    run.update(base={**base, "path": find_base(name, token).path})


# --------------------------------------------------------------------------------------------------------------- train


def _train(run: Run, words: Words, keeper: Keeper) -> None:
    command = ["train", str(run.path / "dataset"), "--out", str(run.path), "--json"]
    if words.seconds:
        command += ["--time-budget", f"{words.seconds:g}"]
    say("say", text="Training.")
    status = _run(run, command, words.processes, keeper)
    if run.info["status"] == "training":  # it could not write what became of it
        run.update(status="failed", error=f"Training was ended from outside (status {status}), most often because memory ran out.")
    elif run.info["status"] == "new":
        run.update(status="failed", error=f"Training could not begin (status {status}); the log of the Job says why.")


def launcher(processes: int) -> list[str]:
    """How this Python starts `-m pipeline`: once, or once a GPU."""
    if processes == 1:
        return [sys.executable, "-m", "pipeline"]
    options = [f"--num_processes={processes}", "--num_machines=1", "--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *options, "-m", "pipeline"]


def _run(run: Run, command: Sequence[str], processes: int = 1, keeper: Keeper | None = None) -> int:
    """Run a command of the pipeline, say what it writes into the run's journals, push its checkpoints; its exit status."""
    heard = Journals(run)
    child = subprocess.Popen([*launcher(processes), *command], cwd=PROJECT, env=environment(HF_HUB_OFFLINE="1"), stdout=subprocess.DEVNULL)
    before = signal.signal(signal.SIGTERM, lambda *_: run.request_stop())  # the Job is to end: the step is finished, and kept
    try:
        while True:
            status = child.poll()
            for kind, said in heard.news():
                say(kind, **said)
            if status is not None:
                break
            if keeper is not None:
                keeper.look()
            time.sleep(LOOK)
    finally:
        signal.signal(signal.SIGTERM, before)
        child.kill()
        child.wait()
    if keeper is not None:
        keeper.wait()
    return status


class Journals:
    """What is new in the run's log.jsonl and samples.jsonl since the last look."""

    def __init__(self, run: Run):
        self.files = {"step": run.path / "log.jsonl", "sample": run.path / "samples.jsonl"}
        self.seen = {kind: sum(1 for _ in read_lines(file)) for kind, file in self.files.items()}

    def news(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Kind ("step" or "sample") and line, in the order of the files."""
        for kind, file in self.files.items():
            lines = list(read_lines(file))
            yield from ((kind, said) for said in lines[self.seen[kind] :])
            self.seen[kind] = len(lines)


# ---------------------------------------------------------------------------------------------------------------- push


@dataclass
class Keeper:
    """Keeps the run in the repository: checkpoints while it is trained, everything at the end. One push at a time."""

    repo: str
    token: str | None
    run: Run
    every: float
    pushed: int = 0
    last: float = field(default_factory=time.monotonic)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Push the newest checkpoint beside the training, if there is one and the last push was long enough ago."""
        busy = self._thread is not None and self._thread.is_alive()
        found = self.run.last_checkpoint
        if busy or found is None or found.step <= self.pushed or time.monotonic() - self.last < self.every:
            return
        try:
            step, items = checkpoints.hold(self.run, self._held)
        except (PipelineError, OSError) as problem:  # the training goes on, and the next checkpoint is tried
            self.last = time.monotonic()
            return say("say", text=f"The newest checkpoint could not be read to be kept: {problem}")
        self.pushed = step
        self._thread = threading.Thread(target=self._push_checkpoint, args=(step, items), daemon=True)
        self._thread.start()

    @property
    def _held(self) -> Path:
        return self.run.path.parent / "held"

    def _push_checkpoint(self, step: int, items: list[Item]) -> None:
        """A failed push costs nothing but this checkpoint's place in the repository: the next one is tried."""
        try:
            self._push(items, f"Step {step}")
            say("kept", step=step)
        except PipelineError as problem:
            say("say", text=f"The checkpoint of step {step} is not in the repository: {problem}")
        finally:
            self.last = time.monotonic()

    def wait(self) -> None:
        """Until the push that is under way has ended."""
        if self._thread is not None:
            self._thread.join()

    def push_all(self) -> None:
        """The run as it is, in one commit: with its model once it is done, else with its newest checkpoint. Tried three times.

        Raises PipelineError.
        """
        self.wait()
        status, error = self.run.status, self.run.info["error"]
        kept = {} if status == "done" else {"status": status, "error": error}
        for pause in (5, 30, None):
            try:
                step, items = checkpoints.hold(self.run, self._held, **kept)
                self._push([*(self._result() if status == "done" else items), *self._said()], f"Run {status}")
                break
            except PipelineError as problem:
                if pause is None:
                    raise
                say("say", text=f"{problem} It is tried again in {pause} s.")
                time.sleep(pause)
        if step and status != "done":
            say("kept", step=step)

    def _result(self) -> list[Item]:
        """The files of a run that is done; where its base lies here is nobody's business."""
        info = {**self.run.info, "base": {**self.run.base, "path": self.run.base["id"]}, "process": None}
        folders = (self.run.model_path, self.run.adapter_path, self.run.path / "eval")
        files = [file for folder in folders for file in sorted(folder.glob("*")) if file.is_file() and not file.name.startswith(".")]
        files += [file for name in ("log.jsonl", "samples.jsonl") if (file := self.run.path / name).is_file()]
        items = [Item(f"run/{file.relative_to(self.run.path).as_posix()}", "run", file) for file in files]
        return [*items, Item("run/run.json", "run", json.dumps(info, indent=1, ensure_ascii=False).encode())]

    def _said(self) -> list[Item]:
        """What a failure said."""
        return [Item("run/train.log", "run", self.run.failure_log)] if self.run.failure_log.is_file() else []

    def _push(self, items: Sequence[Item], message: str) -> None:
        there = look(self.repo, self.token)
        stale = [name for name in there.files if name.startswith("run/checkpoints/")] if there else []
        push_items(items, self.repo, self.token, message=message, overwrite=True, delete=stale)


if __name__ == "__main__":
    sys.exit(main())
