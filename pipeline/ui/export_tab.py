"""The export step: one card a destination; each file is made and run by a job and offered only when its check has passed.

It starts jobs, follows them by the run's folder and hands out copies. What a card shows is `export_cards`; the panels below the cards (app
kit, the Hub, a demo) are modules of their own and get the run that is chosen here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import export
from pipeline.errors import PipelineError, RunError
from pipeline.export import adapter, card
from pipeline.runs import Run
from pipeline.ui import appkit_panel, export_cards, export_view, jobs, push_panel, share_panel, work_view
from pipeline.ui.destinations import DESTINATIONS, Destination
from pipeline.ui.downloads import hand_over
from pipeline.ui.due import Due
from pipeline.ui.export_cards import CODE, HIDE, MAKE, SCORE
from pipeline.ui.session import Page, find_project, run_of, workspace
from pipeline.ui.state import trained_runs
from pipeline.ui.widgets import door, empty, lead, note

LEAD = "Export makes the file that your app loads, and runs it on held-out requests before you get it."
NO_ADAPTER = "A LoRA adapter alone comes from a training with the method lora: Train, Advanced."
NOTHING = "A file is made of a trained model. Train one first; every destination is then one click away."
SUFFIXES = [".litertlm", ".task", ".tflite", ".gguf"]


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    due, news = Due(), gr.Number(0, visible="hidden", elem_classes="unseen")
    seen = gr.State(None)
    timer = gr.Timer(1.0, active=False)
    lead(LEAD)
    nothing = gr.HTML(visible=False, elem_id="export-empty")
    to_train = gr.Button("Go to training", variant="primary", visible=False, elem_id="export-to-train")
    with gr.Column(visible=False, elem_id="export-cards") as body:
        run_id = gr.Dropdown([], label="Run", elem_id="export-run", visible=False)
        with gr.Row(elem_classes="cards export", equal_height=False):
            cards = [export_cards.place(each) for each in DESTINATIONS]
            appkit_panel.build(page, run_id)
        without = gr.HTML(elem_id="export-without")
        with gr.Row(elem_classes="cards online", equal_height=False):
            push_panel.build(page, run_id)
            share_panel.build(page, run_id)
        with gr.Accordion("Model card", open=False, visible=False, elem_id="export-card-part") as card_part:
            card_text = gr.Code(language="markdown", max_lines=30, **CODE)
            card_file = gr.DownloadButton("Download the model card", visible=False, elem_id="export-card-download")
        with gr.Accordion("Earlier exports", open=False, visible=False, elem_id="export-history") as history_part:
            history = gr.HTML()
    with gr.Accordion("Look into a file", open=False, elem_id="export-inspect"):
        dropped = gr.File(label="A .litertlm, .task, .tflite or .gguf file, 20 MB at most", file_types=SUFFIXES, height=120)
        gr.HTML('<p class="quiet">A larger one on your own machine: <code>python -m pipeline inspect FILE</code></p>')
        found = gr.HTML(elem_id="export-inspect-found")

    # Each output is written by one event: which runs there are, and what is known of the one that is chosen.
    on_cards = [part for one in cards for part in one.live]
    live = [*on_cards, without, card_part, card_text, card_file, history_part, history, timer, seen, news]
    chosen = [choice for one in cards for choice in one.inputs]
    page.on_open("export", show, [nothing, to_train, body, run_id], [run_id]).then(**due.again)
    due.on(timer.tick, run_id.input, *(choice.input for choice in chosen))
    due.asks(follow, [page.key, run_id, seen, *chosen], live)
    news.change(**page.touch())
    for one in cards:
        one.make.click(_maker(one.destination), [page.key, run_id, *one.inputs]).success(**due.again)
        one.score.click(_scorer(one.destination), [page.key, run_id, *one.inputs]).success(**due.again)
        one.stop.click(_stopper(one.destination), [page.key, run_id]).success(**due.again)
    to_train.click(**page.go("train"))
    dropped.change(look_into, dropped, found)


# -- what the page shows, from disk


@door
def show(key: Any, run_id: Any) -> list[Any]:
    """The trained runs to choose from. What a visitor has chosen stays while it is there."""
    runs = trained_runs(find_project(key))
    if not runs:
        return [gr.update(value=empty("No files yet", NOTHING), visible=True), gr.update(visible=True), HIDE, gr.update()]
    proposed = {} if run_id in [one.id for one in runs] else {"value": runs[0].id}
    picker = gr.update(choices=[(one.title, one.id) for one in runs], **proposed, visible=len(runs) > 1)
    return [HIDE, HIDE, gr.update(visible=True), picker]


@door
def follow(key: Any, run_id: Any, seen: Any, *chosen: Any) -> list[Any]:
    """What is known of the chosen run: cards, why there is no adapter, model card, history, timer and marks, as `live` in `build`."""
    runs = trained_runs(find_project(key))
    run = next((one for one in runs if one.id == run_id), runs[0] if runs else None)
    if run is None:
        return [*([gr.update()] * (export_cards.LIVE * len(DESTINATIONS) + 6)), gr.Timer(active=False), None, gr.skip()]
    model_card = _model_card(key, run)  # before the cards: what they hand out may hold it
    files = export.artifacts(run.artifacts_path)
    history = [job for job in _line().of_run(run.path) if job.kind in (MAKE, SCORE)]
    shown = []
    for number, each in enumerate(DESTINATIONS):
        asked = export_cards.words(each, *chosen[2 * number : 2 * number + 2])
        shown += export_cards.show(key, run, each, asked, files, _line(), history, first=number == 0)
    made = [job for job in reversed(history) if job.kind == MAKE and job.over]
    unfinished = any(not job.over for job in history)
    now = (run.id, len(files), *(f"{job.id} {job.status}" for job in history))
    return [
        *shown, note(NO_ADAPTER) if adapter.refusal(run) else "", *model_card, gr.update(visible=bool(made)), export_view.history(made),
        gr.Timer(active=unfinished), now, time.time() if seen and seen[0] == run.id and seen != now else gr.skip(),
    ]  # fmt: skip


def _model_card(key: Any, run: Run) -> list[Any]:
    """Its part, text and file, as new as the scores and files that it speaks of."""
    try:
        file = card.current(run)
    except PipelineError as problem:
        return [gr.update(visible=True), str(problem), HIDE]
    if file is None:
        return [HIDE, "", HIDE]
    mark = str(file.stat().st_mtime_ns)
    return [gr.update(visible=True), file.read_text("utf-8"), gr.update(visible=True, value=hand_over(file, key["session"], mark))]


def _line() -> jobs.Line:
    return jobs.line_of(workspace().root)


# -- what the buttons do


def _maker(each: Destination) -> Any:
    @door
    def make(key: Any, run_id: Any, chosen: Any, wrap: Any) -> None:
        """Put the making of this file into the line."""
        run = run_of(key, run_id)
        names = {name for _, name in each.quantize}
        if chosen not in names:
            raise RunError(f"There is no number format {str(chosen)[:40]!r} for this file; choose one from the list.")
        words = ["export", str(run.path), *export_cards.words(each, chosen, wrap)]
        _line().submit(MAKE, key["session"], run.path, words, f"Making the file for {each.title}", *export_cards.work(MAKE, run, each))

    return make


def _scorer(each: Destination) -> Any:
    @door
    def score(key: Any, run_id: Any, chosen: Any, wrap: Any) -> None:
        """Let the file that is shown answer all held-out rows."""
        run = run_of(key, run_id)
        file = export_cards.file_of(export.artifacts(run.artifacts_path), each, export_cards.words(each, chosen, wrap))
        if file is None:
            raise RunError("This file is no longer there; make it again.")
        words = ["evaluate", str(run.path), "--file", file.path]
        _line().submit(SCORE, key["session"], run.path, words, f"Scoring {Path(file.path).name}", *export_cards.work(SCORE, run, each))

    return score


def _stopper(each: Destination) -> Any:
    @door
    def stop(key: Any, run_id: Any) -> None:
        """End the making or the scoring of this file; nothing half-made stays."""
        for job in _line().of_run(run_of(key, run_id).path):
            about = {MAKE: job.args[3], SCORE: Path(job.args[3]).suffix[1:]}.get(job.kind) if len(job.args) > 3 else None
            if not job.over and about == each.format:
                _line().stop(job)

    return stop


@door
def look_into(path: Any) -> str:
    """What is inside a file that was dropped here."""
    if not path:
        return ""
    try:
        return export_view.inside(export.inspect(path), Path(path).name)
    except PipelineError as problem:
        return work_view.headline(Path(path).name, str(problem), "bad")
