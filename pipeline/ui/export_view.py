"""What an exported file, its check, its score and its inside look like: HTML from records, nothing read, nothing decided."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pipeline.durations import duration
from pipeline.evaluate import EvalReport
from pipeline.export import Artifact, compatibility
from pipeline.ui import jobs
from pipeline.ui.destinations import DESTINATIONS, Destination
from pipeline.ui.jobs import Job
from pipeline.ui.state import percent
from pipeline.ui.train_view import as_calls
from pipeline.ui.widgets import count, esc, facts, prose
from pipeline.ui.work_view import headline, size


def card_head(destination: Destination) -> str:
    """Whom a file is for, what it is, what it is good for."""
    return (
        f'<div class="card-head"><h2>{esc(destination.title)}</h2><p class="file">{esc(destination.file)}</p>'
        f"<p>{esc(destination.purpose)}</p></div>"
    )


def made(artifact: Artifact) -> str:
    """The check in one sentence, then checksum and differences for whoever wants them."""
    compared = artifact.details.get("comparison") or {}
    lost = compared.get("model_correct", 0) - compared.get("file_correct", 0)
    words = {0: "It gets exactly as many of them right as the model."}.get(
        lost, f"It gets {abs(lost)} {'fewer' if lost > 0 else 'more'} of them right than the model."
    )
    rows = "".join(
        f"<tr><td>{esc(one['request'])}</td><td>{as_calls(one['model'])}</td><td>{as_calls(one['file'])}</td></tr>"
        for one in compared.get("differences", [])
    )
    table = (
        f"<details><summary>{count(len(compared['differences']), 'answer differs', 'answers differ')}</summary>"
        f'<div class="scroll"><table class="plain"><thead><tr><th>Request</th><th>Model</th><th>File</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
        if rows
        else ""
    )
    said = [artifact.details.get("lengths", ""), *artifact.details.get("warnings", ())]
    more = "".join(f'<p class="quiet">{esc(sentence)}</p>' for sentence in said if sentence)
    return (
        f'<div class="made"><p class="verified">{esc(artifact.sentence)}</p><p class="quiet">Checked by running it. {esc(words)}</p>{table}'
        f'{more}<p class="sum"><span>SHA-256</span> <code>{esc(artifact.sha256)}</code></p></div>'
    )


def scored(report: EvalReport, tuned: EvalReport | None) -> str:
    """What a file is worth on all held-out rows, beside the model where that has been scored."""
    low, high = report.intervals["exact_match"]
    beside = f" The model itself: {percent(tuned.exact_match)}." if tuned else ""
    return (
        f'<p class="note scored"><b>{percent(report.exact_match)}</b> exactly right on {count(report.rows, "held-out row")}, '
        f"95% interval {percent(low)} to {percent(high)}.{esc(beside)}</p>"
    )


KINDS = {
    compatibility.RUNS: ("Runs", "good"), compatibility.SET: ("Set", ""), compatibility.NOT: ("Does not work", "bad"),
    compatibility.OPEN: ("Not known", ""),
}  # fmt: skip


def places(artifact: Artifact) -> str:
    """Where a file runs: places with their statements, each with its source; the first place is open."""
    first, *others = compatibility.places(artifact)
    return f'<div class="places">{_place(first, " open")}{"".join(map(_place, others))}</div>'


def _place(place: compatibility.Place, open: str = "") -> str:
    items = []
    for one in place.statements:
        word, kind = KINDS[one.kind]
        text = prose(one.text)
        source = esc(one.source)
        if "://" in one.source:
            source = f'<a href="{source}" target="_blank" rel="noopener noreferrer">{esc(urlsplit(one.source).netloc)}</a>'
        items.append(f'<li><em class="{kind}">{word}</em> {text} <small>{source}</small></li>')
    return f"<details{open}><summary>{esc(place.name)}</summary><ul>{''.join(items)}</ul></details>"


def history(made: Sequence[Job]) -> str:
    """Exports that are over, the newest first: when, what, what became of it, how long it took."""
    titles = {each.format: each.title for each in DESTINATIONS}
    rows = []
    for job in made:
        options = dict(zip(job.args[2::2], job.args[3::2], strict=False))
        format = options.get("--format", "")
        what = f"{titles.get(format, format)} <code>{esc(' '.join(filter(None, (format, options.get('--quantize')))))}</code>"
        what += " with turns" if "--wrap-turns" in options else ""
        ago = f"{duration(time.time() - job.ended)} ago" if job.ended else ""
        took = duration(job.ended - job.started) if job.started and job.ended else ""
        rows.append(f"<tr><td>{ago}</td><td>{what}</td><td>{esc(_outcome(job))}</td><td class=num>{took}</td></tr>")
    head = "<thead><tr><th>When</th><th>File</th><th>What became of it</th><th class=num>Took</th></tr></thead>"
    return f'<div class="scroll" tabindex="0"><table class="plain">{head}<tbody>{"".join(rows)}</tbody></table></div>' if rows else ""


def _outcome(job: Job) -> str:
    if job.status == jobs.CANCELLED:
        return "stopped"
    if job.status == jobs.FAILED:
        return job.error or "failed"
    file = next(iter((job.result or {}).get("artifacts", ())), {})
    identical, total = file.get("answers_identical"), file.get("answers_total")
    return f"{size(file['size'])}, {identical} of {total} answers identical" if "size" in file else "done"


def not_made(expected: float, seconds: str) -> str:
    """What is known of a file before it is made: its bytes, about, and a sentence on how long it takes."""
    return f'<p class="note">About {esc(size(expected))}. {esc(seconds)}</p>'


def inside(report: dict[str, Any], name: str) -> str:
    """What `pipeline.export.inspect` found in somebody's file."""
    model, tokens = report["model"] or {}, report["tokenizer"] or {}
    problems = "".join(f"<li>{esc(problem)}</li>" for problem in report["problems"])
    pairs = [
        ("Format", f".{report['format']}"), ("Size", size(report["size"])), ("Weights", str(model.get("quantization") or "unknown")),
        ("Cache", f"{model['cache_length']:,} tokens" if model.get("cache_length") else "unknown"),
        *([("Prompts are read", f"{max(model['prefill_lengths']):,} tokens at a time")] if model.get("prefill_lengths") else []),
        ("Tokenizer", f"{tokens['pieces']:,} pieces" if tokens.get("pieces") else str(tokens.get("kind", "none"))),
        ("Starts with", report["start_token"] or "nothing"), ("Stops at", ", ".join(report["stop_tokens"] or ["nothing"])),
    ]  # fmt: skip
    rows = "".join(f"<tr><td>{esc(one['name'])}</td><td class=num>{esc(size(one['size']))}</td></tr>" for one in report["sections"])
    head = "<thead><tr><th>Section</th><th class=num>Size</th></tr></thead>"
    words = f"{count(len(report['problems']), 'problem')} found." if problems else "No problem found."
    return (
        f'{headline(name, words, "bad" if problems else "good")}{f"<ul class=problems>{problems}</ul>" if problems else ""}{facts(pairs)}'
        f'<div class="scroll"><table class="plain">{head}<tbody>{rows}</tbody></table></div>'
        f'<p class="sum"><span>SHA-256</span> <code>{esc(report["sha256"])}</code></p>'
    )
