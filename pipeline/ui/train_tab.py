"""The train step: one button by default, everything else under Advanced.

It starts and stops runs and follows the open one by its folder; the work itself is a job (`pipeline.ui.jobs`), so a closed page, a
reload or a restart of the server changes nothing. This file knows nothing about how a model learns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import train
from pipeline.config import TrainConfig
from pipeline.errors import PipelineError, RunError
from pipeline.model import BaseModel
from pipeline.runs import Project, Run
from pipeline.ui import jobs, remote_panel, settings, train_view
from pipeline.ui.jobs import Job
from pipeline.ui.session import Page, find_project, project_of, run_of, workspace
from pipeline.ui.state import known
from pipeline.ui.timings import guess, in_words
from pipeline.ui.widgets import count, door, empty, esc, facts, lead, pickable, picked

LEAD = "Training shows the base model your examples until it calls your functions by itself."
NOTHING = "A training needs examples. Open the sample or add examples of your own in the Dataset step, then come back."
GRACE = 90.0
"""Seconds a training gets to finish its step and save when it is stopped; a step of the 270M model takes up to 40 on a CPU."""
COLOURS = {"training": "#2563eb", "validation": "#d97706"}
QUIET = {"show_progress": "hidden", "queue": False}
TICK = {"show_progress": "hidden", "concurrency_limit": 20}
"""Ticks go through the queue: outside it gradio 6.31 raises no change event of a State, and `seen` has to raise one."""
HIDE = gr.update(visible=False)


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    run_id = gr.State(None)
    seen = gr.State("")
    due = gr.Number(0, visible="hidden")
    timer = gr.Timer(1.0, active=False)
    lead(LEAD)
    nothing = gr.HTML(visible=False, elem_id="train-empty")
    to_dataset = gr.Button("Go to the dataset", visible=False, variant="primary", elem_id="train-to-dataset")

    with gr.Column(visible=False, elem_id="train-run") as run_part:
        state = gr.HTML(elem_id="train-state")
        with gr.Row(elem_classes="actions"):
            forward = gr.Button("See how well it does", variant="primary", visible=False, elem_id="train-next")
            resume = gr.Button("Continue", variant="primary", visible=False, elem_id="train-continue")
            stop = gr.Button("Stop", visible=False, elem_id="train-stop")
            again = gr.Button("Start over", visible=False, elem_id="train-over")
        remote_panel.away_part(page, run_id)
        numbers = gr.HTML(elem_id="train-facts")
        plot = gr.LinePlot(
            x="step", y="loss", color="of", color_map=COLOURS, x_title="step", y_title="loss",
            color_title=" ", height=260, visible=False, elem_id="train-loss", show_label=False, buttons=[],
        )  # fmt: skip
        samples = gr.HTML(elem_id="train-answers")
        with gr.Accordion("Log", open=False, visible=False, elem_id="train-log-part") as log_part:
            log = gr.Code(lines=8, max_lines=24, interactive=False, show_label=False, elem_id="train-log", wrap_lines=True)

    with gr.Column(visible=False, elem_id="train-setup") as setup:
        heading = gr.HTML('<h3 class="section">Train again</h3>', visible=False)
        preset = gr.Radio(settings.PRESET_CHOICES, value="standard", label="How much training", elem_id="train-preset")
        sentence = gr.HTML(elem_id="train-plan")
        start = gr.Button("Train", variant="primary", elem_id="train-start")
        with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
            base = gr.Dropdown(settings.bases(), value=settings.EMBEDDED, label="base", info=settings.BASE_HELP, elem_id="train-base")
            fields = settings.widgets()
        with gr.Accordion("The same as a command", open=False, elem_id="train-command-part"):
            command = gr.Code(language="shell", lines=2, interactive=False, show_label=False, elem_id="train-command", wrap_lines=True)
    earlier = pickable(elem_id="train-runs")

    live = [state, forward, resume, stop, again, numbers, plot, samples, log_part, log, timer, seen]
    around = [nothing, to_dataset, run_part, setup, heading, earlier, run_id]
    choices = [preset, base, *fields]
    with setup:
        remote_panel.offer(page, run_id, choices)

    # One event for every plan, of what is chosen by then: two of them may answer in either order, and the older one would stay.
    changed, planned = [due.change, *(choice.change for choice in choices)], [sentence, command, start]
    page.on_open("train", show, [*around, *live], [run_id]).then(None, due, due, js="(due) => due + 1")
    timer.tick(follow, [page.key, run_id, seen], live, **TICK)
    seen.change(**page.touch())
    gr.on(changed, plan, [page.key, run_id, *choices], planned, trigger_mode="always_last", **QUIET)
    start.click(begin, [page.key, *choices], run_id).success(**page.touch())
    stop.click(halt, [page.key, run_id], live, show_progress="hidden")
    resume.click(go_on, [page.key, run_id]).success(**page.touch())
    again.click(start_over, [page.key, run_id], run_id).success(**page.touch())
    earlier.select(choose, [page.key, run_id], run_id, show_progress="hidden").success(**page.touch())
    forward.click(**page.go("evaluate"))
    to_dataset.click(**page.go("dataset"))


# -- what the page shows, from disk


@door
def show(key: Any, run_id: Any) -> list[Any]:
    """Everything in the tab but the plan: the open run or else the newest, the earlier runs."""
    project = find_project(key)
    run = open_run(key, run_id)
    if project is None or (run is None and known(project) is None):
        words = empty("No training yet", NOTHING)
        return [gr.update(value=words, visible=True), gr.update(visible=True), HIDE, HIDE, HIDE, "", None, *_live(None)]
    busy = {one.id for one in project.runs() if train.is_away(one) or any(not job.over for job in _line().of_run(one.path))}
    training = any(_job(one) for one in project.runs())
    return [
        HIDE, HIDE, gr.update(visible=run is not None), gr.update(visible=not training),
        gr.update(visible=run is not None),
        train_view.run_list(project.runs(), run.id if run else None, busy), run.id if run else None, *_live(run),
    ]  # fmt: skip


@door
def plan(key: Any, run_id: Any, *choices: Any) -> tuple[str, str, dict[str, Any]]:
    """What pressing the button would do: the sentence, the command, and whether it can be pressed."""
    button = {"visible": True, "variant": "secondary" if run_id else "primary"}
    try:
        chosen = settings.read(choices)
        config = settings.config(chosen)
        rows = settings.rows(find_project(key), config)
        if rows.blocking:
            raise RunError(f"{count(rows.blocking, 'problem')} must be fixed in the Dataset step before training.")
        steps = settings.steps(config, chosen, rows)
        work = settings.work(chosen.base, config, steps, rows.train, chosen.embedded)
    except PipelineError as problem:
        return f'<p class="plan bad">{esc(problem)}</p>', "", gr.update(interactive=False, **button)
    if learnt := _line().expected(*work):
        time = f"{in_words(learnt)} on this machine"
    elif guessed := guess(*work):
        time = f"{in_words(guessed)}, going by the speed of this CPU"
    else:
        time = "how long that takes shows after the first steps"
    text = f'<p class="plan">{count(steps, "step")} over {count(rows.train, "example")}, {time}.</p>{settings.meaning(chosen)}'
    return text, settings.command(config, chosen), gr.update(interactive=True, **button)


@door
def follow(key: Any, run_id: Any, seen: Any) -> list[Any]:
    """What changes while a run goes on."""
    return _live(open_run(key, run_id), seen)


def open_run(key: Any, run_id: Any) -> Run | None:
    """The run that was chosen, else the project's newest, else None."""
    project = find_project(key)
    if project is None:
        return None
    try:
        return project.run(run_id)
    except RunError:
        return next(iter(project.runs()), None)


def _live(run: Run | None, seen: Any = "") -> list[Any]:
    """The part that follows a run, in the order of `live` in `build`."""
    if run is None:
        return ["", HIDE, HIDE, HIDE, HIDE, "", HIDE, "", HIDE, "", gr.Timer(active=False), ""]
    job, status, log = _job(run), run.status, run.log()
    away = train.is_away(run)
    stopped = job is None and not away and status in ("paused", "failed", "new")
    kept = bool(run.checkpoints())
    rows = train_view.curve(log)
    mark = f"{run.id} {job.status if job else ''} {status}"
    last = next(reversed(_line().of_run(run.path, "train")), None)
    failed = job is None and not away and (status == "failed" or (last is not None and last.status == jobs.FAILED))
    return [
        "" if away else train_view.run_state(_line(), run, job, last),
        gr.update(visible=status == "done" and job is None),
        gr.update(visible=stopped, value="Continue" if kept else "Start"),
        gr.update(visible=job is not None, value="Stop now" if job and job.end_at else "Stop"),
        gr.update(visible=stopped and kept),
        facts(train_view.step_facts(log, running=job is not None or away)) if log else "",
        _curve(rows),
        train_view.trials(run.samples()),
        gr.update(visible=failed),
        train_view.failure_log(run, last) if failed else "",
        gr.Timer(active=job is not None),
        mark if mark != seen else gr.skip(),
    ]


def _curve(rows: list[dict[str, Any]]) -> Any:
    """The plot. Its title names the curves, and has to: gradio 6.31 draws a curve that was not there at first only if a text changes."""
    if len(rows) < 2:
        return HIDE
    import pandas  # half a second, and only a page with a curve needs it

    both = rows[-1]["of"] == "validation"
    title = "Loss in training and validation (lower is better)" if both else "Loss in training (lower is better)"
    return gr.update(value=pandas.DataFrame(rows), title=title, visible=True)


def _line() -> jobs.Line:
    return jobs.line_of(workspace().root)


def _job(run: Run) -> Job | None:
    """The job that trains this run now or will."""
    return next((job for job in _line().of_run(run.path, "train") if not job.over), None)


# -- what the buttons do


@door
def begin(key: Any, *choices: Any) -> str:
    """A new run with the settings as they stand, at the end of the line."""
    chosen = settings.read(choices)
    project = project_of(key)
    return _new_run(key, project.dataset_path, settings.config(chosen), chosen.base)


@door
def start_over(key: Any, run_id: Any) -> str:
    """A new run with the settings and examples of this one; this one stays in the list."""
    old = run_of(key, run_id)
    return _new_run(key, old.path / "dataset", old.config, BaseModel(**old.base))


def _new_run(key: Any, dataset: Path, config: TrainConfig, base: BaseModel | str) -> str:
    project = project_of(key)
    run = train.prepare(dataset, config, project.new_run_path(), base, title=_next_title(project))
    _submit(key, run)
    return run.id


def _next_title(project: Project) -> str:
    """`Run 4` after `Run 3`, also when runs in between were deleted."""
    numbers = [int(run.title[4:]) for run in project.runs() if run.title.startswith("Run ") and run.title[4:].isdecimal()]
    return f"Run {max(numbers, default=0) + 1}"


@door
def go_on(key: Any, run_id: Any) -> None:
    """From the last checkpoint."""
    run = run_of(key, run_id)
    run.clear_stop()
    _submit(key, run)


def _submit(key: Any, run: Run) -> None:
    words = ["train", str(run.path / "dataset"), "--out", str(run.path)]
    _line().submit("train", key["session"], run.path, words, f"Training {run.title}", *settings.work_left(run))


@door
def halt(key: Any, run_id: Any) -> list[Any]:
    """Ask the training to finish its step and save; the second time, end it where it is."""
    run = run_of(key, run_id)
    job = _job(run)
    if job is not None:
        if job.status == jobs.RUNNING:
            run.request_stop()
        _line().stop(job, within=GRACE if job.end_at is None else 0)
    return _live(run)


@door
def choose(key: Any, run_id: Any, event: gr.EventData) -> Any:
    """Open one of the earlier runs, or delete it."""
    verb, _, wanted = picked(event).partition(" ")
    run = run_of(key, wanted)
    if verb == "open":
        return run.id
    if train.is_away(run) or any(not job.over for job in _line().of_run(run.path)):
        raise RunError(f"{run.title} is being worked on. Stop that before deleting it.")
    run.delete()
    return None if run_id == wanted else run_id
