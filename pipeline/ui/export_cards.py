"""The cards of the export step: one a destination, with what is known of its file on disk, while it is made and afterwards.

`place` puts a card's widgets into the page, `show` says what stands in them now. How a file is made, and when it is good, is decided in
`pipeline.export`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import RunError
from pipeline.evaluate import EvalReport, load_report
from pipeline.export import FOLDERS, Artifact, adapter, usage
from pipeline.runs import Run
from pipeline.runtimes import RUNS
from pipeline.ui import destinations, export_view, jobs, work_view
from pipeline.ui.destinations import Destination
from pipeline.ui.downloads import hand_over
from pipeline.ui.jobs import Job, Line
from pipeline.ui.timings import in_words

MAKE, SCORE = "export", "score"
"""Kinds of jobs: the making of a file, and its answers to all held-out rows."""
WRAP = "For the plain MediaPipe API"
WRAP_HELP = (
    "Off for Flutter, which writes the turns around a request itself. On, MediaPipe writes them around all that your app sends, functions "
    "included: not where the model saw those in training, so try it before you rely on it."
)
CODE = {"interactive": False, "show_label": False, "show_line_numbers": False, "wrap_lines": True}
HIDE = gr.update(visible=False)


@dataclass(frozen=True)
class Card:
    """The widgets of one card. `live` are those that `show` fills, in its order; `inputs` are what a visitor chose on it."""

    destination: Destination
    inputs: list[Any]
    live: list[Any]
    make: gr.Button
    stop: gr.Button
    score: gr.Button


LIVE = 9
"""How many values `show` returns."""
NOT_HERE = '<span class="not-here"></span>'
"""Hides the card that it stands in (work.css). Gradio 6.31 loses updates of what is inside a Column that the same event shows."""


def place(each: Destination) -> Card:
    """A card inside the current row."""
    name = f"export-{each.format}"
    with gr.Column(elem_classes="card", min_width=320, elem_id=name):
        gr.HTML(export_view.card_head(each))
        several = len(each.quantize) > 1
        choice = gr.Dropdown(
            list(each.quantize), value=each.quantize[0][1], label="Number format", visible=several, elem_id=f"{name}-quantize"
        )
        wrap = gr.Checkbox(label=WRAP, info=WRAP_HELP, visible=each.format == "task", elem_id=f"{name}-wrap")
        state = gr.HTML(elem_id=f"{name}-state")
        make = gr.Button("Make the file", visible=False, elem_id=f"{name}-make")
        stop = gr.Button("Stop", visible=False, elem_id=f"{name}-stop")
        download = gr.DownloadButton("Download", visible=False, elem_id=f"{name}-download")
        score = gr.Button("Score it on all held-out rows", size="sm", visible=False, elem_id=f"{name}-score")
        with gr.Accordion("How to load it", open=False, visible=False) as loading:
            snippet = gr.Code(language=each.language, **CODE)
        with gr.Accordion("Where it runs", open=False, visible=False) as where:
            places = gr.HTML(elem_id=f"{name}-places")
    return Card(each, [choice, wrap], [state, make, stop, download, score, loading, snippet, where, places], make, stop, score)


def words(each: Destination, chosen: Any, wrap: Any) -> tuple[str, ...]:
    """The words of the command that make a card's file, after the run. What is not on the card counts as its first choice."""
    names = [name for _, name in each.quantize]
    quantize = chosen if chosen in names else names[0]
    flags = ("--wrap-turns", "true") if wrap is True and each.format == "task" else ()
    return ("--format", each.format, *(("--quantize", quantize) if quantize else ()), *flags)


def file_of(files: Sequence[Artifact], each: Destination, asked: tuple[str, ...]) -> Artifact | None:
    """The newest of `files` that the command with the words `asked` makes."""

    def fits(one: Artifact) -> bool:
        same = "--quantize" not in asked or one.details["quantize"] == asked[3]
        return one.format == each.format and same and bool(one.details.get("wrap_turns")) == ("--wrap-turns" in asked)

    return next((one for one in reversed(files) if fits(one)), None)


def work(kind: str, run: Run, each: Destination) -> tuple[str, float]:
    """What the duration of making or scoring a file is proportional to."""
    rows = 1 if kind == MAKE else sum(example.split == "test" for example in run.dataset().examples)
    return f"{kind} {run.base['id']} {each.format}", float(rows)


def show(
    key: Any, run: Run, each: Destination, asked: tuple[str, ...], files: Sequence[Artifact], line: Line, history: Sequence[Job],
    first: bool,
) -> list[Any]:  # fmt: skip
    """The card's `live`: state, make, stop, download, score, loading, snippet, where, places.

    `asked` are the `words` of what is chosen on it, `files` the run's, `history` its jobs; the `first` card has the primary button.
    """
    rest = [HIDE, HIDE, HIDE, HIDE, "", HIDE, ""]
    if each.format == "adapter" and adapter.refusal(run):
        return [NOT_HERE, HIDE, *rest]
    file = file_of(files, each, asked)
    mine = [job for job in history if job.kind == MAKE and job.args[3] == each.format]
    if now := next((job for job in mine if not job.over), None):
        return [work_view.job_state(line, now), HIDE, gr.update(visible=True), *rest[1:]]
    last = next((job for job in reversed(mine) if job.args[2:] == asked), None)
    problem = work_view.job_state(line, last) if last and last.status in (jobs.FAILED, jobs.CANCELLED) else ""
    variant = "primary" if first else "secondary"
    if file is None:
        seconds = line.expected(*work(MAKE, run, each))
        time = f"Making and checking it takes {in_words(seconds)}." if seconds else "How long it takes shows once it is being made."
        size = destinations.expected_size(run, each.format, asked[3] if "--quantize" in asked else "")
        state = problem + export_view.not_made(size, time)
        return [state, gr.update(visible=True, variant=variant, value="Make the file"), *rest]
    worth, scoring, can_score = _scored(run, each, file, line, history)
    again = gr.update(visible=True, variant="secondary", value="Try again") if problem else HIDE
    copy = hand_over(Path(file.path), key["session"], _mark(file))
    return [
        problem + export_view.made(file) + worth, again, gr.update(visible=scoring),
        gr.update(visible=True, variant=variant, value=copy), gr.update(visible=can_score),
        gr.update(visible=True), usage.snippet(file), gr.update(visible=True), export_view.places(file),
    ]  # fmt: skip


def _scored(run: Run, each: Destination, file: Artifact, line: Line, history: Sequence[Job]) -> tuple[str, bool, bool]:
    """What the file is worth on all held-out rows: words, whether that is being found out, whether it can be."""
    if each.format not in RUNS:
        return "", False, False
    mine = [job for job in history if job.kind == SCORE and job.args[3] == file.path]
    if now := next((job for job in mine if not job.over), None):
        return work_view.job_state(line, now), True, False
    problem = work_view.job_state(line, mine[-1]) if mine and mine[-1].status == jobs.FAILED else ""
    report = _report(run, each.format)
    if report is None or report.model != Path(file.path).name or report.created < Path(file.path).stat().st_mtime:
        return problem, False, True
    return problem + export_view.scored(report, _report(run, "tuned")), False, bool(problem)


def _report(run: Run, on: str) -> EvalReport | None:
    try:
        return load_report(run, on)
    except RunError:  # damaged: as good as none
        return None


def _mark(file: Artifact) -> str:
    """Changes when what is handed out does: a folder's card may be newer than its weights."""
    card = Path(file.path) / "README.md"
    return f"{file.sha256} {card.stat().st_mtime_ns}" if file.format in FOLDERS and card.is_file() else file.sha256
