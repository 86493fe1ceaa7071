"""Coming back to an empty disk: says that the projects of the last visit are gone, and why; fetches a training that was kept on the Hub.

What is fetched, and what of it is believed, is `pipeline.hub.checkpoints`; that a visitor was here before is `session.welcome`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from pipeline import dataset
from pipeline.errors import PipelineError
from pipeline.hub import checkpoints
from pipeline.ui import account
from pipeline.ui.errands import Errand
from pipeline.ui.session import SHOWING, Page, create_project, find_project, project_of
from pipeline.ui.widgets import door, esc, typed
from pipeline.ui.work_view import bar

EMPTIED = (
    "This Space has restarted since your last visit, and a restart empties its disk: the projects you had here are gone. "
    "What you downloaded or pushed to the Hub is still yours."
)
MOVED = (
    "The projects of your last visit are no longer in this server's workspace folder. If it was started from another place since, start it "
    "from there again, or name the folder in STUDIO_WORKSPACE."
)


def build() -> tuple[gr.Column, gr.Textbox, gr.Button, gr.HTML]:
    """The notice, hidden until somebody comes back to nothing: the column, and what `wire` needs."""
    with gr.Column(visible=False, elem_classes="lost") as column:
        gr.HTML(f'<p role="status">{esc(EMPTIED if account.on_space() else MOVED)}</p>')
        with gr.Row(elem_classes="ask-row"):
            repo = gr.Textbox(
                label="Bring back a training that you kept on the Hub", placeholder="your-name/lamp-training", max_length=96, scale=1,
                min_width=220, elem_id="lost-repo",
            )  # fmt: skip
            back = gr.Button("Bring it back", scale=0, min_width=140, elem_id="lost-back")
        coming = gr.HTML()
    return column, repo, back, coming


def wire(page: Page, repo: gr.Textbox, back: gr.Button, coming: gr.HTML) -> None:
    """Let the button fetch into a project of its own, and open its Train step."""
    brought = gr.State(None)
    fetched = gr.on([back.click, repo.submit], bring_back, [page.key, repo], [page.key, coming, brought], show_progress="hidden")
    fetched.success(open_brought, [page.key, brought], [page.key, page.tabs], **SHOWING).then(**page.touch())


@door
def bring_back(key: Any, oauth: gr.OAuthToken | None, repo: Any) -> Iterator[tuple[Any, str, Any]]:
    """Fetch a kept training into a new project, with the dataset it learns from. Nothing is left of one that does not come.

    Who the visitor is from now on is said first: what they begin while it comes belongs to the same visitor.
    """
    token, owner = account.need_token(oauth), account.is_owners()
    name = typed(repo).strip()
    fresh = create_project(key, name.rpartition("/")[2] or "Brought back")
    project = project_of(fresh)
    yield {**fresh, "project": None, "lost": True}, "", None
    errand = Errand(lambda progress: checkpoints.fetch_run(name, token, project.new_run_path(), progress, owner=owner))
    for at in errand.watch():
        yield gr.skip(), bar(at.fraction, at.message), None
    if errand.error:
        project.delete()
        yield gr.skip(), "", None
        raise PipelineError(errand.error)
    dataset.save(errand.result.dataset(), project.dataset_path)
    yield gr.skip(), "", fresh


@door
def open_brought(key: Any, brought: Any) -> tuple[Any, Any]:
    """Open what has come, unless the visitor is in another project by now; then say where it is."""
    if find_project(key) is None:
        return brought, gr.Tabs(selected="train")
    gr.Info("The training that you brought back is here: choose its project at the top.")
    return gr.skip(), gr.skip()
