"""Keep a training on the Hub, in the train step: its checkpoints in a private repository of the visitor's, and back from there.

Pushes and fetches go on in threads of this process (the visitor's token may not leave its memory). What is kept and what is taken back is
`pipeline.hub.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from pipeline import hub
from pipeline.errors import PipelineError
from pipeline.hub import checkpoints
from pipeline.runs import Run
from pipeline.ui import account
from pipeline.ui.due import Due
from pipeline.ui.errands import Errand
from pipeline.ui.session import SHOWING, Page, find_project, open_run, project_of, run_of
from pipeline.ui.widgets import door, esc, note
from pipeline.ui.work_view import bar, headline

HEAD = """
<p>A machine's disk can be lost: a Space's is empty after every restart. A training that is not over can be kept in a private repository of
yours. It goes on from there, here or elsewhere, as if it had never been away.</p>
"""
ALL = "Each new checkpoint too, as long as it trains"

_errands: dict[str, Errand] = {}
"""Run folder -> its keeping; no token. Kept until the next one or the end of the process."""


def build(page: Page, run_id: gr.State) -> None:
    """Place the panel inside the train step, and wire it. `run_id` is the run that is open; a run that comes back is opened."""
    due, timer, shown = Due(), gr.Timer(2.0, active=False), gr.State(None)
    with gr.Accordion("Keep a training on the Hub, bring one back", open=False, visible=False, elem_id="keep") as panel:
        gr.HTML(HEAD)
        state = gr.HTML(elem_id="keep-state")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=280):
                name = gr.Textbox(label="Repository to keep it in", max_length=96, elem_id="keep-name")
                always = gr.Checkbox(True, label=ALL, elem_id="keep-always")
                keep = gr.Button("Keep this training", elem_id="keep-go")
            with gr.Column(min_width=280):
                source = gr.Textbox(
                    label="Repository to bring one back from", placeholder="your-name/lamp-training", max_length=96, elem_id="keep-from"
                )
                back = gr.Button("Bring it back", elem_id="keep-back")
                coming = gr.HTML(elem_id="keep-coming")

    due.on(page.ticks["train"].change, run_id.change, timer.tick)
    due.asks(show, [page.key, run_id, shown], [panel, state, name, keep, back, timer, shown])
    keep.click(begin, [page.key, run_id, name, always], **SHOWING).success(**due.again)
    back.click(bring_back, [page.key, source], [run_id, coming], **SHOWING).success(**page.touch())


@door
def show(key: Any, oauth: gr.OAuthToken | None, run_id: Any, shown: Any) -> list[Any]:
    """What can be kept of the run that is open, and how far it is kept. A name is proposed once a project: `shown` has had it."""
    project = find_project(key)
    if project is None:
        return [gr.Accordion(visible=False), *[gr.skip()] * 4, gr.Timer(active=False), None]
    run = open_run(key, run_id)
    errand = _errands.get(str(run.path)) if run else None
    busy = errand is not None and not errand.over.is_set()
    signed_in, why = _signed_in(oauth)
    fits = run is not None and run.status != "done" and run.last_checkpoint is not None
    return [
        gr.Accordion(visible=True), _state(errand, busy, why, run),
        gr.skip() if shown == project.id else f"{hub.slug(project.title)}-training",
        gr.Button(interactive=signed_in and fits and not busy), gr.Button(interactive=signed_in), gr.Timer(active=busy), project.id,
    ]  # fmt: skip


def _state(errand: Errand | None, busy: bool, why: str, run: Run | None) -> str:
    if busy:
        return bar(errand.fraction, errand.message)
    if errand is not None and errand.error:
        return headline("It was not kept", errand.error, "bad")
    if errand is not None and errand.result:
        link = f'<a href="{esc(errand.result.url)}" target="_blank" rel="noopener">{esc(errand.result.repo)}</a>'
        return f'<div class="headline good"><h3>Kept in {link}</h3><p>Private. Bring it back by that name.</p></div>'
    if why:
        return note(why)
    if run is None or run.last_checkpoint is None:
        return note("A training can be kept from its first checkpoint on, until it is done.")
    return note("It is done: push the result in the Export step." if run.status == "done" else "")


def _signed_in(oauth: gr.OAuthToken | None) -> tuple[bool, str]:
    try:
        account.need_token(oauth)
    except PipelineError as problem:
        return False, str(problem)
    return True, ""


@door
def begin(key: Any, oauth: gr.OAuthToken | None, run_id: Any, name: Any, always: Any) -> None:
    """Keep the run that is open, once or as long as it trains."""
    run, token = run_of(key, run_id), account.need_token(oauth)
    repo = hub.repo_id(hub.account(token), str(name or ""))
    now = _errands.get(str(run.path))
    if now is not None and not now.over.is_set():
        raise PipelineError("This training is being kept already.")
    how = checkpoints.keep if always is True else checkpoints.push_checkpoint
    _errands[str(run.path)] = Errand(lambda progress: how(run, repo, token, progress))


@door
def bring_back(key: Any, oauth: gr.OAuthToken | None, repo: Any) -> Iterator[list[Any]]:
    """Fetch a kept training into the open project, and open it."""
    project, token = project_of(key), account.need_token(oauth)
    path, owner = project.new_run_path(), account.is_owners()
    errand = Errand(lambda progress: checkpoints.fetch_run(str(repo or ""), token, path, progress, owner=owner))
    for at in errand.watch():
        yield [gr.skip(), bar(at.fraction, at.message)]
    if errand.error:
        yield [gr.skip(), ""]
        raise PipelineError(errand.error)
    yield [path.name, note("It is here. Continue goes on with it.")]
