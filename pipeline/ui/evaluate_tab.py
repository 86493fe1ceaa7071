"""The evaluate step: the base and the tuned model on the same held-out rows, by one button.

It starts jobs and shows the reports they leave in the run's folder. What makes an answer right is `pipeline.evaluate`.
"""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from pipeline.errors import RunError
from pipeline.evaluate import Comparison, EvalReport, compare, load_report
from pipeline.runs import Run
from pipeline.runtimes import RUNS
from pipeline.ui import evaluate_view, jobs, work_view
from pipeline.ui.due import Due
from pipeline.ui.jobs import Job
from pipeline.ui.session import Page, find_project, run_of, workspace
from pipeline.ui.state import held_out, trained_runs
from pipeline.ui.timings import guess, in_words
from pipeline.ui.widgets import count, door, empty, esc, lead

LEAD = "Evaluation asks the base and the tuned model the same held-out requests, which training never saw, and compares their calls."
NOTHING = "An evaluation compares a trained model with the one it came from. Train one first."
WHO = {"base": "the base model", "tuned": "the tuned model"}
HIDE = gr.update(visible=False)


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    due, due_rows, news = Due(), Due(), gr.Number(0, visible="hidden", elem_classes="unseen")
    seen = gr.State(None)
    timer = gr.Timer(1.0, active=False)
    lead(LEAD)
    nothing = gr.HTML(visible=False, elem_id="evaluate-empty")
    to_train = gr.Button("Go to training", variant="primary", visible=False, elem_id="evaluate-to-train")
    with gr.Column(visible=False) as body:
        run_id = gr.Dropdown([], label="Run", visible=False, elem_id="evaluate-run")
        state = gr.HTML(elem_id="evaluate-state")
        with gr.Row(elem_classes="actions"):
            forward = gr.Button("Make the file for your app", variant="primary", visible=False, elem_id="evaluate-next")
            talk = gr.Button("Talk to it", visible=False, elem_id="evaluate-talk")
            start = gr.Button("Evaluate", variant="primary", visible=False, elem_id="evaluate-start")
            stop = gr.Button("Stop", visible=False, elem_id="evaluate-stop")
        score = gr.HTML(elem_id="evaluate-score")
        with gr.Column(visible=False) as detail:
            tables = gr.HTML(elem_id="evaluate-tables")
            matrix = gr.HTML(elem_id="evaluate-confusion")
            with gr.Row(elem_classes="filter"):
                which = gr.Radio(list(evaluate_view.FILTERS), value="all", label="Rows", elem_id="evaluate-filter")
                tool = gr.Dropdown([("All tools", "")], value="", label="Tool", elem_id="evaluate-tool")
            rows = gr.HTML(elem_id="evaluate-rows")

    # Each output is written by one event: what the step shows, what follows the jobs, the rows of the filter.
    live, tick = [state, start, stop, forward, talk, timer, seen, news], page.ticks["evaluate"]
    shown = page.on_open("evaluate", show, [nothing, to_train, body, run_id, score, detail, tables, matrix, tool], [run_id, tool])
    shown.then(**due.again).then(**due_rows.again)
    run_id.input(None, tick, tick, js="(tick) => tick + 1")
    due.on(timer.tick)
    due.asks(follow, [page.key, run_id, seen], live)
    news.change(**page.touch())
    due_rows.on(which.input, tool.input)
    due_rows.asks(filter_rows, [page.key, run_id, which, tool], rows)
    start.click(begin, [page.key, run_id]).success(**due.again)
    stop.click(halt, [page.key, run_id]).success(**due.again)
    forward.click(**page.go("export"))
    talk.click(**page.go("playground"))
    to_train.click(**page.go("train"))


# -- what the page shows, from disk


@door
def show(key: Any, run_id: Any, tool: Any) -> list[Any]:
    """The trained runs and the results of the chosen one. The choices of a visitor stay as they are while there is what they name."""
    runs = trained_runs(find_project(key))
    if not runs:
        words = empty("Nothing to evaluate yet", NOTHING)
        return [gr.update(value=words, visible=True), gr.update(visible=True), HIDE, gr.update(), *_results(None, "")]
    run = _chosen(key, run_id)
    proposed = {} if run.id == run_id else {"value": run.id}
    picker = gr.update(choices=[(one.title, one.id) for one in runs], **proposed, visible=len(runs) > 1)
    return [HIDE, HIDE, gr.update(visible=True), picker, *_results(run, tool)]


@door
def follow(key: Any, run_id: Any, seen: Any) -> list[Any]:
    """What the models are being asked, in the order of `live` in `build`."""
    return _live(_chosen(key, run_id), seen)


@door
def filter_rows(key: Any, run_id: Any, which: Any, tool: Any) -> str:
    """The rows that the filter lets through."""
    run = _chosen(key, run_id)
    base, tuned = (load_report(run, on) if run else None for on in WHO)
    if tuned is None:
        return ""
    which = which if which in [name for _, name in evaluate_view.FILTERS] else "all"
    tool = tool if tool in [name for _, name in evaluate_view.tools_of(tuned)] else ""
    return evaluate_view.rows(evaluate_view.chosen(base, tuned, which, tool))


def _chosen(key: Any, run_id: Any) -> Run | None:
    """The run of this id, else the newest that is trained."""
    runs = trained_runs(find_project(key))
    return next((one for one in runs if one.id == run_id), runs[0] if runs else None)


def _live(run: Run | None, seen: Any) -> list[Any]:
    if run is None:
        return ["", HIDE, HIDE, HIDE, HIDE, gr.Timer(active=False), None, gr.skip()]
    history = _line().of_run(run.path, "evaluate")
    waiting = [job for job in history if not job.over]
    reports = [load_report(run, on) for on in WHO]
    whole = all(reports) and not waiting
    failed = next((job for job in reversed(history) if job.status == jobs.FAILED), None)
    if waiting:
        words = "".join(f'<p class="asked">{esc(job.title)}</p>{work_view.job_state(_line(), job)}' for job in waiting)
    elif failed and not whole:
        words = work_view.job_state(_line(), failed)
    elif whole:
        words = ""
    else:
        words = f'<p class="plan">{esc(_plan(run))}</p>'
    now = (run.id, *(f"{job.id} {job.status}" for job in history))
    return [
        words,
        gr.update(visible=not waiting, value="Evaluate again" if whole else "Evaluate", variant="secondary" if whole else "primary"),
        gr.update(visible=bool(waiting)), gr.update(visible=whole), gr.update(visible=whole), gr.Timer(active=bool(waiting)),
        now, time.time() if seen and seen[0] == run.id and seen != now else gr.skip(),
    ]  # fmt: skip


def _plan(run: Run) -> str:
    rows = len(held_out(run.dataset()))
    seconds = [_line().expected(*_work(run, on, rows)) or guess(*_work(run, on, rows)) for on in WHO]
    lasts = in_words(sum(seconds)) if all(seconds) else "how long that takes shows once it has begun"
    return f"Both models answer the {count(rows, 'held-out request')}: {lasts}."


def _results(run: Run | None, tool: Any) -> list[Any]:
    """The reports: score, detail, tables, matrix and the tools of the filter."""
    base, tuned = (load_report(run, on) if run else None for on in WHO)
    if tuned is None:
        return ["", HIDE, "", "", gr.update()]
    tools = evaluate_view.tools_of(tuned)
    proposed = {} if tool in [name for _, name in tools] else {"value": ""}
    return [
        evaluate_view.headline(base, tuned, _change(base, tuned)) + evaluate_view.files(_files(run, tuned)),
        gr.update(visible=True),
        f'<div class="pair">{evaluate_view.by_tool(base, tuned)}{evaluate_view.verdicts(base, tuned)}</div>',
        evaluate_view.confusion(tuned),
        gr.update(choices=tools, **proposed),
    ]


def _change(base: EvalReport | None, tuned: EvalReport) -> Any:
    return compare(base, tuned) if base else None


def _files(run: Run, tuned: EvalReport) -> list[tuple[EvalReport, Comparison]]:
    """The exported files that were scored, each beside the tuned model."""
    reports = [load_report(run, kind) for kind in RUNS]
    return [(report, compare(tuned, report)) for report in reports if report]


def _line() -> jobs.Line:
    return jobs.line_of(workspace().root)


def _work(run: Run, on: str, rows: int) -> tuple[str, float]:
    return f"evaluate {run.base['id']} {on}", rows


# -- what the buttons do


@door
def begin(key: Any, run_id: Any) -> None:
    """Let both models answer; a report that is there already is made anew only if both are."""
    run = run_of(key, run_id)
    rows = len(held_out(run.dataset()))
    missing = [on for on in WHO if load_report(run, on) is None] or list(WHO)
    if any(not job.over for job in _line().of_run(run.path, "evaluate")):
        raise RunError("This run is being evaluated already; its scores appear here.")
    for on in missing:
        words = ["evaluate", str(run.path), "--on", on]
        _line().submit("evaluate", key["session"], run.path, words, f"Asking {WHO[on]}", *_work(run, on, rows))


@door
def halt(key: Any, run_id: Any) -> None:
    """End what is being asked; reports that are there stay."""
    unfinished: list[Job] = [job for job in _line().of_run(run_of(key, run_id).path, "evaluate") if not job.over]
    for job in unfinished:
        _line().stop(job)
