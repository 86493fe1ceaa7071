"""Who is here and which project is open: two ids, nothing else.

The browser keeps both (gr.BrowserState) and sends them with every event; whoever knows a session's 128 random bits owns it, as with
a cookie. They are checked each time by `pipeline.runs`: a handler gets its project from `project_of(key)` and never joins a path
with a client's text itself. Everything else is read from disk when it is needed, so a reload, another tab or a restart of the
server finds the project again. This file knows nothing about what lies in the folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pipeline.errors import PipelineError, RunError
from pipeline.runs import Project, Run, Session, Workspace

STEPS = ("dataset", "train", "evaluate", "playground", "export")
MAX_PROJECTS = 50
_ID = re.compile(r"[0-9a-f]{32}")
SHOWING = {"show_progress": "hidden", "preprocess": False}
"""How a part of the page is asked to show itself: with what the browser holds. gradio would refuse an event that names a run, or a part of
one, which is no longer among the choices, and the page would stay as it was; the handlers judge what they get anyway. Such a handler writes
the value of a field only where it has to be another one: what a visitor has chosen since it was asked would be undone by its answer."""
TICK = {**SHOWING, "concurrency_limit": 20}
"""The same by a timer. Ticks go through the queue: outside it gradio 6.31 raises no change event of a State."""
NO_PROJECT = "No project is open. Open the sample or start one of your own on the first page."


def workspace() -> Workspace:
    """All visitors' folders."""
    return Workspace.of_server()


def find_session(key: Any) -> Session | None:
    """The visitor whose key the browser sent; None for a new one, or one whose folder is gone."""
    try:
        return workspace().session(key["session"]) if isinstance(key, dict) and key.get("session") else None
    except RunError:
        return None


def find_project(key: Any) -> Project | None:
    """The open project; None when none is open or the one named is not this visitor's."""
    session = find_session(key)
    try:
        return session.project(key["project"]) if session and key.get("project") else None
    except RunError:
        return None


def projects_of(key: Any) -> list[Project]:
    """The visitor's projects, newest first."""
    session = find_session(key)
    return session.projects() if session else []


def project_of(key: Any) -> Project:
    """The open project; PipelineError if there is none. Handlers that write start with this."""
    project = find_project(key)
    if project is None:
        raise PipelineError(NO_PROJECT)
    return project


def run_of(key: Any, run_id: Any) -> Run:
    """One of the open project's runs by the id that the browser sent; PipelineError if it is not one."""
    return project_of(key).run(run_id)


def open_run(key: Any, run_id: Any) -> Run | None:
    """The run that the train step shows: the chosen one, else the project's newest, else None."""
    project = find_project(key)
    if project is None:
        return None
    try:
        return project.run(run_id)
    except RunError:
        return next(iter(project.runs()), None)


def welcome(key: Any) -> dict[str, Any]:
    """The key to go on with: the ids of the one the browser kept that still name something.

    It is marked "lost", until there is a new project, where the browser was here before and its folder is gone.
    """
    session, project = find_session(key), find_project(key)
    found = {"session": session.id if session else None, "project": project.id if project else None}
    marked = isinstance(key, dict) and bool(key.get("lost"))
    if session is None:
        lost = marked or (isinstance(key, dict) and _ID.fullmatch(str(key.get("session"))))
    else:
        lost = marked and not session.projects()
    return {**found, "lost": True} if lost else found


def with_project(key: Any, project_id: Any) -> dict[str, Any]:
    """The key with another project open; with none, if this is none of the visitor's."""
    return welcome({**(key if isinstance(key, dict) else {}), "project": project_id})


def create_project(key: Any, title: str) -> dict[str, Any]:
    """A new, empty project, opened: the key that names it. A visitor's folder is made with the first one."""
    session = find_session(key) or workspace().create_session()
    if len(session.projects()) >= MAX_PROJECTS:
        raise PipelineError(f"There are {MAX_PROJECTS} projects already, the most one visitor may keep. Delete one first.")
    return {"session": session.id, "project": session.create_project(title).id}


# In the browser: which step is open, and counters whose change makes the page read the disk again. A gr.State's change event would do
# the same but fires again for every other event that is under way (gradio 6.31), so the page would be read several times over.
_STEP = f"""
const steps = {json.dumps(STEPS)}, asked = new URL(window.location).searchParams.get('tab');
window.studioStep ??= steps.includes(asked) ? asked : steps[0];
"""
TOUCH = f"(...ticks) => {{ {_STEP} return ticks.map((tick, i) => i === 0 || steps[i - 1] === window.studioStep ? tick + 1 : tick); }}"
OPENED = f"""
(page, tick) => {{
  {_STEP}
  const address = new URL(window.location);
  address.searchParams.set('tab', 'STEP');
  window.history.replaceState(null, '', address);
  if (window.studioStep === 'STEP') return [page, tick];
  window.studioStep = 'STEP';
  return [page + 1, tick + 1];
}}
"""


@dataclass(frozen=True)
class Page:
    """What the tabs share. A tab module has one function, `build(page)`, called inside its own gr.Tab.

    key      the visitor's and the open project's ids; the first input of every handler
    tabs     the five steps; ids as in STEPS
    ticks    counters that the browser counts up: the page's own ("page"), and each step's
    """

    key: gr.BrowserState
    tabs: gr.Tabs
    ticks: dict[str, gr.Number]
    items: dict[str, gr.Tab] = field(default_factory=dict)

    def on_open(self, step: str, handler: Callable[..., Any], outputs: Sequence[Any] | Any, inputs: Sequence[Any] = ()) -> Any:
        """Call `handler(key, *inputs)` when the step is opened, and when something changed on disk while it is open.

        Returns the event, for a `.then`.

        The handler reads the disk and returns what the tab shows; with no project it returns the empty state. Its inputs come as the
        browser sent them (SHOWING). Not through the queue: on a busy machine gradio 6.31 has lost answers that came by its stream, and
        the tab stayed empty.
        """
        tick, both = self.ticks[step], [self.ticks["page"], self.ticks[step]]
        self.items[step].select(None, both, both, js=OPENED.replace("STEP", step))
        return tick.change(handler, [self.key, *inputs], outputs, queue=False, **SHOWING)

    def touch(self) -> dict[str, Any]:
        """Arguments of a `.then` or `.success` after a handler that changed something on disk, or opened another project."""
        ticks = [self.ticks[name] for name in ("page", *STEPS)]
        return {"fn": None, "inputs": ticks, "outputs": ticks, "js": TOUCH}

    def go(self, step: str) -> dict[str, Any]:
        """Arguments of a `.click` or `.then` that opens another step."""
        return {"fn": lambda: gr.Tabs(selected=step), "inputs": None, "outputs": self.tabs, "show_progress": "hidden"}
