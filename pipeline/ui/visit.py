"""A public model of the Hub, opened by its name: `?model=user/name` in the address shows the playground on it and nothing else.

No account is needed, and none is used. The model belongs to a stranger: it runs in a process of its own, its texts are shown as texts. The
first page's third card leads here. What may be opened is decided in pipeline.hub.public.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import simulated
from pipeline.errors import PipelineError
from pipeline.hub import public
from pipeline.hub.public import PublicModel
from pipeline.ui import answers, solo
from pipeline.ui.errands import Errand
from pipeline.ui.session import workspace
from pipeline.ui.widgets import door, esc
from pipeline.ui.work_view import bar, headline

CARD = """
<div><h2>Open a model from the Hub</h2><p>Try a FunctionGemma model that somebody has made public there. Its name is enough; no account is
needed.</p></div>
"""
STRANGER = "It was made by the owner of that page, not by this studio: what it calls and says is theirs."
# The class hides the studio (visit.css); the address stays as it is, so that it can be passed on.
VISITING = "() => { if (new URL(window.location).searchParams.get('model')) document.body.classList.add('visiting'); }"
GO = """
(repo) => {
  const address = new URL(window.location);
  address.search = '';
  address.searchParams.set('model', repo);
  window.location.assign(address);
}
"""
HIDE = gr.Column(visible=False)


def card() -> None:
    """The third card of the first page, inside its column."""
    gr.HTML(CARD)
    name = gr.Textbox(label="Model on the Hub", placeholder="user/name", lines=1, max_lines=1, max_length=200, elem_id="visit-name")
    button = gr.Button("Open the model", elem_id="visit-open")
    gr.on([name.submit, button.click], clean, name, name, show_progress="hidden").success(None, name, None, js=GO)


def build(page: gr.Blocks) -> None:
    """Place the page of a visit, hidden without one, and wire it to the opening of the app."""
    with gr.Column(visible=False, elem_id="visit") as column:
        state = gr.HTML(elem_id="visit-state")
        which = gr.State(None)
        with gr.Column(visible=False) as inside:
            outputs = solo.build(find, which)
        gr.HTML('<p class="quiet visit-home"><a href="?">Train a model of your own, or open another one, in FunctionGemma Studio</a></p>')
    page.load(None, None, None, js=VISITING)
    page.load(open_asked, None, [column, state, inside, which, *outputs], show_progress="hidden", concurrency_limit=20)


@door
def clean(name: Any) -> str:
    """What was typed, as a name of the Hub."""
    return public.name_in(name)


@door
def open_asked(request: gr.Request) -> Iterator[list[Any]]:
    """Fetch the model of the address, if it names one, and show it or why not."""
    asked = request.query_params.get("model")
    none = solo.opened(None)
    if not asked:
        yield [HIDE, "", HIDE, None, *none]
        return
    show = gr.Column(visible=True)
    try:
        repo = public.name_in(asked)
    except PipelineError as problem:
        yield [show, headline("This model cannot be opened", str(problem), "bad"), HIDE, None, *none]
        return
    errand = Errand(lambda progress: public.fetch(repo, cache(), progress))
    for now in errand.watch():
        if not now.over.is_set():
            yield [show, bar(now.fraction, now.message), HIDE, None, *none]
    if errand.error:
        yield [show, headline(f"{repo} cannot be opened", errand.error, "bad"), HIDE, None, *none]
        return
    found: PublicModel = errand.result
    which = {"repo": found.repo, "commit": found.commit}
    yield [show, "", show, which, *solo.opened(find(which))]


def cache() -> Path:
    """Where fetched models are kept, for all visitors: they are public."""
    return workspace().root / "public-models"


def find(which: Any) -> solo.Model:
    """The model of this page. PipelineError if it is gone from the cache."""
    if not isinstance(which, dict):
        raise PipelineError("No model is open. Load the page again.")
    found = public.opened(which["repo"], which["commit"], cache())
    return solo.Model(
        title=found.repo.partition("/")[2], tools=found.tools, ask=lambda prompt: answers.written(found.source, prompt, apart=True),
        developer=found.developer, requests=found.requests, results=simulated.templates(found.tools), about=_about(found),
    )  # fmt: skip


def _about(found: PublicModel) -> str:
    runs = "its .litertlm, in LiteRT-LM" if found.source.suffix == ".litertlm" else "its weights, on this computer's CPU"
    return (
        f'<p class="lead">A public model of the Hub: <a href="{esc(found.page)}" target="_blank" rel="noopener">{esc(found.repo)}</a>. '
        f'{esc(STRANGER)}</p><p class="quiet">This page runs {esc(runs)}, {found.size / 1e6:,.1f} MB, as of commit '
        f"<code>{esc(found.commit[:12])}</code>.</p>"
    )
