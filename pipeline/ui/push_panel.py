"""Push to the Hub, in the export step: the run's model, files, dataset, scores and card into a repository of the visitor's.

The push goes on in a thread of this process (the visitor's token may not leave its memory) and is found again after a reload. A repository
that exists is changed only after a second click, and only as it was when the question was asked. What goes and how is `pipeline.hub.push`.

What the visitor sets is left alone: a name is proposed once a project, an owner where none is chosen; the ticks are the browser's own.
"""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from pipeline import hub
from pipeline.errors import PipelineError
from pipeline.hub import parcel
from pipeline.hub.push import Existing, Pushed, last, look
from pipeline.hub.push import push as push_run
from pipeline.runs import Run
from pipeline.ui import account
from pipeline.ui.due import Due
from pipeline.ui.errands import Errand
from pipeline.ui.export_cards import CODE
from pipeline.ui.session import SHOWING, Page, find_project, run_of
from pipeline.ui.state import trained_runs
from pipeline.ui.widgets import count, door, esc, note
from pipeline.ui.work_view import bar, headline, size

HEAD = """
<div class="card-head"><h2>Push to the Hub</h2><p>A repository in your Hugging Face account with what you made, and a model card that says
what it is. All of it arrives at once, or nothing does.</p></div>
"""
PRIVATE = "Private: nobody else sees it"
PUBLIC = "Public: everybody sees it"
PARTS = {
    "model": "Model, for Python and further training", "adapter": "LoRA adapter", "artifacts": "Exported files", "dataset": "Dataset",
    "report": "Scores",
}  # fmt: skip
STOPPING = "Stopping"
STOPPED = (
    "Nothing was written: the repository is as it was, or new and empty. What has arrived at the Hub is not sent again when you push again."
)
PER_VISITOR = 2
"""Pushes of one visitor that may be under way at once."""
HIDE = gr.update(visible=False)

_errands: dict[str, Errand] = {}
"""Run folder -> what is being pushed of it, or was last; no token. Kept until the next one or the end of the process."""


def build(page: Page, run_id: gr.Dropdown) -> None:
    """Place the panel inside the export step, and wire it. `run_id` is the run that the step shows."""
    due, due_card, timer, shown, asked = Due(), Due(), gr.Timer(1.0, active=False), gr.State(None), gr.State(None)
    with gr.Column(elem_classes="card", elem_id="push", visible=False) as panel:
        gr.HTML(HEAD)
        with gr.Row():
            owner = gr.Dropdown([], label="Owner", info="You, or an organization of yours.", min_width=160, elem_id="push-owner")
            name = gr.Textbox(
                label="Name of the repository", info="Letters, digits, - _ and .", max_length=90, min_width=200, elem_id="push-name"
            )
            private = gr.Radio([(PRIVATE, True), (PUBLIC, False)], value=True, label="Who sees it", min_width=200, elem_id="push-who")
        parts = gr.CheckboxGroup(
            [(words, part) for part, words in PARTS.items()], value=list(parcel.USUAL), label="What goes",
            info="The dataset holds every request that you wrote or imported.", elem_id="push-parts",
        )  # fmt: skip
        with gr.Accordion("Preview of the model card", open=False, elem_id="push-card") as preview:
            card = gr.Code(language="markdown", max_lines=24, **CODE)
        state = gr.HTML(elem_id="push-state")
        with gr.Row(elem_classes="actions"):
            push = gr.Button("Push to the Hub", elem_id="push-go")
            confirm = gr.Button("Replace the files", variant="primary", visible=False, elem_id="push-confirm")
            back = gr.Button("Leave it as it is", visible=False, elem_id="push-back")
            stop = gr.Button("Stop", visible=False, elem_id="push-stop")
        done = gr.HTML(elem_id="push-done")

    live = [panel, owner, name, parts, state, push, confirm, back, stop, done, timer, shown]
    form = [page.key, run_id, owner, name, private, parts]
    due.on(page.ticks["export"].change, run_id.change, timer.tick, owner.input, name.input, private.input, parts.input)
    due.asks(show, [*form, shown, asked], live)
    push.click(begin, form, asked, **SHOWING).success(**due.again)
    confirm.click(overwrite, [*form, asked], asked, **SHOWING).success(**due.again)
    back.click(lambda: None, None, asked, show_progress="hidden").then(**due.again)
    stop.click(halt, [page.key, run_id], None, **SHOWING).success(**due.again)
    due_card.on(preview.expand, parts.input, run_id.change)
    due_card.asks(card_of, [page.key, run_id, parts], card)


# -- what the panel shows


@door
def show(
    key: Any, oauth: gr.OAuthToken | None, run_id: Any, owner: Any, name: Any, private: Any, parts: Any, shown: Any, asked: Existing | None
) -> list[Any]:
    """The panel for the run that is shown: what can go where, a question, how far it is, or where it lies."""
    project = find_project(key)
    runs = trained_runs(project)
    if not runs:
        return [HIDE, *[gr.skip()] * 9, gr.Timer(active=False), None]
    run = next((one for one in runs if one.id == run_id), runs[0])
    errand, made, sizes = _errands.get(str(run.path)), last(run), parcel.available(run)
    busy = errand is not None and not errand.over.is_set()
    who, why = _who(oauth)
    owners = list(who.owners) if who else []
    wanted = [part for part in sizes if part in (parts if isinstance(parts, list) else ())]
    questioned = not busy and asked is not None and who is not None and asked.repo == named(who, name, owner)
    if busy:
        state = bar(errand.fraction, STOPPING if errand.stopping else errand.message)
    elif questioned:
        state = question(asked, "Push into it?")
    elif errand is not None and errand.stopped:
        state = headline("The push was stopped", STOPPED)
    elif errand is not None and errand.error:
        state = headline("It was not pushed", errand.error, "bad")
    else:
        state = note(why or _before(run, wanted, sizes))
    proposed = {} if owner in owners else {"value": _owner(owners, made)}
    return [
        gr.Column(visible=True), gr.Dropdown(choices=owners, **proposed, visible=len(owners) > 0, interactive=not busy),
        gr.skip() if shown == project.id else made.repo.partition("/")[2] if made else hub.slug(project.title),
        gr.CheckboxGroup([(f"{PARTS[part]}, {size(sizes[part])}", part) for part in sizes], interactive=not busy), state,
        gr.Button("Push again" if made else "Push to the Hub", interactive=bool(who and wanted), visible=not questioned and not busy),
        gr.Button(visible=questioned), gr.Button(visible=questioned), gr.Button(visible=busy, interactive=not (busy and errand.stopping)),
        _link(made) if made and not busy else "", gr.Timer(active=busy),
        project.id,
    ]  # fmt: skip


@door
def card_of(key: Any, run_id: Any, parts: Any) -> str:
    """The model card as it would be pushed."""
    run = next((one for one in trained_runs(find_project(key)) if one.id == run_id), None)
    return parcel.card(run, _parts(run, parts)) if run and parts else ""


def _who(oauth: gr.OAuthToken | None) -> tuple[hub.Account | None, str]:
    """Whose account it is; else None and why there is none, in words."""
    try:
        return hub.account(account.need_token(oauth)), ""
    except PipelineError as problem:
        return None, str(problem)


def _owner(owners: list[str], made: Pushed | None) -> str | None:
    """Whose account is proposed: the one of the last push, else the visitor's own."""
    before = made.repo.partition("/")[0] if made else None
    return before if before in owners else next(iter(owners), None)


def named(who: hub.Account, name: Any, owner: Any = None) -> str | None:
    """The repository that the form names; None if it names none."""
    try:
        return hub.repo_id(who, str(name or ""), str(owner) if owner else None)
    except PipelineError:
        return None


def _before(run: Run, parts: list[str], sizes: dict[str, int]) -> str:
    if not parts:
        return "Choose what goes."
    return f"{size(sum(sizes[part] for part in parts))} in all, with the card, its terms and your functions."


def question(there: Existing, asks: str) -> str:
    """What a repository holds that is in the way, and the question `asks` about it."""
    words = (
        f"It is {'private' if there.private else 'public'} and holds {count(len(there.files), 'file')}"
        f"{f', last changed on {there.changed} UTC' if there.changed else ''}. Files of the same name are replaced, others stay. What is "
        "replaced can be found in its history."
    )
    return headline(f"{there.repo} exists already. {asks}", words)


def _link(made: Pushed) -> str:
    where = f'<a href="{esc(made.url)}" target="_blank" rel="noopener">{esc(made.repo)}</a>'
    seen = "It is private: nobody else sees it." if made.private else "Everybody sees it."
    what = f"{count(len(made.files), 'file')}, {size(made.size)}, commit {made.commit[:8]}. {seen}"
    return f'<div class="headline good"><h3>{where}</h3><p>{esc(what)}</p></div>'


# -- what the buttons do


@door
def begin(
    key: Any, oauth: gr.OAuthToken | None, run_id: Any, owner: Any, name: Any, private: Any, parts: Any
) -> Existing | None:
    """Start the push into a new repository; for one that exists, ask first."""
    run, token = run_of(key, run_id), account.need_token(oauth)
    repo = hub.repo_id(hub.account(token), str(name or ""), str(owner) if owner else None)
    there = look(repo, token)
    if there is not None and not there.is_new:
        return there
    _start(key, run, token, repo, _parts(run, parts), private is not False, None)
    return None


@door
def overwrite(
    key: Any, oauth: gr.OAuthToken | None, run_id: Any, owner: Any, name: Any, private: Any, parts: Any, asked: Existing | None
) -> None:
    """Start the push into the repository that the question was about, as it was then."""
    run, token = run_of(key, run_id), account.need_token(oauth)
    repo = hub.repo_id(hub.account(token), str(name or ""), str(owner) if owner else None)
    if asked is None or asked.repo != repo:
        raise PipelineError("The name has changed since the question was asked. Push once more.")
    _start(key, run, token, repo, _parts(run, parts), private is not False, asked.commit)


@door
def halt(key: Any, run_id: Any) -> None:
    """End the push of this run before its commit, if that has not been made."""
    errand = _errands.get(str(run_of(key, run_id).path))
    if errand is not None:
        errand.stop()


def _start(key: Any, run: Run, token: str, repo: str, parts: tuple[str, ...], private: bool, parent: str | None) -> None:
    mine = os.path.join(str(run.path.parents[2]), "")
    under_way = [path for path, one in _errands.items() if not one.over.is_set() and path.startswith(mine)]
    if str(run.path) in under_way:
        raise PipelineError("This run is being pushed already; wait for the end.")
    if len(under_way) >= PER_VISITOR:
        raise PipelineError(f"{PER_VISITOR} pushes of yours are under way, the most at once; wait for one of them.")
    _errands[str(run.path)] = Errand(
        lambda progress: push_run(
            run, repo, token, include=parts, private=private, overwrite=parent is not None, parent=parent, progress=progress
        )
    )


def _parts(run: Run, parts: Any) -> tuple[str, ...]:
    """What a client sent, as parts that the run has: a tick for a part that is not there is not seen. Raises PipelineError."""
    there = parcel.available(run)
    if not isinstance(parts, list) or any(part not in parcel.PARTS for part in parts) or not set(parts) & set(there):
        raise PipelineError("Choose what is to be pushed.")
    return tuple(part for part in parcel.PARTS if part in parts and part in there)
