"""Who is here and which project is open: ids and paths, nothing else.

A visitor is a long random id that their browser keeps (gr.BrowserState) and that names a folder of the workspace; whoever knows
the id owns the folder, as with a session cookie. Each project is a folder in it with a `dataset/` and `runs/`. Everything else is
read from disk when it is needed, so a reload, another tab or a restart of the server finds the project again.

Both ids come back from the browser with every event and are checked here each time, by form and by existence: a handler gets its
folder from `project_of(key)` and never joins a path with a client's text itself. This file knows nothing about what lies in the
folders (that is `pipeline.runs` and `pipeline.dataset`).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import PipelineError
from pipeline.runs import write_atomic

STEPS = ("dataset", "train", "evaluate", "playground", "export")
MAX_PROJECTS = 50
MAX_NAME = 60

_SESSION = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # project and run ids: one path component, never "..", never hidden

NO_PROJECT = "No project is open. Open the sample or start one of your own on the first page."


def workspace() -> Path:
    """The folder of all visitors: the environment's STUDIO_WORKSPACE, else `workspace` where the app was started."""
    return Path(os.environ.get("STUDIO_WORKSPACE") or "workspace").resolve()


@dataclass(frozen=True)
class Project:
    """One dataset and its runs, in a folder of its visitor."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def name(self) -> str:
        """The name its owner gave it; the folder's name where that file is missing or damaged."""
        try:
            return str(json.loads((self.path / "project.json").read_text("utf-8"))["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.id

    @property
    def dataset_folder(self) -> Path:
        return self.path / "dataset"

    @property
    def runs_folder(self) -> Path:
        return self.path / "runs"

    @property
    def has_dataset(self) -> bool:
        return (self.dataset_folder / "examples.jsonl").is_file()

    def run_folders(self) -> list[Path]:
        """Folders of the runs, newest first. A run exists once its run.json does."""
        found = [file.parent for file in self.runs_folder.glob("*/run.json")]
        return sorted(found, key=lambda path: (path / "run.json").stat().st_ctime, reverse=True)

    def run_folder(self, run_id: Any) -> Path:
        """The folder of a run whose id came from the browser; PipelineError if there is none of that name here."""
        if not isinstance(run_id, str) or not _NAME.fullmatch(run_id):
            raise PipelineError("That run is not one of this project. Choose a run from the list.")
        folder = self.runs_folder / run_id
        if not (folder / "run.json").is_file() or folder.is_symlink():
            raise PipelineError(f"The run {run_id} is no longer there. Choose another one from the list.")
        return folder

    def rename(self, name: str) -> None:
        write_atomic(self.path / "project.json", json.dumps({"name": clean_name(name)}, ensure_ascii=False) + "\n")


def clean_name(name: Any) -> str:
    """A project's name as it is shown: one line, at most 60 characters; PipelineError if nothing is left."""
    text = " ".join(str(name or "").split())[:MAX_NAME]
    if not text:
        raise PipelineError("A project needs a name. Type one and try again.")
    return text


def visitor_folder(key: Any) -> Path | None:
    """The folder of the visitor whose key the browser sent, or None for a key that is not one (it need not exist yet)."""
    session = key.get("session") if isinstance(key, dict) else None
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        return None
    return workspace() / session


def projects_of(key: Any) -> list[Project]:
    """The visitor's projects, last used first."""
    folder = visitor_folder(key)
    if folder is None or not folder.is_dir():
        return []
    found = [Project(file.parent) for file in folder.glob("*/project.json")]
    return sorted(found, key=lambda project: project.path.stat().st_mtime, reverse=True)


def find_project(key: Any) -> Project | None:
    """The open project, or None when none is open or the one named is not this visitor's."""
    folder = visitor_folder(key)
    project = key.get("project") if isinstance(key, dict) else None
    if folder is None or not isinstance(project, str) or not _NAME.fullmatch(project):
        return None
    path = folder / project
    return Project(path) if (path / "project.json").is_file() and not path.is_symlink() else None


def project_of(key: Any) -> Project:
    """The open project; PipelineError if there is none. Every handler starts with this."""
    project = find_project(key)
    if project is None:
        raise PipelineError(NO_PROJECT)
    return project


def run_of(key: Any, run_id: Any) -> Path:
    """The folder of one of the open project's runs; PipelineError otherwise."""
    return project_of(key).run_folder(run_id)


def welcome(key: Any) -> dict[str, Any]:
    """The key to go on with: the browser's own if it is one, else a new visitor without a project."""
    if visitor_folder(key) is None:
        return {"session": secrets.token_hex(16), "project": None}
    project = find_project(key)
    return {"session": key["session"], "project": project.id if project else None}


def create_project(key: Any, name: str) -> dict[str, Any]:
    """A new, empty project of this visitor, opened: the key that names it."""
    name = clean_name(name)
    key = welcome(key)
    if len(projects_of(key)) >= MAX_PROJECTS:
        raise PipelineError(f"There are {MAX_PROJECTS} projects already, the most one visitor may keep. Delete one first.")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "project"
    project = Project(workspace() / key["session"] / f"{slug}-{secrets.token_hex(3)}")
    project.path.mkdir(parents=True)
    project.rename(name)
    return {**key, "project": project.id}


@dataclass(frozen=True)
class Page:
    """What the tabs share. A tab module has one function, `build(page)`, called inside its own gr.Tab.

    key      the visitor's and the open project's ids; the first input of every handler
    version  a counter that grows whenever something on disk changed: `event.then(**page.touch())` after a handler that writes
    tabs     the five steps; ids as in STEPS
    """

    key: gr.BrowserState
    version: gr.State
    tabs: gr.Tabs
    items: dict[str, gr.Tab] = field(default_factory=dict)

    def on_open(self, step: str, handler: Callable[..., Any], outputs: Sequence[Any] | Any, inputs: Sequence[Any] = ()) -> None:
        """Call `handler(key, *inputs)` when the step is opened and whenever something changed on disk or another project opened.

        The handler reads the disk and returns what the tab shows; with no project it returns the empty state.
        """
        gr.on(
            [self.version.change, self.items[step].select], handler, [self.key, *inputs], outputs,
            show_progress="hidden", queue=False, api_visibility="private",
        )  # fmt: skip

    def touch(self) -> dict[str, Any]:
        """Arguments of a `.then` or `.success` that tells every tab that something on disk changed."""
        return {
            "fn": lambda version: version + 1, "inputs": self.version, "outputs": self.version,
            "show_progress": "hidden", "queue": False, "api_visibility": "private",
        }  # fmt: skip

    def go(self, step: str) -> dict[str, Any]:
        """Arguments of a `.click` or `.then` that opens another step."""
        return {
            "fn": lambda: gr.Tabs(selected=step), "inputs": None, "outputs": self.tabs,
            "show_progress": "hidden", "queue": False, "api_visibility": "private",
        }  # fmt: skip
