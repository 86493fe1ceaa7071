"""The train step: one button by default, everything else under Advanced.

It starts and stops runs and follows the open one by its folder. The work itself is a job (`jobs`), which a closed page, a reload or a
restart of the server does not change, or goes on in slots of ZeroGPU (`gpu_runs`), each of which this page asks for. It knows nothing
about how a model learns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import slots, train
from pipeline.config import TrainConfig
from pipeline.errors import PipelineError, RunError
from pipeline.model import BaseModel, find_base, on_zero_gpu, recorded
from pipeline.runs import Run
from pipeline.ui import (
    account,
    base_choice,
    gpu_plan,
    gpu_runs,
    gpu_view,
    jobs,
    keep_panel,
    remote_panel,
    settings,
    train_view,
)
from pipeline.ui.base_choice import fetched
from pipeline.ui.due import Due
from pipeline.ui.jobs import Job
from pipeline.ui.session import Page, find_project, open_run, project_of, run_of, workspace
from pipeline.ui.state import known, next_title
from pipeline.ui.timings import guess, in_words
from pipeline.ui.widgets import count, door, empty, esc, facts, lead, note, pickable, picked

LEAD = "Training shows the base model your examples until it calls your functions by itself."
NOTHING = "A training needs examples. Open the sample or add examples of your own in the Dataset step, then come back."
GRACE = 300.0
"""Seconds a training gets to finish its step and save when it is stopped; a step of the 270M model takes up to 40 on a CPU, on a
busy machine several times that. Stopping once more ends it at once."""
COLOURS = {"training": "#2563eb", "validation": "#d97706"}
HIDE = gr.update(visible=False)
GPU, CPU = "gpu", "cpu"
PLACES = [("ZeroGPU", GPU), ("This Space's CPU", CPU)]
PLACE_HELP = "ZeroGPU lends a GPU for your daily GPU time; the CPU costs nothing and takes longer."


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    run_id = gr.State(None)
    # The run that the buttons stand beside; `run_id` may be the next one already.
    here = gr.Textbox("", visible="hidden", elem_classes="unseen")
    due, due_plan, news = Due(), Due(), gr.Number(0, visible="hidden", elem_classes="unseen")
    seen = gr.State(None)
    left = gr.State(None)
    timer = gr.Timer(1.0, active=False)
    lead(LEAD)
    nothing = gr.HTML(visible=False, elem_id="train-empty")
    to_dataset = gr.Button("Go to the dataset", visible=False, variant="primary", elem_id="train-to-dataset")

    with gr.Column(visible=False, elem_id="train-run") as run_part:
        state = gr.HTML(elem_id="train-state")
        away = remote_panel.away_part(page, run_id)
        with gr.Row(elem_classes="actions"):
            forward = gr.Button("See how well it does", variant="primary", visible=False, elem_id="train-next")
            resume = gr.Button("Continue", variant="primary", visible=False, elem_id="train-continue")
            on_cpu = gr.Button("Go on on the CPU", visible=False, elem_id="train-on-cpu")
            stop = gr.Button("Stop", visible=False, elem_id="train-stop")
            over = gr.Button("Start over", visible=False, elem_id="train-over")
        numbers = gr.HTML(elem_id="train-facts")
        plot = gr.LinePlot(
            x="step", y="loss", color="of", color_map=COLOURS, x_title="step", y_title="loss, lower is better",
            color_title=" ", height=260, visible=False, elem_id="train-loss", show_label=False, buttons=[],
        )  # fmt: skip
        samples = gr.HTML(elem_id="train-answers")
        with gr.Accordion("Log", open=False, visible=False, elem_id="train-log-part") as log_part:
            log = gr.Code(lines=8, max_lines=24, interactive=False, show_label=False, elem_id="train-log", wrap_lines=True)

    with gr.Column(visible=False, elem_id="train-setup") as setup:
        heading = gr.HTML('<h3 class="section">Train again</h3>', visible=False)
        preset = gr.Radio(settings.PRESET_CHOICES, value="standard", label="How much training", elem_id="train-preset")
        place = gr.Radio(PLACES, value=GPU, label="Where", info=PLACE_HELP, visible=on_zero_gpu(), elem_id="train-place")
        sentence = gr.HTML(elem_id="train-plan")
        start = gr.Button("Train", variant="primary", elem_id="train-start")
        fetching = gr.HTML(elem_id="train-fetching")
        with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
            base = base_choice.dropdown()
            access = gr.HTML(elem_id="train-access")
            fields = settings.widgets()
        with gr.Accordion("The same as a command", open=False, elem_id="train-command-part"):
            command = gr.Code(language="shell", lines=2, interactive=False, show_label=False, elem_id="train-command", wrap_lines=True)
    earlier = pickable(elem_id="train-runs")

    # Each output is written by one event: which runs there are, what is known of the open one, the plan of the next.
    # The step before its panels: gradio's page asks the listeners of one change one after another, and theirs may wait for the Hub.
    around = [nothing, to_dataset, run_part, setup, heading, earlier, run_id]
    live = [here, state, forward, resume, on_cpu, stop, over, numbers, plot, samples, log_part, log, timer, seen, news]
    choices = [preset, base, *fields]
    shown = page.on_open("train", show, around, [run_id])
    keep_panel.build(page, run_id)
    with setup:
        remote_panel.offer(page, run_id, choices)

    shown.then(**due.again).then(**due_plan.again)
    shown.then(remote_panel.show_away, [page.key, run_id], away, show_progress="hidden")
    if on_zero_gpu():  # the Hub may take its time
        shown.then(ask_left, None, left, show_progress="hidden").then(**due_plan.again)
    due.on(timer.tick)
    due.asks(follow, [page.key, run_id, seen, left], live)
    news.change(**page.touch())
    due_plan.on(*(choice.change for choice in (place, *choices)))
    due_plan.asks(plan, [page.key, run_id, place, left, *choices], [sentence, command, start])
    base.input(base_choice.look, base, access, trigger_mode="always_last", show_progress="hidden")
    beginning = {"outputs": [run_id, fetching], "show_progress": "hidden"}
    start.click(begin, [page.key, place, left, *choices], **beginning).success(**page.touch())
    stop.click(halt, [page.key, here], None, show_progress="hidden").success(**due.again)
    resume.click(go_on, [page.key, here, left]).success(**page.touch())
    on_cpu.click(go_on_cpu, [page.key, here]).success(**page.touch())
    over.click(start_over, [page.key, here, place, left], **beginning).success(**page.touch())
    earlier.select(choose, [page.key, run_id], run_id, show_progress="hidden").success(**page.touch())
    forward.click(**page.go("evaluate"))
    to_dataset.click(**page.go("dataset"))


# -- what the page shows, from disk


@door
def show(key: Any, run_id: Any) -> list[Any]:
    """Which runs there are, and whether one can begin: the open run is the one chosen or else the newest."""
    project = find_project(key)
    run = open_run(key, run_id)
    opened = run.id if run else None
    keep = gr.skip() if opened == run_id else opened  # what a visitor has chosen meanwhile stays
    if project is None or (run is None and known(project) is None):
        return [gr.update(value=empty("No training yet", NOTHING), visible=True), gr.update(visible=True), HIDE, HIDE, HIDE, "", keep]
    busy = {one.id for one in project.runs() if _is_busy(one)}
    training = any(gpu_runs.phase(one) or _job(one) for one in project.runs())
    return [
        HIDE, HIDE, gr.update(visible=run is not None), gr.update(visible=not training), gr.update(visible=run is not None),
        train_view.run_list(project.runs(), opened, busy), keep,
    ]  # fmt: skip


@door
def ask_left(oauth: gr.OAuthToken | None) -> dict[str, Any] | None:
    """The GPU time that the visitor has left, as far as it can be known."""
    return gpu_plan.left_of(account.token(oauth))


@door
def plan(key: Any, run_id: Any, place: Any, left: Any, *choices: Any) -> tuple[str, str, dict[str, Any]]:
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
        lasts = _on_gpu(key, config, chosen, work, left) if on_zero_gpu() and place != CPU else f"{_on_cpu(work)}."
    except PipelineError as problem:
        return f'<p class="plan bad">{esc(problem)}</p>', "", gr.update(interactive=False, **button)
    text = f'<p class="plan">{count(steps, "step")} over {count(rows.train, "example")}, {esc(lasts)}</p>{settings.meaning(chosen)}'
    text += "".join(note(f"{issue.message[:1].upper()}{issue.message[1:]}. {issue.fix}") for issue in rows.scarcity)
    return text, settings.command(config, chosen), gr.update(interactive=True, **button)


def _on_gpu(key: Any, config: TrainConfig, chosen: settings.Choices, work: tuple[str, float], left: Any) -> str:
    found = known(find_project(key))
    if found is None:
        raise RunError("There are no examples to train on. Add some in the Dataset step.")
    need, measured = gpu_plan.before(found.dataset, config, chosen, work, workspace().root)
    remaining = gpu_plan.read(left)
    return gpu_view.plan(slots.plan(need), slots.plan(need, remaining.seconds if remaining else None), remaining, measured)


def _on_cpu(work: tuple[str, float]) -> str:
    where = "on this Space's CPU" if on_zero_gpu() else "on this machine"
    if learnt := _line().expected(*work):
        return f"{in_words(learnt)} {where}"
    if guessed := guess(*work):
        return f"{in_words(guessed)}, going by the speed of this CPU"
    return "how long that takes shows after the first steps"


@door
def follow(key: Any, run_id: Any, seen: Any, left: Any) -> list[Any]:
    """What is known of the open run; one between two slots gets its next one."""
    run = open_run(key, run_id)
    if run is not None and gpu_runs.phase(run) == "between":
        remaining = gpu_plan.read(left)
        gpu_runs.keep_on(run, key["session"], *_gpu_work(run), remaining.seconds if remaining else None)
    return _live(run, seen)


def _live(run: Run | None, seen: Any) -> list[Any]:
    """The part that follows a run, in the order of `live` in `build`; `news` says that more than that has changed."""
    if run is None:
        return ["", "", HIDE, HIDE, HIDE, HIDE, HIDE, "", HIDE, "", HIDE, "", gr.Timer(active=False), None, gr.skip()]
    job, phase, status, log, away = _job(run), gpu_runs.phase(run), run.status, run.log(), train.is_away(run)
    working = job is not None or bool(phase)
    stopped = not working and not away and status in ("paused", "failed", "new")
    kept = bool(run.checkpoints())
    rows = train_view.curve(log)
    record = gpu_runs.record(run)
    now = (run.id, job.status if job else phase, status, record.slots)
    last = next(reversed(_line().of_run(run.path, "train")), None)
    failed = not working and not away and (status == "failed" or (last is not None and last.status == jobs.FAILED))
    forward, out_of_gpu = "Continue" if kept else "Start", record.refusal is not None
    resume = {"value": f"{forward} on ZeroGPU" if on_zero_gpu() else forward, "variant": "secondary" if out_of_gpu else "primary"}
    if remote_panel.is_given(run):  # going on in a Job comes first: what it has pushed is further
        resume = {"value": f"{forward} here instead", "variant": "secondary"}
    figures = train_view.step_facts(log, running=working or away) if log else []
    ending = phase == "stopping" or (job is not None and job.end_at)
    return [
        run.id,
        "" if remote_panel.is_given(run) else _state(run, job, last, phase, stopped and out_of_gpu and status != "failed"),
        gr.update(visible=status == "done" and not working),
        gr.update(visible=stopped, **resume),
        gr.update(visible=stopped and on_zero_gpu(), variant="primary" if out_of_gpu else "secondary", value=f"{forward} on the CPU"),
        gr.update(visible=working, value="Stop now" if ending else "Stop"),
        gr.update(visible=stopped and kept),
        facts([*figures, *gpu_view.slots_fact(record, gpu_runs.spent(run))]) if log else "",
        _curve(rows),
        train_view.trials(run.samples()),
        gr.update(visible=failed),
        train_view.failure_log(run, last) if failed else "",
        gr.Timer(active=working),
        now,
        time.time() if seen and seen[0] == run.id and seen != now else gr.skip(),
    ]


def _state(run: Run, job: Job | None, last: Job | None, phase: str, paused: bool) -> str:
    """What the open run is doing, in one line."""
    if phase:
        need, _, _ = _gpu_work(run)
        return gpu_view.state(run, phase, gpu_runs.record(run), gpu_runs.spent(run), slots.plan(need))
    if paused and job is None:
        work = settings.work_left(run)
        return gpu_view.paused(run, gpu_runs.record(run), _line().expected(*work) or guess(*work))
    return train_view.run_state(_line(), run, job, last)


def _gpu_work(run: Run) -> tuple[slots.Need, tuple[str, float], Path]:
    """What the run still needs, its kind and units for `timings`, and where those are."""
    timing, root = settings.work_left(run), workspace().root
    return gpu_runs.need(run, root, timing, lambda: gpu_plan.guess(run)), timing, root


def _curve(rows: list[dict[str, Any]]) -> Any:
    """The plot. Its title names the curves, and has to: gradio 6.31 draws a curve that was not there at first only if a text changes."""
    if len(rows) < 2:
        return HIDE
    import pandas  # half a second, and only a page with a curve needs it

    both = rows[-1]["of"] == "validation"
    title = "Training and validation loss" if both else "Training loss"
    return gr.update(value=pandas.DataFrame(rows), title=title, visible=True)


def _line() -> jobs.Line:
    return jobs.line_of(workspace().root)


def _job(run: Run) -> Job | None:
    """The job that trains this run now or will."""
    return next((job for job in _line().of_run(run.path, "train") if not job.over), None)


def _is_busy(run: Run) -> bool:
    """Whether something works on the run, here or elsewhere."""
    return train.is_away(run) or bool(gpu_runs.phase(run)) or any(not job.over for job in _line().of_run(run.path))


# -- what the buttons do


@door
def begin(key: Any, oauth: gr.OAuthToken | None, place: Any, left: Any, *choices: Any) -> Iterator[tuple[Any, str]]:
    """A new run with the settings as they stand: on ZeroGPU, or at the end of the line."""
    chosen = settings.read(choices)
    project = project_of(key)
    config, token = settings.config(chosen), account.token(oauth)
    if chosen.embedded:
        base = find_base()
    else:
        base = yield from fetched(lambda told: find_base(chosen.base, token, told, owner=account.is_owners()))
    yield _new_run(key, project.dataset_path, config, base, place, left), ""


@door
def start_over(key: Any, oauth: gr.OAuthToken | None, run_id: Any, place: Any, left: Any) -> Iterator[tuple[Any, str]]:
    """A new run with the settings and examples of this one; this one stays in the list."""
    old, token = run_of(key, run_id), account.token(oauth)
    base = yield from fetched(lambda told: recorded(old.base, token, owner=account.is_owners()))
    yield _new_run(key, old.path / "dataset", old.config, base, place, left), ""


def _new_run(key: Any, dataset: Path, config: TrainConfig, base: BaseModel, place: Any, left: Any) -> str:
    project = project_of(key)
    in_slots = on_zero_gpu() and place != CPU
    if in_slots and config.save_steps is None:
        config = replace(config, save_steps=slots.SAVE_STEPS)
    run = train.prepare(dataset, config, project.new_run_path(), base, title=next_title(project))
    if in_slots:
        _begin_slots(key, run, left)
    else:
        _submit(key, run)
    return run.id


def _begin_slots(key: Any, run: Run, left: Any) -> None:
    remaining = gpu_plan.read(left)
    gpu_runs.begin(run, key["session"], *_gpu_work(run), remaining.seconds if remaining else None)


@door
def go_on(key: Any, run_id: Any, left: Any) -> None:
    """From the last checkpoint."""
    if on_zero_gpu():
        _begin_slots(key, run_of(key, run_id), left)
    else:
        go_on_cpu(key, run_id)


@door
def go_on_cpu(key: Any, run_id: Any) -> None:
    """From the last checkpoint, as a job of this machine."""
    run = run_of(key, run_id)
    if gpu_runs.phase(run):
        raise RunError(f"{run.title} is on ZeroGPU now; stop it there first.")
    run.clear_stop()
    _submit(key, run)


def _submit(key: Any, run: Run) -> None:
    words = ["train", str(run.path / "dataset"), "--out", str(run.path)]
    _line().submit("train", key["session"], run.path, words, f"Training {run.title}", *settings.work_left(run))


@door
def halt(key: Any, run_id: Any) -> None:
    """Ask the training to finish its step and save; the second time, end it where it is."""
    run = run_of(key, run_id)
    job, phase = _job(run), gpu_runs.phase(run)
    if phase:
        gpu_runs.stop(run, now=phase == "stopping")
    if job is not None:
        if job.status == jobs.RUNNING:
            run.request_stop()
        _line().stop(job, within=GRACE if job.end_at is None else 0)


@door
def choose(key: Any, run_id: Any, event: gr.EventData) -> Any:
    """Open one of the earlier runs, or delete it."""
    verb, _, wanted = picked(event).partition(" ")
    run = run_of(key, wanted)
    if verb == "open":
        return run.id
    if _is_busy(run):
        raise RunError(f"{run.title} is being worked on. Stop that before deleting it.")
    run.delete()
    return None if run_id == wanted else gr.skip()
