"""Training on Hugging Face Jobs, in the train step: hardware with its price, what it will cost, start; then the Job's state, cancel, fetch.

Two parts: `offer` among the settings of a new run, `away_part` beside the open run. Whose account pays is in `account`, what a Job is in
`pipeline.hub.remote`; the steps of a run that is away stand in its own journals, where the train step reads them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from pipeline import train
from pipeline.config import resolve
from pipeline.durations import duration
from pipeline.errors import HubError, PipelineError, RunError
from pipeline.hub import job_cost, job_fetch, job_logs, remote
from pipeline.hub.job_cost import Flavor
from pipeline.model import find_base
from pipeline.runs import Run
from pipeline.ui import account, remote_watch, settings
from pipeline.ui.due import Due
from pipeline.ui.errands import Errand
from pipeline.ui.session import TICK, Page, find_project, open_run, project_of, run_of
from pipeline.ui.state import known, next_title
from pipeline.ui.widgets import count, door, esc, note
from pipeline.ui.work_view import bar, headline

WHAT = "Rented hardware of Hugging Face, paid by the second from your account's credit. The Job goes on when this page is closed."
REMEMBERED = 600.0
"""Seconds for which the Hub's list of hardware counts."""
QUIET = {"show_progress": "hidden", "queue": False}
HIDE = gr.update(visible=False)
_flavors: tuple[float, list[Flavor]] = (0.0, [])
_lock = threading.Lock()


def offer(page: Page, run_id: Any, choices: list[Any]) -> None:
    """Place and wire the part that starts a new run in a Job; `choices` are the settings of the train step, as in `settings.read`."""
    due = Due()
    with gr.Accordion("Train on Hugging Face Jobs", open=False, elem_id="jobs-offer") as part:
        gr.HTML(f'<p class="quiet">{esc(WHAT)}</p>')
        hardware = gr.Dropdown([], label="Hardware", info="Prices are the Hub's, of today.", visible=False, elem_id="jobs-hardware")
        cost = gr.HTML(elem_id="jobs-cost")
        with gr.Row(elem_classes="actions"):
            start = gr.Button("Train in a Job", visible=False, elem_id="jobs-start")
            onward = gr.Button("Go on in a Job", visible=False, elem_id="jobs-onward")
    due.on(part.expand)
    due.on_if_asked(hardware.input, run_id.change, *(choice.change for choice in choices))
    due.asks(show_offer, [page.key, run_id, hardware, *choices], [hardware, cost, start, onward])
    start.click(begin, [page.key, hardware, *choices], [run_id, cost], show_progress="hidden").then(**page.touch()).then(**due.again)
    onward.click(hand_over, [page.key, run_id, hardware], cost, show_progress="hidden").then(**page.touch()).then(**due.again)


def away_part(page: Page, run_id: Any) -> list[Any]:
    """Place and wire the part that shows the Job of the open run; hidden for a run that never had one.

    Returns the outputs of `show_away`, to be called after the step has read the disk: as a second listener of the step's opening it
    made gradio 6.31 raise that again and again.
    """
    seen = gr.State("")
    timer = gr.Timer(2.0, active=False)
    with gr.Column(visible=False, elem_id="jobs-away") as part:
        state = gr.HTML(elem_id="jobs-state")
        with gr.Row(elem_classes="actions"):
            fetch = gr.Button("Fetch the result", variant="primary", visible=False, elem_id="jobs-fetch")
            again = gr.Button("Go on in another Job", variant="primary", visible=False, elem_id="jobs-again")
            cancel = gr.Button("Cancel the Job", visible=False, elem_id="jobs-cancel")
        with gr.Accordion("Log of the Job", open=False, visible=False, elem_id="jobs-log-part") as log_part:
            log = gr.Code(lines=8, max_lines=24, interactive=False, show_label=False, elem_id="jobs-log", wrap_lines=True)
    live = [part, state, fetch, again, cancel, log_part, log, timer, seen]
    run_id.change(show_away, [page.key, run_id], live, **QUIET)
    timer.tick(follow, [page.key, run_id, seen], live, **TICK)
    seen.change(**page.touch())
    for button, action in ((fetch, bring), (again, go_on), (cancel, end)):
        button.click(action, [page.key, run_id], state, show_progress="hidden").then(**page.touch())
    return live


# -- a new run


def flavors(token: str | None) -> list[Flavor]:
    """The Hub's hardware, remembered for a while: it is the same for everybody. Raises HubError."""
    global _flavors
    with _lock:
        asked, found = _flavors
        if not found or time.monotonic() - asked > REMEMBERED:
            found = job_cost.flavors(token)
            _flavors = (time.monotonic(), found)
    return found


@door
def show_offer(key: Any, oauth: gr.OAuthToken | None, run_id: Any, hardware: Any, *choices: Any) -> list[Any]:
    """What there is to choose from and what it would take and cost with the settings as they are; or why there is nothing."""
    try:
        found = flavors(account.need_token(oauth))
    except PipelineError as problem:
        return [HIDE, note(str(problem)), HIDE, HIDE]
    names = [one.name for one in found]
    proposed = {} if hardware in names else {"value": next((one.name for one in found if one.gpus), names[0] if names else None)}
    listed = gr.update(choices=[(one.sentence(), one.name) for one in found], **proposed, visible=True)
    return [listed, *_price(key, run_id, proposed.get("value", hardware), choices)]


def _price(key: Any, run_id: Any, hardware: Any, choices: Any) -> list[Any]:
    """The cost in words, and the two buttons: for a new run, and for the open one if it can go on in a Job."""
    text, start = _price_of_new(key, hardware, choices)
    run = open_run(key, run_id)
    if run is None or run.status == "done" or run.is_alive or remote.record(run) is not None:
        return [text, start, HIDE]
    try:
        sentence = job_cost.estimate(job_cost.work_of(run), _flavor(hardware)).sentence()
    except PipelineError:
        return [text, start, HIDE]
    text += f'<p class="quiet">Or {esc(run.title)}, from where it stopped: {esc(sentence)}.</p>'
    return [text, start, gr.update(visible=True, value=f"Go on with {run.title} in a Job")]


def _price_of_new(key: Any, hardware: Any, choices: Any) -> tuple[Any, Any]:
    try:
        chosen = settings.read(choices)
        found = known(find_project(key))
        if found is None or found.must_fix:
            raise RunError("The dataset has no examples yet, or problems that must be fixed in the Dataset step before training.")
        config = resolve(settings.config(chosen), chosen.embedded, settings.ANY_CONTEXT)
        flavor = _flavor(hardware)
        remote.shared_config(config, flavor.processes)
        work = job_cost.planned(found.dataset, config, chosen.embedded)
    except PipelineError as problem:
        return note(str(problem), "bad"), gr.update(visible=True, interactive=False)
    sentence = job_cost.estimate(work, flavor).sentence()
    several = f" on {flavor.gpus} GPUs together" if flavor.gpus > 1 else ""
    text = f'<p class="plan">{count(work.steps, "step")}{several}: {esc(sentence)}.</p>'
    return text, gr.update(visible=True, interactive=True)


def _flavor(name: Any) -> Flavor:
    """One of the flavors that were listed. Raises HubError for another."""
    found = next((one for one in _flavors[1] if one.name == name), None)
    if found is None:
        raise HubError("Choose the hardware first; close and open “Train on Hugging Face Jobs” to see what there is.")
    return found


@door
def begin(key: Any, oauth: gr.OAuthToken | None, hardware: Any, *choices: Any) -> Iterator[tuple[Any, Any]]:
    """A new run with the settings as they stand, pushed and started in a Job: its id, and how far that is."""
    token, project = account.need_token(oauth), project_of(key)
    chosen, made = settings.read(choices), []

    def work(progress: Callable[[float, str], None]) -> None:
        flavor = job_cost.flavor(token, str(hardware))
        base = find_base(chosen.base, token, progress)
        config, path = settings.config(chosen), project.new_run_path()
        remote.shared_config(resolve(config, base.embedded, base.context), flavor.processes)
        made.append(train.prepare(project.dataset_path, config, path, base, title=next_title(project)))
        remote.start(made[0], flavor, token, progress=progress)

    for said in _said(Errand(work)):
        yield (made[0].id if said == "" and made else gr.skip()), said


@door
def hand_over(key: Any, oauth: gr.OAuthToken | None, run_id: Any, hardware: Any) -> Iterator[str]:
    """The open run goes on in a Job, from its last checkpoint."""
    run, token = run_of(key, run_id), account.need_token(oauth)

    def work(progress: Callable[[float, str], None]) -> None:
        remote.start(run, job_cost.flavor(token, str(hardware)), token, progress=progress)

    yield from _said(Errand(work))


def _said(errand: Errand) -> Iterator[str]:
    """How far an errand is, then "" at its end. Raises PipelineError with its sentence if it failed."""
    for now in errand.watch():
        if not now.over.is_set():
            yield bar(now.fraction, now.message)
    yield ""
    if errand.error:
        raise PipelineError(errand.error)


# -- the open run


@door
def show_away(key: Any, run_id: Any) -> list[Any]:
    """The Job of the open run, as it was last heard of."""
    return _live(open_run(key, run_id))


@door
def follow(key: Any, oauth: gr.OAuthToken | None, run_id: Any, seen: Any) -> list[Any]:
    """The same, heard of now."""
    run, problem = open_run(key, run_id), ""
    if run is not None and (where := remote.record(run)) is not None and where.away:
        try:
            token = account.need_token(oauth)
            remote_watch.watch(run, token).look(token)
        except PipelineError as refused:
            problem = str(refused)
    return _live(run, seen, problem)


def is_given(run: Run) -> bool:
    """Whether the newest word on `run` is that of a Job whose result is not here."""
    where = remote.record(run)
    return where is not None and where.job is not None and not where.fetched and run.status != "done"


def _live(run: Run | None, seen: Any = "", problem: str = "") -> list[Any]:
    """The part of a run's Job, in the order of `live` in `away_part`."""
    where = remote.record(run) if run is not None else None
    if run is None or where is None or where.fetched or run.status == "done":
        return [HIDE, "", HIDE, HIDE, HIDE, HIDE, "", gr.Timer(active=False), _mark(run, where, seen)]
    watch = remote_watch.known(run)
    problem = problem or (watch.problem if watch is not None else None) or ""
    log = job_logs.log_file(run)
    ended = where.stage == "COMPLETED"
    return [
        gr.update(visible=True),
        _state(run, where, watch.doing if watch is not None else "", problem),
        gr.update(visible=where.away and ended),
        gr.update(visible=not where.away, value="Go on in another Job" if where.job else "Start the Job"),
        gr.update(visible=where.away and not ended),
        gr.update(visible=log.is_file()),
        log.read_text("utf-8", errors="replace")[-20_000:] if log.is_file() else "",
        gr.Timer(active=where.away),
        _mark(run, where, seen),
    ]


def _mark(run: Run | None, where: remote.Remote | None, seen: Any) -> Any:
    """Changes when the page around has something new to show: the train step then reads the run's journals again."""
    mark = f"{run.id} {where.stage} {where.away} {len(run.log())} {len(run.samples())}" if run is not None and where is not None else ""
    return mark if mark != seen else gr.skip()


def _state(run: Run, where: remote.Remote, doing: str, problem: str) -> str:
    """What the Job is doing, how far it is, what it costs, and where it can be seen."""
    kind = "bad" if where.stage in ("ERROR", "DELETED") else ""
    text = headline(f"{run.title} in a Hugging Face Job", remote.sentence(where), kind)
    log = run.log()
    if where.away and log and where.stage == "RUNNING":
        text += bar(log[-1].step / max(1, log[-1].total), f"Step {log[-1].step} of {log[-1].total}. {doing}".strip())
    elif where.away and doing and where.stage == "RUNNING":
        text += bar(0, doing)
    links = [f'<a href="{esc(link)}" target="_blank" rel="noopener">{words}</a>' for link, words in _links(where)]
    most = f"Ended after {duration(where.timeout)} in any case: at most {job_cost.bound(where.timeout * where.price / 3600)}."
    bounded = esc(most) if where.away else ""
    text += f'<p class="quiet">{" ".join(filter(None, [bounded, " · ".join(links)]))}</p>'
    return f'<div class="job">{text}{note(problem, "bad") if problem else ""}</div>'


def _links(where: remote.Remote) -> list[tuple[str, str]]:
    if not (where.url or "").startswith(("https://", "http://")):
        return []
    hub = where.url.partition("/jobs/")[0]
    return [(where.url, "The Job on the Hub"), (f"{hub}/{where.repo}", "Its repository")]


@door
def bring(key: Any, oauth: gr.OAuthToken | None, run_id: Any) -> Iterator[str]:
    """Fetch the result into the run."""
    run, token = run_of(key, run_id), account.need_token(oauth)

    def work(progress: Callable[[float, str], None]) -> None:
        remote.refresh(run, token)
        job_fetch.fetch(run, token, progress)

    yield from _said(Errand(work))


@door
def go_on(key: Any, oauth: gr.OAuthToken | None, run_id: Any) -> Iterator[str]:
    """Another Job on the same hardware, from the last checkpoint that was pushed."""
    run, token = run_of(key, run_id), account.need_token(oauth)
    where = remote.record(run)
    if where is None:
        raise RunError(f"{run.title} was never given to a Job.")

    def work(progress: Callable[[float, str], None]) -> None:
        remote_watch.forget(run)
        remote.start(run, job_cost.flavor(token, where.flavor), token, where.repo, progress)

    yield from _said(Errand(work))


@door
def end(key: Any, oauth: gr.OAuthToken | None, run_id: Any) -> str:
    """Cancel the Job."""
    run, token = run_of(key, run_id), account.need_token(oauth)
    remote.cancel(run, token)
    remote_watch.forget(run)
    return ""
