"""The export step: one card a destination; each file is made and run by a job and offered only when its check has passed.

It starts jobs, follows them by the run's folder and hands out copies. How a file is made and when it is good is `pipeline.export`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import export
from pipeline.errors import PipelineError, RunError
from pipeline.export import Artifact, usage
from pipeline.runs import Run
from pipeline.ui import appkit_panel, destinations, export_view, jobs, share_panel, work_view
from pipeline.ui.destinations import DESTINATIONS, Destination
from pipeline.ui.downloads import hand_over
from pipeline.ui.jobs import Job
from pipeline.ui.session import Page, find_project, run_of, workspace
from pipeline.ui.state import trained_runs
from pipeline.ui.timings import in_words
from pipeline.ui.widgets import door, empty, lead

LEAD = "Export makes the file that your app loads, and runs it on held-out requests before you get it."
NOTHING = "A file is made of a trained model. Train one first; every destination is then one click away."
WRAP = "For the plain MediaPipe API"
WRAP_HELP = "The file then writes the turns around a request by itself. flutter_gemma writes them too: leave it off for that."
HIDE = gr.update(visible=False)
QUIET = {"show_progress": "hidden", "queue": False}
TICK = {"show_progress": "hidden", "concurrency_limit": 20}
"""Ticks go through the queue: outside it gradio 6.31 raises no change event of a State, and `seen` has to raise one."""
CODE = {"interactive": False, "show_label": False, "show_line_numbers": False, "wrap_lines": True}
SUFFIXES = [".litertlm", ".task", ".tflite", ".gguf"]


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    seen = gr.State("")
    timer = gr.Timer(1.0, active=False)
    lead(LEAD)
    nothing = gr.HTML(visible=False, elem_id="export-empty")
    to_train = gr.Button("Go to training", variant="primary", visible=False, elem_id="export-to-train")
    with gr.Column(visible=False, elem_id="export-cards") as cards:
        run_id = gr.Dropdown([], label="Run", elem_id="export-run", visible=False)
        choices, live, wired = [], [], []
        with gr.Row(elem_classes="cards export", equal_height=False):
            for each in DESTINATIONS:
                with gr.Column(elem_classes="card", min_width=320, elem_id=f"export-{each.format}"):
                    gr.HTML(export_view.card_head(each))
                    choice = gr.Dropdown(
                        list(each.quantize), value=each.quantize[0][1], label="Number format", visible=len(each.quantize) > 1,
                        elem_id=f"export-{each.format}-quantize",
                    )  # fmt: skip
                    if each.format == "task":
                        wrap = gr.Checkbox(label=WRAP, info=WRAP_HELP, elem_id="export-task-wrap")
                    state = gr.HTML(elem_id=f"export-{each.format}-state")
                    make = gr.Button("Make the file", elem_id=f"export-{each.format}-make")
                    stop = gr.Button("Stop", visible=False, elem_id=f"export-{each.format}-stop")
                    download = gr.DownloadButton("Download", visible=False, elem_id=f"export-{each.format}-download")
                    with gr.Accordion("How to load it", open=False, visible=False) as loading:
                        snippet = gr.Code(language=each.language, **CODE)
                choices.append(choice)
                live += [state, make, stop, download, loading, snippet]
                wired.append((each, choice, make, stop))
        appkit_panel.build(page, run_id)
        with gr.Accordion("Model card", open=False, visible=False, elem_id="export-card-part") as card_part:
            card = gr.Code(language="markdown", max_lines=30, **CODE)
            card_file = gr.DownloadButton("Download the model card", visible=False, elem_id="export-card-download")
        live += [card_part, card, card_file, timer, seen]
    share_panel.build(page, run_id)
    with gr.Accordion("Look into a file", open=False, elem_id="export-inspect"):
        dropped = gr.File(label="A .litertlm, .task, .tflite or .gguf file, 20 MB at most", file_types=SUFFIXES, height=120)
        gr.HTML('<p class="quiet">A larger one on your own machine: <code>python -m pipeline inspect FILE</code></p>')
        found = gr.HTML(elem_id="export-inspect-found")

    choices.append(wrap)
    page.on_open("export", show, [nothing, to_train, cards, run_id, *live], [run_id, *choices])
    timer.tick(follow, [page.key, run_id, seen, *choices], live, **TICK)
    seen.change(**page.touch())
    chosen = [run_id.input, *(choice.input for choice in choices)]
    gr.on(chosen, follow, [page.key, run_id, seen, *choices], live, trigger_mode="always_last", **QUIET)
    for each, choice, make, stop in wired:
        make.click(_maker(each), [page.key, run_id, choice, wrap]).success(**page.touch())
        stop.click(_stopper(each), [page.key, run_id]).success(**page.touch())
    to_train.click(**page.go("train"))
    dropped.change(look_into, dropped, found)


# -- what the page shows, from disk


@door
def show(key: Any, run_id: Any, *choices: Any) -> list[Any]:
    """Everything in the tab: the trained runs and, for the chosen one, every card."""
    runs = trained_runs(find_project(key))
    if not runs:
        words = empty("No files yet", NOTHING)
        return [gr.update(value=words, visible=True), gr.update(visible=True), HIDE, gr.update(), *_live(key, None, "", choices)]
    run = next((one for one in runs if one.id == run_id), runs[0])
    picker = gr.update(choices=[(one.title, one.id) for one in runs], value=run.id, visible=len(runs) > 1)
    return [HIDE, HIDE, gr.update(visible=True), picker, *_live(key, run, "", choices)]


@door
def follow(key: Any, run_id: Any, seen: Any, *choices: Any) -> list[Any]:
    """What changes while files are made."""
    run = next((one for one in trained_runs(find_project(key)) if one.id == run_id), None)
    return _live(key, run, seen, choices)


def _live(key: Any, run: Run | None, seen: Any, choices: Any) -> list[Any]:
    """Cards, model card, timer and mark, in the order of `live` in `build`."""
    if run is None:
        return [*([gr.update()] * (6 * len(DESTINATIONS) + 3)), gr.Timer(active=False), ""]
    files = export.artifacts(run.artifacts_path)
    history = _line().of_run(run.path, "export")
    *formats, wrap = choices
    shown, first = [], True
    for each, wanted in zip(DESTINATIONS, formats, strict=True):
        chosen = wanted if wanted in {name for _, name in each.quantize} else each.quantize[0][1]
        shown += _card(key, run, each, _words(each, chosen, wrap), files, history, primary=first)
        first = False
    unfinished = any(not job.over for job in history)
    mark = " ".join(f"{job.id}{job.status}" for job in history) + f"{len(files)}"
    return [*shown, *_model_card(key, run), gr.Timer(active=unfinished), mark if mark != seen else gr.skip()]


def _words(each: Destination, chosen: str, wrap: Any) -> tuple[str, ...]:
    """The words of the command that make a card's file, after the run."""
    words = ["--format", each.format, *(["--quantize", chosen] if chosen else [])]
    return (*words, *(["--wrap-turns", "true"] if wrap and each.format == "task" else []))


def _card(
    key: Any, run: Run, each: Destination, words: tuple[str, ...], files: list[Artifact], history: list[Job], primary: bool
) -> list[Any]:
    """State, make, stop, download, snippet's part, snippet of one card."""
    chosen = words[3] if len(words) > 3 else ""
    mine = [job for job in history if job.args[3] == each.format]
    job = next((one for one in mine if not one.over), None)
    file = next((one for one in reversed(files) if one.format == each.format and _made_by(one, words)), None)
    last = next((one for one in reversed(mine) if one.over and one.args[2:] == words), None)
    if job is not None:
        return [work_view.job_state(_line(), job), HIDE, gr.update(visible=True), HIDE, HIDE, ""]
    problem = work_view.job_state(_line(), last) if last and last.status in (jobs.FAILED, jobs.CANCELLED) else ""
    variant = "primary" if primary else "secondary"
    if file is None:
        seconds = _line().expected(*_work(run, each))
        time = f"Making and checking it takes {in_words(seconds)}." if seconds else "How long it takes shows once it is being made."
        state = problem + export_view.not_made(destinations.expected_size(run.model_path, chosen), time)
        return [state, gr.update(visible=True, variant=variant, value="Make the file"), HIDE, HIDE, HIDE, ""]
    return [
        problem + export_view.made(file), HIDE if not problem else gr.update(visible=True, variant="secondary", value="Try again"), HIDE,
        gr.update(visible=True, variant=variant, value=hand_over(Path(file.path), key["session"], file.sha256)), gr.update(visible=True),
        usage.snippet(file),
    ]  # fmt: skip


def _model_card(key: Any, run: Run) -> list[Any]:
    file = run.artifacts_path / "README.md"
    if not file.is_file():
        return [HIDE, "", HIDE]
    text = file.read_text("utf-8")
    return [gr.update(visible=True), text, gr.update(visible=True, value=hand_over(file, key["session"], str(file.stat().st_mtime_ns)))]


def _line() -> jobs.Line:
    return jobs.line_of(workspace().root)


def _made_by(file: Artifact, words: tuple[str, ...]) -> bool:
    """Whether a file is what this command makes."""
    same = "--quantize" not in words or file.details["quantize"] == words[3]
    return same and bool(file.details.get("wrap_turns")) == ("--wrap-turns" in words)


def _work(run: Run, each: Destination) -> tuple[str, float]:
    return f"export {run.base['id']} {each.format}", 1.0


# -- what the buttons do


def _maker(each: Destination) -> Any:
    @door
    def make(key: Any, run_id: Any, chosen: Any, wrap: Any) -> None:
        """Put the making of this file into the line."""
        run = run_of(key, run_id)
        names = {name for _, name in each.quantize}
        if chosen not in names:
            raise RunError(f"There is no number format {str(chosen)[:40]!r} for this file; choose one from the list.")
        words = ["export", str(run.path), *_words(each, chosen, wrap is True)]
        _line().submit("export", key["session"], run.path, words, f"Making the file for {each.title}", *_work(run, each))

    return make


def _stopper(each: Destination) -> Any:
    @door
    def stop(key: Any, run_id: Any) -> None:
        """End the making of this file; nothing half-made stays."""
        for job in _line().of_run(run_of(key, run_id).path, "export"):
            if not job.over and job.args[3] == each.format:
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
