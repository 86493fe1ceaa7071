"""Everything on disk: the one file that knows the layout.

    workspace/<session>/<project>/project.json                 its title
    workspace/<session>/<project>/dataset/                     tools.json, examples.jsonl
    workspace/<session>/<project>/runs/<run>/
        run.json         status, config, base, dataset sha256, versions, last whole checkpoint; replaced whole, last of all
        dataset/         a frozen copy       log.jsonl      one line a step       samples.jsonl  answers after every epoch
        stop             a flag file         train.log      what a failure said   checkpoints/   checkpoint-<step>/
        model/           the merged result   adapter/       LoRA's, before the merge
        eval/            <on>-<split>.json   artifacts/

A run folder needs no workspace around it: the command line makes one anywhere. Nothing half-written has a final name, and whoever is
killed at any moment costs at most the steps since the last checkpoint. This file knows nothing of models, training or the web; it
does not know who a visitor is: whoever knows a session's unguessable id owns it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.child import born, lives
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset
from pipeline.dataset import load as load_dataset
from pipeline.errors import RunError
from pipeline.files import exclusive, remove, write_atomic
from pipeline.journal import append_line, read_lines, read_object

STATUSES = ("new", "training", "paused", "done", "failed")
COMPLETE = "complete.json"  # written last into a checkpoint: without it, the checkpoint does not count
_ID = re.compile(r"[0-9a-f]{8,32}")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: optimiser, schedule and random state with the weights after `step` steps."""

    step: int
    path: Path


@dataclass(frozen=True)
class StepLog:
    """One optimiser step: losses are means over supervised tokens, times are in seconds, memory is peak bytes of the process or GPU."""

    step: int
    total: int
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    examples_per_second: float | None = None
    seconds: float | None = None
    eta: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Sample:
    """What the model answered to one held-out request after `step` steps, control tokens included."""

    step: int
    epoch: float
    request: str
    expected: str
    answer: str


class Run:
    """A run folder. Holds no state but its path: every property is read from disk, so two processes may look at one run."""

    def __init__(self, path: str | os.PathLike[str]):
        """Raises RunError if there is no run in `path`."""
        self.path = Path(path)
        self._json = self.path / "run.json"
        if not self._json.is_file():
            raise RunError(f"{self.path} is not a run: it holds no run.json; make one with the train command.")

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, title: str, config: TrainConfig, base: Mapping[str, Any], dataset_sha256: str,
               versions: Mapping[str, str], total_steps: int) -> Run:
        """Make the folder's run.json, status new. `base` holds id, label, revision, path and embedded of the base model."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "run.json", json.dumps({
            "status": "new", "title": title, "config": config.to_json(), "base": dict(base), "dataset_sha256": dataset_sha256,
            "versions": dict(versions), "created": time.time(), "started": None, "finished": None, "seconds": 0.0, "steps": 0,
            "total_steps": total_steps, "checkpoint": None, "final_loss": None, "error": None, "process": None,
        }, indent=1, ensure_ascii=False))
        return cls(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # -- run.json

    @property
    def info(self) -> dict[str, Any]:
        """All of run.json, as it stands on disk now. Raises RunError if it is damaged."""
        return read_object(self._json, *"status title config base dataset_sha256 created started seconds steps total_steps process".split())

    def update(self, **changes: Any) -> None:
        """Replace keys of run.json in one step; other processes that do the same wait for each other. Raises RunError."""
        with exclusive(self.path):
            self._write(changes)

    def _write(self, changes: Mapping[str, Any]) -> None:
        info = self.info
        if unknown := sorted(set(changes) - set(info)):
            raise RunError(f"{self._json} has no key {unknown[0]!r}.")
        if changes.get("status", "new") not in STATUSES:
            raise RunError(f"The status of a run is one of {', '.join(STATUSES)}, found {changes['status']!r}.")
        write_atomic(self._json, json.dumps({**info, **changes}, indent=1, ensure_ascii=False))

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def status(self) -> str:
        """One of STATUSES. A training whose process has died is paused: it goes on from its last checkpoint."""
        info = self.info
        return "paused" if info["status"] == "training" and not _is_alive(info["process"]) else info["status"]

    @property
    def title(self) -> str:
        return self.info["title"]

    @property
    def config(self) -> TrainConfig:
        """The resolved configuration: no option is left to a default."""
        return TrainConfig.from_json(self.info["config"])

    @property
    def base(self) -> dict[str, Any]:
        return self.info["base"]

    # -- who trains it

    @property
    def is_alive(self) -> bool:
        """Whether a process that still runs is training this run."""
        return _is_alive(self.info["process"])

    @contextmanager
    def claim(self) -> Iterator[None]:
        """This process trains the run now. Raises RunError if another one does."""
        with exclusive(self.path):
            if _is_alive(process := self.info["process"]):
                raise RunError(f"{self.path} is being trained by process {process['pid']}; wait for it or stop it first.")
            self._write({"process": {"pid": os.getpid(), "started": born(os.getpid())}})
        try:
            yield
        finally:
            if self._json.exists():
                self.update(process=None)

    # -- what is in the folder

    def dataset(self) -> ToolDataset:
        """The frozen copy that this run trains and evaluates on."""
        return load_dataset(self.path / "dataset")

    @property
    def model_path(self) -> Path:
        """The merged model; exists only when it is whole."""
        return self.path / "model"

    @property
    def adapter_path(self) -> Path:
        """The adapters of a LoRA run as peft keeps them, the base named in them; exists only when it is whole."""
        return self.path / "adapter"

    @property
    def artifacts_path(self) -> Path:
        return self.path / "artifacts"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def failure_log(self) -> Path:
        """Where the traceback of a failed training is written."""
        return self.path / "train.log"

    def log(self) -> list[StepLog]:
        """One entry a step, in order. Steps repeated after a resume count once, as repeated; a torn line is passed over."""
        steps: dict[int, dict[str, Any]] = {}
        known = {f.name for f in fields(StepLog)}
        for line in read_lines(self.path / "log.jsonl"):
            if isinstance(line.get("step"), int) and isinstance(line.get("total"), int):
                steps.setdefault(line["step"], {}).update({k: v for k, v in line.items() if k in known and v is not None})
        return [StepLog(**steps[step]) for step in sorted(steps)]

    def append_log(self, entry: StepLog) -> None:
        append_line(self.path / "log.jsonl", {k: v for k, v in asdict(entry).items() if v is not None})

    def samples(self) -> list[Sample]:
        """Answers to held-out requests, by step; those repeated after a resume count once."""
        names = {f.name for f in fields(Sample)}
        lines = [line for line in read_lines(self.path / "samples.jsonl") if names <= set(line)]
        latest = {(line["step"], line["request"]): Sample(**{n: line[n] for n in names}) for line in lines}
        return sorted(latest.values(), key=lambda sample: sample.step)

    def append_sample(self, sample: Sample) -> None:
        append_line(self.path / "samples.jsonl", asdict(sample))

    def checkpoints(self) -> list[Checkpoint]:
        """The whole checkpoints, by step."""
        found = []
        for folder in self.checkpoints_path.glob("checkpoint-*"):
            number = folder.name.removeprefix("checkpoint-")
            if number.isdecimal() and (folder / COMPLETE).is_file():
                found.append(Checkpoint(int(number), folder))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    @property
    def last_checkpoint(self) -> Checkpoint | None:
        return next(reversed(self.checkpoints()), None)

    def evaluation_path(self, on: str, split: str) -> Path:
        return self.path / "eval" / f"{on}-{split}.json"

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The saved reports by name: "tuned-test", "base-test", ..."""
        return {file.stem: read_object(file) for file in sorted((self.path / "eval").glob("*.json"))}

    # -- stopping

    def request_stop(self) -> None:
        """Ask the training, in whatever process, to stop after the step it is in and keep what is there."""
        (self.path / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        return (self.path / "stop").exists()

    def clear_stop(self) -> None:
        (self.path / "stop").unlink(missing_ok=True)

    def rename(self, title: str) -> None:
        self.update(title=_title(title))

    def delete(self) -> None:
        """Raises RunError while the run is being trained."""
        with exclusive(self.path):  # nobody begins to train it meanwhile
            if self.is_alive:
                raise RunError(f"{self.path} is being trained; stop it before deleting it.")
            remove(self.path)


def _is_alive(process: Mapping[str, Any] | None) -> bool:
    """Whether the process of a record still runs."""
    return process is not None and lives(process["pid"], process["started"])


def _title(text: str) -> str:
    """A title for people, one line, 80 characters at most. Raises RunError when nothing is left of it."""
    title = " ".join(text.split())[:80]
    if not title:
        raise RunError("A name needs at least one letter.")
    return title


def _inside(parent: Path, id: str, what: str) -> Path:
    """The folder `id` of `parent`; `id` may come from a client. Raises RunError unless it is an id of ours and really lies there."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise RunError(f"This is not the id of a {what}: {str(id)[:40]!r}.")
    folder = parent / id
    if folder.is_symlink() or not folder.is_dir():
        raise RunError(f"There is no {what} {id}; it may have been deleted.")
    return folder


def _children(parent: Path, marker: str) -> list[Path]:
    """The folders of `parent` with an id of ours for a name and the file `marker` in them; links are not followed."""
    return [file.parent for file in parent.glob(f"*/{marker}") if _ID.fullmatch(file.parent.name) and not file.parent.is_symlink()]


class Project:
    """A dataset and the runs made from it."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def title(self) -> str:
        return read_object(self.path / "project.json")["title"]

    @property
    def created(self) -> float:
        return read_object(self.path / "project.json")["created"]

    def rename(self, title: str) -> None:
        info = read_object(self.path / "project.json")
        write_atomic(self.path / "project.json", json.dumps({**info, "title": _title(title)}, ensure_ascii=False))

    @property
    def dataset_path(self) -> Path:
        """tools.json and examples.jsonl; not there before the first save."""
        return self.path / "dataset"

    def new_run_path(self) -> Path:
        """Where the next run may be made; nothing is there yet."""
        return self.path / "runs" / secrets.token_hex(4)

    def runs(self) -> list[Run]:
        """The newest first."""
        runs = map(Run, _children(self.path / "runs", "run.json"))
        return sorted(runs, key=lambda run: run.info["created"], reverse=True)

    def run(self, id: str) -> Run:
        """Raises RunError for an id that is not one of this project's."""
        return Run(_inside(self.path / "runs", id, "run"))

    def delete(self) -> None:
        """Raises RunError while one of its runs is being trained."""
        if any(run.is_alive for run in self.runs()):
            raise RunError(f"A run of {self.title!r} is being trained; stop it before deleting the project.")
        remove(self.path)


class Session:
    """One visitor's projects."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    def projects(self) -> list[Project]:
        """The newest first."""
        return sorted(map(Project, _children(self.path, "project.json")), key=lambda project: project.created, reverse=True)

    def create_project(self, title: str) -> Project:
        project = Project(self.path / secrets.token_hex(4))
        info = {"title": _title(title), "created": time.time()}
        project.path.mkdir()
        write_atomic(project.path / "project.json", json.dumps(info, ensure_ascii=False))
        return project

    def project(self, id: str) -> Project:
        """Raises RunError for an id that is not one of this session's."""
        return Project(_inside(self.path, id, "project"))


class Workspace:
    """All sessions under one folder."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)

    @classmethod
    def of_server(cls) -> Workspace:
        """All visitors' folders: the environment's STUDIO_WORKSPACE, else `workspace` where the app was started."""
        return cls(Path(os.environ.get("STUDIO_WORKSPACE") or "workspace").resolve())

    def bases(self) -> set[Path]:
        """The folders of the base models that its runs name."""
        found = set()
        for file in self.root.glob("*/*/runs/*/run.json"):
            with suppress(RunError):  # deleted in this moment, or damaged
                found.add(Path(read_object(file, "base")["base"]["path"]))
        return found

    def create_session(self) -> Session:
        """A session with an id of 128 random bits: who knows it owns it."""
        folder = self.root / secrets.token_hex(16)
        folder.mkdir(parents=True, mode=0o700)
        return Session(folder)

    def session(self, id: str) -> Session:
        """Raises RunError for an id that is not one of this workspace's."""
        return Session(_inside(self.root, id, "session"))

    def sessions(self) -> list[Session]:
        return [Session(folder) for folder in sorted(self.root.iterdir()) if _ID.fullmatch(folder.name)] if self.root.is_dir() else []
