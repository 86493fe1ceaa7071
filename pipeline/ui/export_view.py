"""What an exported file, its check and its inside look like: HTML from records, nothing read, nothing decided."""

from __future__ import annotations

from typing import Any

from pipeline.export import Artifact
from pipeline.ui.destinations import Destination
from pipeline.ui.train_view import as_calls
from pipeline.ui.widgets import count, esc, facts
from pipeline.ui.work_view import headline, size


def card_head(destination: Destination) -> str:
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
    return (
        f'<div class="made"><p class="verified">{esc(artifact.sentence)}</p><p class="quiet">Checked by running it. {esc(words)}</p>{table}'
        f'<p class="sum"><span>SHA-256</span> <code>{esc(artifact.sha256)}</code></p></div>'
    )


def not_made(expected: float, seconds: str) -> str:
    return f'<p class="note">About {esc(size(expected))}. {esc(seconds)}</p>'


def inside(report: dict[str, Any], name: str) -> str:
    """What `pipeline.export.inspect` found in somebody's file."""
    model, tokens = report["model"] or {}, report["tokenizer"] or {}
    problems = "".join(f"<li>{esc(problem)}</li>" for problem in report["problems"])
    pairs = [
        ("Format", f".{report['format']}"), ("Size", size(report["size"])), ("Weights", str(model.get("quantization") or "unknown")),
        ("Cache", f"{model['cache_length']:,} tokens" if model.get("cache_length") else "unknown"),
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
