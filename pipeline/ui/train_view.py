"""What a training looks like: its state, loss curve, answers on the way, and the list of runs. HTML and rows made from records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pipeline import functiongemma
from pipeline.durations import duration
from pipeline.runs import Run, Sample, StepLog
from pipeline.train import is_away
from pipeline.ui import jobs
from pipeline.ui.jobs import Job, Line
from pipeline.ui.state import percent
from pipeline.ui.timings import in_words
from pipeline.ui.widgets import call_line, count, esc
from pipeline.ui.work_view import bar, headline, job_state, size

POINTS = 240
"""Points of a curve that are drawn; more cannot be told apart at the width of a page."""


def run_state(line: Line, run: Run, job: Job | None, last: Job | None) -> str:
    """What the open run is doing, in one line: `job` trains it now or will, `last` was its newest job."""
    info, status = run.info, run.status
    done, total = info["steps"], info["total_steps"]
    title = f'<h3 class="section">{esc(run.title)}</h3>'
    if job is not None and job.end_at is not None and job.status == jobs.RUNNING:
        return title + bar(done / total if total else 0, "Stopping after this step. What was learned so far is kept.")
    if job is not None:
        return title + job_state(line, job)
    if status == "done":
        loss = f", loss {info['final_loss']:.3f} at the end" if info["final_loss"] is not None else ""
        return headline(f"{run.title}: trained", f"{count(done, 'step')} in {duration(info['seconds'])}{loss}.", "good")
    if status == "training":
        return title + bar(done / total if total else 0, f"Step {done} of {total}, trained by another program on this machine.")
    if status == "failed" or (last is not None and last.status == jobs.FAILED):
        return headline(f"{run.title} failed", info["error"] or (last.error if last else "") or "", "bad")
    kept = run.last_checkpoint
    if kept is None:
        return headline(f"{run.title}: stopped before its first checkpoint", "It begins again from the base model.")
    return headline(f"{run.title}: stopped at step {done} of {total}", f"It goes on from step {kept.step}; nothing before it is lost.")


def failure_log(run: Run, last: Job | None, most: int = 20_000) -> str:
    """The end of what a failed training wrote."""
    files = [run.failure_log, *([last.log] if last else [])]
    texts = [file.read_text("utf-8", errors="replace") for file in files if file.is_file()]
    return "\n".join(texts)[-most:]


def curve(log: Sequence[StepLog]) -> list[dict[str, Any]]:
    """Rows of the loss curve, {"step", "loss", "of"}, thinned to POINTS training points; every validation point is kept."""
    training = [entry for entry in log if entry.loss is not None]
    every = max(1, -(-len(training) // POINTS))
    kept = [entry for n, entry in enumerate(training) if n % every == 0 or n == len(training) - 1]
    rows = [{"step": entry.step, "loss": entry.loss, "of": "training"} for entry in kept]
    return rows + [{"step": entry.step, "loss": entry.eval_loss, "of": "validation"} for entry in log if entry.eval_loss is not None]


def step_facts(log: Sequence[StepLog], running: bool = True) -> list[tuple[str, str]]:
    """The newest step as name and value with its unit; time is left only while it runs."""
    if not log:
        return []
    newest: dict[str, Any] = {}
    for entry in log[-20:]:
        newest |= {name: value for name, value in vars(entry).items() if value is not None}
    facts = [("Step", f"{newest['step']} of {newest['total']}")]
    if "loss" in newest:
        facts.append(("Loss, training", f"{newest['loss']:.3f}"))
    if "eval_loss" in newest:
        facts.append(("Loss, validation", f"{newest['eval_loss']:.3f}"))
    if "examples_per_second" in newest:
        facts.append(("Speed", f"{newest['examples_per_second']:.1f} examples/s"))
    if newest.get("eta") and running:
        facts.append(("Time left", in_words(newest["eta"])))
    if "memory" in newest:
        facts.append(("Memory", size(newest["memory"])))
    return facts


def as_calls(text: str) -> str:
    """A model's answer as its calls, its words, or the fact that it cannot be read."""
    reply = functiongemma.parse(text)
    parts = [call_line(call.name, call.arguments) for call in reply.calls]
    if reply.text.strip():
        parts.append(f'<div class="said">{esc(reply.text.strip())}</div>')
    if any(problem.raw for problem in reply.diagnostics) and not reply.calls:
        parts.append(f'<div class="unread">cannot be read: <code>{esc(text[:160])}</code></div>')
    return "".join(parts) or '<span class="quiet">nothing</span>'


def trials(samples: Iterable[Sample]) -> str:
    """Held-out requests with what was expected and what the model answered after each epoch, the newest first."""
    by_request: dict[str, list[Sample]] = {}
    for sample in samples:
        by_request.setdefault(sample.request, []).append(sample)
    cards = []
    for request, history in by_request.items():
        now, *before = reversed(history)
        earlier = "".join(f"<li><span>epoch {one.epoch:.3g}</span> <div>{as_calls(one.answer)}</div></li>" for one in before)
        cards.append(
            f'<article class="trial"><p class="request">{esc(request)}</p>'
            f"<dl><dt>wanted</dt><dd>{as_calls(now.expected)}</dd>"
            f"<dt>epoch {now.epoch:.3g}</dt><dd>{as_calls(now.answer)} {_mark(now)}</dd></dl>"
            + (f"<details><summary>Before ({len(before)})</summary><ol>{earlier}</ol></details>" if before else "")
            + "</article>"
        )
    title = '<p class="trials-title">Held-out requests that training never sees, answered after every epoch</p>'
    return f'{title}<div class="trials">{"".join(cards)}</div>' if cards else ""


def _mark(sample: Sample) -> str:
    wanted, got = functiongemma.parse(sample.expected), functiongemma.parse(sample.answer)
    same = [(c.name, c.arguments) for c in wanted.calls] == [(c.name, c.arguments) for c in got.calls]
    right = same and (bool(wanted.calls) or wanted.text.strip() == got.text.strip())
    return '<em class="good">as wanted</em>' if right else '<em class="bad">differs</em>'


STATUS_WORDS = {"new": "not started", "training": "training", "paused": "stopped", "done": "done", "failed": "failed"}


def run_line(run: Run, busy: bool = False) -> str:
    """What a run is, in a few words: status, steps, settings. `busy`: something works on it, or will."""
    info = run.info
    settings = run.config
    parts = [
        "in a Job" if is_away(run) else STATUS_WORDS[run.status],
        f"{info['steps']} of {info['total_steps']} steps",
        settings.method if settings.method == "lora" else "all weights",
        f"learning rate {settings.learning_rate:g}",
        f"loss {info['final_loss']:.3f}" if info["final_loss"] is not None else "",
        duration(info["seconds"]) if info["seconds"] else "",
    ]
    return " · ".join(part for part in parts if part)


def run_list(runs: Sequence[Run], chosen: str | None, busy: Collection[str] = ()) -> str:
    """The project's runs with their settings and scores; a click opens one, another deletes it unless it is `busy`."""
    items = []
    for run in runs:
        score, line = scores(run), run_line(run, run.id in busy)
        here = ' aria-current="true"' if run.id == chosen else ""
        title = esc(run.title)
        delete = (
            f'<button type="button" class="link" data-pick="delete {esc(run.id)}" aria-label="Delete {title}" '
            f'data-confirm="Delete {title} with its model and files? This cannot be undone.">Delete</button>'
        )
        items.append(
            f'<li{here}><button type="button" class="run" data-pick="open {esc(run.id)}"><b>{title}</b><span>{esc(line)}</span>'
            f"{f'<span>{esc(score)}</span>' if score else ''}</button>{'' if run.id in busy else delete}</li>"
        )
    return f'<h3 class="section">Runs</h3><ul class="runs">{"".join(items)}</ul>' if items else ""


def scores(run: Run) -> str:
    """`12% -> 94% exact` once both were evaluated; what there is of it before."""
    found = {on: report.get("exact_match") for on, report in _reports(run).items()}
    words = [f"{percent(found[on])}" for on in ("base", "tuned") if isinstance(found.get(on), int | float)]
    return " → ".join(words) + " exact match" if words else ""


def _reports(run: Run) -> dict[str, dict[str, Any]]:
    return {name.removesuffix("-test"): report for name, report in run.evaluations().items() if name.endswith("-test")}
