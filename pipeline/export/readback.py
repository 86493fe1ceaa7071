"""What an exported file holds, read back from it and held against what was meant to go in, before it is asked anything.

Settings one by one, the tokenizer on the dataset's own texts, the prompts that the file's template writes. Knows nothing of how the
file was made; its answers are verify.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import runtimes
from pipeline.errors import ExportError
from pipeline.export import containers, tokenizer
from pipeline.export.source import Source
from pipeline.functiongemma import BOS, render_prompt
from pipeline.tools import TRIGGER, ToolSpec

COMPARED_PROMPTS = 10
PLAIN = (
    [{"role": "developer", "content": TRIGGER}, {"role": "user", "content": "turn it red"}],
    [ToolSpec("turn", "Turn it", {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}).to_json()],
)
"""A conversation that every renderer can write."""


def require_settings(found: Mapping[str, Any], wanted: Mapping[str, tuple[Any, Any]], allowed: str | None = None) -> None:
    """Raises ExportError for the first of `wanted`, {what: (as read back, as intended)}, that differs, or for a problem that was found.

    `found` is the report of `inspect`; a problem that has the words `allowed` in it is meant to be there.
    """
    for what, (has, should) in wanted.items():
        if has != should:
            short = len(str(should)) + len(str(has)) < 400
            difference = f"should be {should}, found {has}" if short else "is not the one that was to go in"
            raise ExportError(f"The .{found['format']} came out wrong: its {what} {difference}; please report this.")
    problems = [problem for problem in found["problems"] if allowed is None or allowed not in problem]
    if problems:
        raise ExportError(f"The .{found['format']} came out wrong: {problems[0]}")


def same_tokenizer(file: Path, source: Source) -> dict[str, int]:
    """How many of the dataset's texts the tokenizer parsed back out of a bundle splits as in training: all, or ExportError."""
    return {"texts_split_alike": tokenizer.prove(containers.sentencepiece(file), source.checkpoint, source.texts())}


def same_prompts(source: Source, file: Path, runtime: str) -> dict[str, Any]:
    """How many of the dataset's prompts the template inside the file writes as in training, and a warning where it is not all.

    `runtime` is the name of what renders it. Templates run in another Jinja on phones, where a list as text gets other quotes, for
    instance: that is said, not refused. Raises ExportError if not even a plain conversation comes out as in training: the model would
    be asked in a form that it never saw.
    """
    rows = [row for row in source.requests(COMPARED_PROMPTS) if _is_plain(row.example.prompt)]
    conversations = [(row.example.prompt, [tool.to_json() for tool in source.dataset.tools_of(row.example)]) for row in rows]
    expected = [render_prompt(messages, tools, add_generation_prompt=True) for messages, tools in (PLAIN, *conversations)]
    made = runtimes.rendered(file, [PLAIN, *conversations])
    pairs = [(ours.removeprefix(BOS), theirs.removeprefix(BOS)) for ours, theirs in zip(expected, made, strict=True)]
    if pairs[0][0] != pairs[0][1]:
        ours, theirs = _where_they_part(*pairs[0])
        raise ExportError(f"The template in the file writes {theirs!r} where the model was trained on {ours!r}; mend chat_template.jinja.")
    other = [pair for pair in pairs[1:] if pair[0] != pair[1]]
    details: dict[str, Any] = {"prompts_equal": len(rows) - len(other), "prompts_total": len(rows)}
    if other:
        ours, theirs = _where_they_part(*other[0])
        details["warnings"] = [
            f"{runtime} writes {len(other)} of {len(rows)} prompts otherwise than in training, first {theirs!r} instead of {ours!r}; "
            "answers there may be worse than the model's."
        ]
    return details


def _is_plain(messages: Sequence[dict[str, Any]]) -> bool:
    """Words of a developer and a user only: how calls and results come back into a prompt is each runtime's own affair."""
    return messages[-1]["role"] == "user" and all(m["role"] != "tool" and isinstance(m.get("content"), str) for m in messages)


def _where_they_part(ours: str, theirs: str) -> tuple[str, str]:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return ours[max(0, at - 20) : at + 40], theirs[max(0, at - 20) : at + 40]
