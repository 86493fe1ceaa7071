"""The fourth step: talk to the base and to a trained model side by side, and see exactly what each wrote.

A handler unpacks, asks `answers` for one answer, and shapes it; what a reply means is decided in pipeline.functiongemma.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import functiongemma, jsontext
from pipeline import model as models
from pipeline.dataset import ToolDataset
from pipeline.errors import PipelineError
from pipeline.evaluate import model_path
from pipeline.examples import conversation, to_try, with_results
from pipeline.export import artifacts
from pipeline.runs import Project, Run
from pipeline.ui import answers, editing, tokens
from pipeline.ui.answer_view import MAX_REQUEST, WIRE, Answer, asked, checked_request, chips, kept, shown
from pipeline.ui.due import Due
from pipeline.ui.session import Page, find_project, project_of
from pipeline.ui.state import known, trained_runs
from pipeline.ui.widgets import door, empty, lead, legend, note, pickable, picked, token_text, typed

LEAD = "Type what a person would say, and see which call each model makes of it."
SUGGESTIONS = 8
NOTHING = empty("Nothing sent yet", "The text that the model was given stands here, cut into its tokens.")
NOT_YET = empty("Nothing sent yet", "What the model writes stands here, as a call and as the text that it is.")
WAITING = '<p class="note">Working. The first answer takes longer, because the model is loaded for it.</p>'
AS_FILE = "Ask the exported file"
AS_FILE_HELP = "The tuned answers then come from the newest .litertlm of this run, as they will on a phone."
UNTRAINED = empty("No trained model yet", "After training, its answer stands here beside the base's.")


def suggestions(project: Project | None) -> list[str]:
    """Held-out requests to try."""
    found = known(project)
    return to_try(found.dataset, SUGGESTIONS) if found else []


def _dataset(project: Project, run: Run | None) -> ToolDataset:
    """The tools and examples that a model is asked with: those it was trained on, else the project's."""
    if run:
        return run.dataset()
    found = known(project)
    if found is None:
        raise PipelineError("There are no tools yet. Add or import some in the Dataset step.")
    return found.dataset


def painted(answer: Answer, folder: str | Path) -> str:
    """The prompt and the answer, cut into the tokens of the model in `folder`."""
    pieces = [*tokens.pieces(answer.prompt, False, Path(folder)), *tokens.pieces(answer.text, True, Path(folder))]
    return f'{token_text(pieces)}{legend("written", "what the model wrote")}'


def exported(run: Run | None) -> Path | None:
    """The run's newest .litertlm, the file that the playground can ask instead of the checkpoint."""
    made = artifacts(run.artifacts_path) if run else []
    return next((Path(one.path) for one in reversed(made) if one.format == "litertlm"), None)


def _tuned(run: Run, as_file: Any) -> Path:
    """What answers for the trained model. PipelineError if the file was asked for and is gone."""
    file = exported(run) if as_file is True else None
    if as_file is True and file is None:
        raise PipelineError("There is no exported .litertlm of this run any more. Make it in the Export step, or turn the switch off.")
    return file or model_path(run, "tuned")


# -- handlers


@door
def show(key: Any, run_id: Any, shown_project: Any) -> list[Any]:
    """The suggestions and the runs to choose from; the newest is chosen. Another project starts without answers."""
    project = find_project(key)
    id = project.id if project else None
    other = shown_project not in (None, id)
    hide = gr.Code(visible=False)
    runs = trained_runs(project)
    known_run = run_id in [run.id for run in runs]
    choice = {} if known_run else {"value": runs[0].id if runs else None}
    has_tools = known(project) is not None
    return [
        chips(suggestions(project), "Requests that training does not see:"),
        gr.Dropdown(choices=[(run.title, run.id) for run in runs], visible=len(runs) > 1, **choice),
        gr.Textbox(interactive=has_tools, placeholder="turn on the kitchen light" if has_tools else "Add tools in the Dataset step first."),
        gr.Button(interactive=has_tools),
        gr.HTML("" if runs else UNTRAINED, visible=not runs),
        gr.Column(visible=bool(runs)),
        gr.Button("Next: export a file" if runs else "Next: train a model"),
        id,
        *(["", NOT_YET, hide, NOT_YET, hide, NOTHING, gr.Column(visible=False), "[]", "", "", hide, ""] if other else [gr.skip()] * 12),
    ]


@door
def ask(key: Any, request: str, run_id: Any, as_file: Any = False) -> Iterator[list[Any]]:
    """Base first, then tuned, each shown as soon as it is there."""
    project = project_of(key)
    request = checked_request(request)
    run = project.run(run_id) if run_id else next(iter(trained_runs(project)), None)  # Enter can be faster than the list of runs
    dataset = _dataset(project, run)
    messages, warning = conversation(request, dataset), functiongemma.spelled_tokens(request)
    blank = [gr.Column(visible=False), "", "", "", gr.Code(visible=False), ""]
    hide = gr.Code(visible=False)
    yield [WAITING, hide, WAITING if run else "", hide, NOTHING, *blank]
    try:
        base_folder = model_path(run, "base") if run else models.EMBEDDED
        base = answers.answer(base_folder, messages, dataset.tools)
        yield [*shown(base, warning), WAITING if run else "", hide, painted(base, base_folder), *blank]
        best = answers.answer(_tuned(run, as_file), messages, dataset.tools) if run else base
    except PipelineError as problem:
        yield [note(str(problem), "bad"), hide, "", hide, NOTHING, *blank]
        return
    calls = jsontext.dumps([call.to_json() for call in best.calls], indent=2)
    follow = [gr.Column(visible=True), calls, kept(request, best.calls), *blank[3:]]
    yield [*shown(base, warning), *(shown(best, warning) if run else ("", hide)), painted(best, base_folder), *follow]


@door
def reply_as_function(key: Any, result: str, run_id: Any, last: Any, as_file: Any = False) -> Iterator[tuple[str, Any]]:
    """What the model says when the function has answered."""
    project = project_of(key)
    request, calls = asked(last)
    if not calls:
        raise PipelineError("The last answer made no call, so there is nothing to answer. Send a request that leads to one.")
    if not (result := typed(result).strip()):
        raise PipelineError("Type what the function returns, for example: done")
    yield WAITING, gr.Code(visible=False)
    run = project.run(run_id) if run_id else None
    dataset = _dataset(project, run)
    messages = with_results(conversation(request, dataset), calls, [_result(result[:MAX_REQUEST])] * len(calls))
    yield shown(answers.answer(_tuned(run, as_file) if run else models.EMBEDDED, messages, dataset.tools))


def _result(text: str) -> Any:
    """What was typed as a function's result: the object that it spells, else the text itself."""
    try:
        found = jsontext.loads(text)
    except jsontext.JsonTextError:
        return text
    return found if isinstance(found, dict) else text


@door
def offer_file(key: Any, run_id: Any, as_file: Any) -> Any:
    """Whether the chosen run has a file that can be asked; the switch is turned off where there is none."""
    project = find_project(key)
    run = next((run for run in trained_runs(project) if run.id == run_id), None)
    there = exported(run) is not None
    return gr.Checkbox(visible=there, **({"value": False} if as_file is True and not there else {}))


@door
def choose(event: gr.EventData) -> str:
    """The request that was clicked."""
    return picked(event)


@door
def add_to_dataset(key: Any, calls: Any, words: Any, last: Any) -> str:
    """The last request with the calls and words as they were corrected, as one more example."""
    request, _ = asked(last)
    index = editing.put_example(project_of(key), request, typed(calls), typed(words))
    return note(f"Added as row {index + 1:,} of the dataset. It counts from the next training on.", "good")


# -- layout


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    quiet = {"show_progress": "hidden"}
    shown_project = gr.State(None)
    due = Due()
    # What the answers shown belong to; a gr.State may be of the next ones already.
    last = gr.Textbox("", visible="hidden", elem_classes="unseen")

    lead(LEAD)
    with gr.Row(elem_classes="ask-row"):
        request = gr.Textbox(label="Request", lines=1, max_lines=4, scale=4, min_width=240, elem_id="request")
        run_id = gr.Dropdown(label="Trained model", choices=[], visible=False, scale=1, min_width=160, elem_id="talk-run")
        send = gr.Button("Send", variant="primary", scale=0, min_width=120)
    as_file = gr.Checkbox(label=AS_FILE, info=AS_FILE_HELP, value=False, visible=False, elem_id="as-file")
    ideas = pickable()
    with gr.Row(elem_classes="halves"):
        with gr.Column(min_width=300, elem_id="base-answer"):
            gr.HTML('<h2 class="section">Base, before training</h2>')
            base_cards = gr.HTML(NOT_YET)
            base_raw = gr.Code(label="What it wrote", **WIRE)
        with gr.Column(min_width=300, elem_id="tuned-answer"):
            gr.HTML('<h2 class="section">Tuned, after training</h2>')
            untrained = gr.HTML()
            with gr.Column(visible=False) as tuned:
                tuned_cards = gr.HTML(NOT_YET)
                tuned_raw = gr.Code(label="What it wrote", **WIRE)
    with gr.Accordion("The prompt, token by token", open=False):
        prompt = gr.HTML(NOTHING)
    with gr.Column(visible=False) as after:
        with gr.Row(elem_classes="halves"):
            with gr.Column(min_width=300, elem_classes="sheet"):
                gr.HTML('<p class="section">Answer as the function</p>'
                        '<p class="quiet">Type what your function returns, and see what the model says to the person.</p>')  # fmt: skip
                result = gr.Textbox(label="The function returns", value='{"status": "done"}', lines=1)
                send_result = gr.Button("Send the result", size="sm")
                follow_cards = gr.HTML()
                follow_raw = gr.Code(label="What it wrote", **WIRE)
            with gr.Column(min_width=300, elem_classes="sheet"):
                gr.HTML('<p class="section">Wrong? Add it to the dataset</p>'
                        '<p class="quiet">Correct the calls; the next training learns from it.</p>')  # fmt: skip
                right_calls = gr.Code(
                    "[]", language="json", label="The calls it should make ([] for none)", lines=3, show_line_numbers=False
                )
                right_words = gr.Textbox(label="Answer in words, where no tool fits", lines=1)
                add, added = gr.Button("Add to the dataset", size="sm"), gr.HTML()
    with gr.Row(elem_classes="next"):
        forward = gr.Button("Next: export a file")

    outputs = [base_cards, base_raw, tuned_cards, tuned_raw, prompt, after, right_calls, last, follow_cards, follow_raw, added]
    choices = [ideas, run_id, request, send, untrained, tuned, forward]
    showing = page.on_open("playground", show, [*choices, shown_project, right_words, *outputs], [run_id, shown_project])
    showing.then(**due.again)
    due.on(run_id.input)
    due.asks(offer_file, [page.key, run_id, as_file], as_file)
    # One line for all visitors: two models at once are not faster on one machine, and each has its turn within a second or two.
    asking = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden"}
    gr.on([request.submit, send.click], ask, [page.key, request, run_id, as_file], outputs, **asking)
    ideas.select(choose, None, request, queue=False, **quiet).success(ask, [page.key, request, run_id, as_file], outputs, **asking)
    send_result.click(reply_as_function, [page.key, result, run_id, last, as_file], [follow_cards, follow_raw], **asking)
    add.click(add_to_dataset, [page.key, right_calls, right_words, last], added, **quiet).success(**page.touch())
    forward.click(lambda run: gr.Tabs(selected="export" if run else "train"), run_id, page.tabs, **quiet)
