"""What a job looks like: its place in the line, how far it is, why it failed. HTML from records, nothing read, nothing decided."""

from __future__ import annotations

import time

from pipeline.durations import duration
from pipeline.ui import jobs
from pipeline.ui.jobs import Job, Line
from pipeline.ui.timings import in_words
from pipeline.ui.widgets import count, esc, prose


def size(number: float) -> str:
    """Bytes as people read them: `9.1 MB`, `1.2 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def headline(title: str, text: str = "", kind: str = "") -> str:
    """What is going on, in one line and one sentence; kind "good" or "bad" marks it beside its words."""
    more = f"<p>{prose(text)}</p>" if text else ""
    return f'<div class="headline {esc(kind)}" role="status"><h3>{esc(title)}</h3>{more}</div>'


def bar(fraction: float, text: str) -> str:
    """A progress bar with its words."""
    percent = round(100 * min(1.0, max(0.0, fraction)))
    return (
        f'<div class="progress"><div class="progress-track" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" aria-label="Progress"><span style="width:{percent}%"></span></div>'
        f"<p>{esc(text)}</p></div>"
    )


def job_state(line: Line, job: Job) -> str:
    """A job's place in the line, how far it is, or why it failed; nothing once it is done."""
    if job.status == jobs.WAITING:
        ahead, seconds = line.ahead(job)
        if not ahead:
            return bar(0, "Starting")
        when = f"its turn comes in {in_words(seconds)}" if seconds is not None else "when its turn comes is not known yet"
        return bar(0, f"Waiting in line: {count(ahead, 'job')} before this one, {when}.")
    if job.status == jobs.RUNNING:
        if job.end_at is not None:
            return bar(line.progress(job).fraction, "Stopping")
        said = line.progress(job)
        left = f", {in_words(said.eta_seconds)} left" if said.eta_seconds is not None else ""
        since = f"{duration(time.time() - job.started)} so far" if job.started else ""
        return bar(said.fraction, f"{said.message[:1].upper()}{said.message[1:]}{left or (', ' + since if since else '')}")
    if job.status == jobs.FAILED:
        return headline(f"{job.title} failed", job.error or "", "bad")
    if job.status == jobs.CANCELLED:
        return headline(f"{job.title} was stopped", "Nothing half-made was kept.")
    return ""
