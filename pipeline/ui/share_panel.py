"""Share a demo, in the export step: one click makes a Space that holds the playground for the visitor's model; or its folder as a .zip.

The work goes on in a thread of this process (the visitor's token may not leave its memory) and is found again after a reload. What a demo
is and how it is pushed is `pipeline.hub.demo`; its .litertlm is made by a job first, if there is none.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import export, hub
from pipeline.errors import ExportError, PipelineError
from pipeline.hub import demo
from pipeline.hub.push import Existing
from pipeline.runs import Run
from pipeline.ui import account, jobs
from pipeline.ui.downloads import hand_over
from pipeline.ui.due import Due
from pipeline.ui.errands import EVERY, Errand
from pipeline.ui.jobs import Job
from pipeline.ui.push_panel import named, question
from pipeline.ui.session import SHOWING, Page, find_project, run_of, workspace
from pipeline.ui.state import trained_runs
from pipeline.ui.widgets import door, esc, note
from pipeline.ui.work_view import bar, headline, size

HEAD = """
<div class="card-head"><h2>Share a demo</h2><p>A page in your Hugging Face account, on which others try your model in their browser. It runs
on free hardware and holds the model's file, your functions and up to eight of your held-out requests.</p></div>
"""
PRIVATE = "Private: nobody else sees it"
PUBLIC = "Public: everybody sees it"
FIRST = "The .litertlm file is made first; that adds the time that the export takes."
ZIP = "The .zip needs no account."
NO_ZIP = "The .zip needs no account. Make the .litertlm file for it first, on the card “Android, iOS, desktop” above."
SAVE = "() => document.querySelector('#share-file').click()"
FILE = ("--format", "litertlm", "--quantize", "int8")
HIDE = gr.update(visible=False)

_errands: dict[str, Errand] = {}
"""Run folder -> what is being shared of it, or was last; results only, no token. Kept until the next one or the end of the process."""


def build(page: Page, run_id: gr.Dropdown) -> None:
    """Place the panel inside the export step, and wire it. `run_id` is the run that the step shows."""
    due, timer, shown, asked = Due(), gr.Timer(1.0, active=False), gr.State(None), gr.State(None)
    with gr.Column(elem_classes="card", elem_id="share", visible=False) as panel:
        gr.HTML(HEAD)
        with gr.Row():
            title = gr.Textbox(label="Title", info="What visitors read first.", max_length=80, min_width=200, elem_id="share-title")
            name = gr.Textbox(
                label="Name of the Space", info="In your account, or organization/name.", max_length=96, min_width=200,
                elem_id="share-name",
            )  # fmt: skip
            private = gr.Radio([(PRIVATE, True), (PUBLIC, False)], value=True, label="Who sees it", min_width=200, elem_id="share-who")
        state = gr.HTML(elem_id="share-state")
        with gr.Row(elem_classes="actions"):
            share = gr.Button("Share the demo", elem_id="share-go")
            confirm = gr.Button("Replace the files", variant="primary", visible=False, elem_id="share-confirm")
            back = gr.Button("Leave it as it is", visible=False, elem_id="share-back")
            publish = gr.Button("Let everybody see it", visible=False, elem_id="share-publish")
            take = gr.Button("Download it as a .zip", elem_id="share-zip")
        file = gr.DownloadButton("The folder", elem_id="share-file")  # clicked by SAVE, never seen
        with gr.Column(visible=False) as done:
            link = gr.HTML(elem_id="share-link")
            code = gr.Code(
                label="To show it inside another page", language="html", lines=1, interactive=False, show_line_numbers=False,
                wrap_lines=True, elem_id="share-embed",
            )  # fmt: skip

    live = [panel, title, name, state, share, confirm, back, take, done, link, publish, code, timer, shown]
    form = [page.key, run_id, title, name, private]
    due.on(page.ticks["export"].change, run_id.change, timer.tick, name.input)
    due.asks(show, [page.key, run_id, name, shown, asked], live)
    share.click(begin, form, asked, **SHOWING).success(**page.touch())
    confirm.click(overwrite, [*form, asked], asked, **SHOWING).success(**page.touch())
    back.click(lambda: None, None, asked, show_progress="hidden").then(**due.again)
    publish.click(let_everybody_see, [page.key, run_id], **SHOWING).success(**due.again)
    take.click(take_home, [page.key, run_id, title], file).success(None, None, None, js=SAVE)


@door
def show(key: Any, oauth: gr.OAuthToken | None, run_id: Any, name: Any, shown: Any, asked: Existing | None) -> list[Any]:
    """The panel for the run that is shown: nothing, the way to share, a question, how far it is, or where it can be seen.

    Title and name are proposed once a project: `shown` is the one for which they were.
    """
    project = find_project(key)
    runs = trained_runs(project)
    if not runs:
        return [HIDE, *[gr.skip()] * 11, gr.Timer(active=False), None]
    run = next((one for one in runs if one.id == run_id), runs[0])
    errand, made = _errands.get(str(run.path)), demo.shared(run)
    busy = errand is not None and not errand.over.is_set()
    file = demo.file_of(run)
    questioned = not busy and asked is not None and asked.repo == _repo(oauth, name)
    if busy:
        state = bar(errand.fraction, errand.message)
    elif questioned:
        state = question(asked, "Put the demo into it?")
    elif errand is not None and errand.error:
        state = headline("The demo was not shared", errand.error, "bad")
    else:
        state = _before(oauth, file)
    ready = not busy and account.token(oauth) is not None
    title, proposed = (gr.skip(), gr.skip()) if shown == project.id else (project.title, f"{hub.slug(project.title)}-demo")
    return [
        gr.Column(visible=True), title, proposed, state,
        gr.Button("Share it again" if made and not busy else "Share the demo", interactive=ready, visible=not questioned),
        gr.Button(visible=questioned), gr.Button(visible=questioned), gr.Button(interactive=file is not None),
        gr.Column(visible=made is not None), _link(made) if made else "", gr.Button(visible=bool(made and made.private and ready)),
        gr.Code(made.embed if made else "", visible=bool(made and not made.private)), gr.Timer(active=busy), project.id,
    ]  # fmt: skip


def _before(oauth: gr.OAuthToken | None, file: Any) -> str:
    """What is to be known before the click: why it cannot be shared, or how large it is."""
    try:
        account.need_token(oauth)
    except PipelineError as problem:
        return note(f"{problem} {ZIP if file else NO_ZIP}")
    return note(f"The model's file has {size(file.size)}." if file else FIRST)


def _link(made: demo.Shared) -> str:
    who = (
        "It is private: a private demo is seen by nobody else, and cannot be shown inside another page."
        if made.private
        else "Everybody can see it. Building it takes the Hub a minute or two the first time."
    )
    space, site = (f'<a href="{esc(one)}" target="_blank" rel="noopener">' for one in (made.url, made.site))
    return (
        f'<div class="headline good"><h3>{space}{esc(made.repo)}</a></h3><p>{esc(who)}</p>'
        f"<p>The page alone: {site}{esc(made.site)}</a></p></div>"
    )


def _repo(oauth: gr.OAuthToken | None, name: Any) -> str | None:
    """The Space that the form names; None if it names none."""
    try:
        return named(hub.account(account.token(oauth)), name)
    except PipelineError:
        return None


@door
def begin(key: Any, oauth: gr.OAuthToken | None, run_id: Any, title: Any, name: Any, private: Any) -> Existing | None:
    """Start sharing the demo of this run; where another Space, or one that was changed on the Hub, has its name, ask first."""
    run, token = _run(key, run_id), account.need_token(oauth)
    repo = hub.repo_id(hub.account(token), str(name or ""))
    there = demo.in_the_way(run, repo, token)
    if there is None:
        _start(key, run, token, repo, title, private, None)
    return there


@door
def overwrite(
    key: Any, oauth: gr.OAuthToken | None, run_id: Any, title: Any, name: Any, private: Any, asked: Existing | None
) -> None:
    """Start sharing into the Space that the question was about, as it was then."""
    run, token = _run(key, run_id), account.need_token(oauth)
    repo = hub.repo_id(hub.account(token), str(name or ""))
    if asked is None or asked.repo != repo:
        raise PipelineError("The name has changed since the question was asked. Share it once more.")
    _start(key, run, token, repo, title, private, asked.commit)


def _start(key: Any, run: Run, token: str, repo: str, title: Any, private: Any, parent: str | None) -> None:
    now = _errands.get(str(run.path))
    if now is not None and not now.over.is_set():
        raise PipelineError("This demo is being shared already; wait for the end.")
    job = _job_for_file(run, key["session"])

    def work(progress: Any) -> demo.Shared:
        if job is not None:
            _wait(job, lambda done, message: progress(0.5 * done, message))

        def rest(done: float, message: str) -> None:
            progress(0.5 + 0.5 * done, message)

        return demo.share(
            run, repo, token, private=private is not False, overwrite=parent is not None, parent=parent, title=str(title or ""),
            progress=rest,
        )  # fmt: skip

    _errands[str(run.path)] = Errand(work)


def _job_for_file(run: Run, session: str) -> Job | None:
    """The job in the machine's line that makes the .litertlm; None if that is there. Raises RunError where the line is full."""
    if demo.file_of(run) is not None:
        return None
    line, words = jobs.line_of(workspace().root), ("export", str(run.path), *FILE)
    job = next((one for one in line.of_run(run.path, "export") if one.args == words and not one.over), None)
    return job or line.submit("export", session, run.path, words, "Making the file for the demo", f"export {run.base['id']} litertlm", 1.0)


def _wait(job: Job, progress: Any) -> None:
    """Until the file is made. Raises ExportError if the job fails or is stopped."""
    line = jobs.line_of(workspace().root)
    while not job.over:
        said = line.progress(job)
        progress(said.fraction, f"Making the file first: {said.message}")
        time.sleep(EVERY)
        job = line.read(job.folder)
    if job.status != jobs.DONE:
        raise ExportError(job.error or "The file for the demo was not made, because its job was stopped.")


@door
def let_everybody_see(key: Any, oauth: gr.OAuthToken | None, run_id: Any) -> None:
    """Make the demo of this run public."""
    demo.publish(_run(key, run_id), account.need_token(oauth))


@door
def take_home(key: Any, run_id: Any, title: Any) -> str:
    """The demo's folder as one file, for this visitor only."""
    run = _run(key, run_id)
    if demo.file_of(run) is None:
        raise ExportError("The demo runs the .litertlm file. Make it first, on the card “Android, iOS, desktop” above.")
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        made = demo.write(run, Path(folder) / f"{export.file_name(run)}-demo", title=str(title or ""))
        return hand_over(made, key["session"], str(time.time_ns()))


def _run(key: Any, run_id: Any) -> Run:
    """The run that is shown: the chosen one, else the newest."""
    return run_of(key, run_id) if run_id else next(iter(trained_runs(find_project(key))), None) or run_of(key, run_id)
