"""Makes .tflite, .litertlm and .task of a checkpoint, and proves each by running it, the bare .tflite in the interpreter.

All three hold the same model: the float32 conversion, the slow part, is done once and kept beside the artifacts under the hash of the
weights and the lengths. Decides what goes into which file; the heavy work is convert.py's and bundle.py's, in a child process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import child, runtimes
from pipeline.errors import ExportError
from pipeline.export import tokenizer
from pipeline.export.convert import RECIPES
from pipeline.export.inspect import inspect
from pipeline.export.source import Lengths, Row, Source
from pipeline.export.workplace import work_folder
from pipeline.files import exclusive
from pipeline.functiongemma import BOS, END_OF_TURN, EOS, START_RESPONSE, render_prompt
from pipeline.tools import TRIGGER, ToolSpec

FORMATS = ("litertlm", "task", "tflite")
STOPS = {"litertlm": (EOS, END_OF_TURN, START_RESPONSE), "task": (END_OF_TURN, START_RESPONSE)}
"""A .task stops where flutter_gemma expects it to. Never at <end_function_call>, which older guides name: it cuts parallel calls."""
SECONDS_PER_PARAMETER = 85 / 270e6
"""Of the conversion, on one core; small models take START_SECONDS anyway."""
START_SECONDS = 15
COMPARED_PROMPTS = 10
PLAIN = (
    [{"role": "developer", "content": TRIGGER}, {"role": "user", "content": "turn it red"}],
    [ToolSpec("turn", "Turn it", {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}).to_json()],
)
"""A conversation that every renderer can write."""


def make(
    source: Source, format: str, quantize: str, work: Path, cache: Path, progress: child.Progress, *, cache_length: int | None = None,
    wrap_turns: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """The file, in the folder `work`, and what to say about it. `cache` keeps the float32 conversion. Raises ExportError."""
    lengths = source.lengths(cache_length)
    pieces = work / "tokenizer.model"
    pieces.write_bytes(tokenizer.sentencepiece_model(source.checkpoint, source.texts()))
    tflite, out = work / "model.tflite", work / f"{source.name}-{quantize}.{format}"
    job: dict[str, Any] = {"quantize": quantize, "tflite": str(out if format == "tflite" else tflite)}
    if format != "tflite":
        job["bundle"] = {"format": format, "tflite": str(tflite), "tokenizer": str(pieces), "out": str(out)}
        job["bundle"] |= _settings(source, format, quantize, pieces.read_bytes(), lengths, wrap_turns)
    cache.mkdir(parents=True, exist_ok=True)
    # Another export of the run waits: it needs the same conversion, or would clear away the one that is being read.
    with exclusive(cache, lambda: progress(0.0, "Waiting for another export")):
        job["float32"] = str(_float32(source, lengths, cache, lambda fraction, message: progress(0.85 * fraction, message)))
        child.run("pipeline.export.convert", job, progress, f"Making the .{format}")
    found = inspect(out)
    _as_intended(found, pieces, lengths, quantize, wrap_turns)
    details = {
        "prefill_length": lengths.prefill, "cache_length": lengths.cache, "longest_prompt": lengths.longest_prompt,
        "longest_completion": lengths.longest_completion, "lengths": lengths.reason, "stop_tokens": found["stop_tokens"],
        "start_token": found["start_token"], "wrap_turns": wrap_turns,
    }  # fmt: skip
    return out, details | (_same_prompts(source, out) if format == "litertlm" else {})


def _same_prompts(source: Source, file: Path) -> dict[str, Any]:
    """How many of the dataset's prompts the template inside the file writes as in training, and a warning where it is not all.

    Templates run in another Jinja on phones, where a list as text gets other quotes, for instance: that is said, not refused.
    Raises ExportError if not even a plain conversation comes out as in training: the model would be asked in a form that it never saw.
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
            f"LiteRT-LM writes {len(other)} of {len(rows)} prompts otherwise than in training, first {theirs!r} instead of {ours!r}; "
            "answers there may be worse than the model's."
        ]
    return details


def _is_plain(messages: Sequence[dict[str, Any]]) -> bool:
    """Words of a developer and a user only: how calls and results come back into a prompt is each runtime's own affair."""
    return messages[-1]["role"] == "user" and all(m["role"] != "tool" and isinstance(m.get("content"), str) for m in messages)


def _where_they_part(ours: str, theirs: str) -> tuple[str, str]:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return ours[max(0, at - 20) : at + 40], theirs[max(0, at - 20) : at + 40]


def answers(source: Source, file: Path, rows: Sequence[Row], max_new_tokens: int, progress: child.Progress) -> list[str]:
    """The file's own greedy answers; a .tflite, which has no tokenizer, is handed the checkpoint's."""
    return runtimes.answers(file, [row.prompt for row in rows], max_new_tokens, progress, source.checkpoint)


def _float32(source: Source, lengths: Lengths, cache: Path, progress: child.Progress) -> Path:
    """The float32 .tflite of the checkpoint with these lengths, from `cache` or converted into it; one of others is removed from there.

    The caller holds `cache` as long as it needs the file.
    """
    named = hashlib.sha256(f"{source.weights_sha256} {lengths.prefill} {lengths.cache}".encode()).hexdigest()[:20]
    out = cache / f"float32-{named}.tflite"
    if out.is_file():
        return out
    for stale in cache.glob("float32-*.tflite"):
        stale.unlink()
    parameters = sum(file.stat().st_size for file in source.checkpoint.glob("*.safetensors")) / 2
    expected = START_SECONDS + parameters * SECONDS_PER_PARAMETER
    with work_folder(cache) as partial:
        job = {
            "checkpoint": str(source.checkpoint), "float32": str(partial / out.name), "prefill_length": lengths.prefill,
            "cache_length": lengths.cache,
        }  # fmt: skip
        child.run("pipeline.export.convert", job, child.by_the_clock(progress, expected), "The conversion to LiteRT")
        os.replace(partial / out.name, out)
    return out


def _settings(source: Source, format: str, quantize: str, pieces: bytes, lengths: Lengths, wrap_turns: bool) -> dict[str, Any]:
    """The keywords of `bundle.litertlm` or `bundle.task`."""
    if format == "task":
        return {"start": BOS, "stops": STOPS["task"], "wrap_turns": wrap_turns}
    ids = tokenizer.token_ids(pieces, (BOS, *STOPS["litertlm"]))
    if missing := [token for token in (BOS, *STOPS["litertlm"]) if token not in ids]:
        raise ExportError(f"The tokenizer has no {', '.join(missing)}; use the base model's own tokenizer.model.")
    return {
        "start_id": ids[BOS], "stop_ids": [ids[token] for token in STOPS["litertlm"]], "template": source.template,
        "max_tokens": lengths.cache,
        "description": {"Authors": "FunctionGemma Studio", "Name": source.name, "Weights": f"{quantize} of {source.weights_sha256[:16]}"},
    }  # fmt: skip


def _as_intended(found: dict[str, Any], pieces: Path, lengths: Lengths, quantize: str, wrap_turns: bool) -> None:
    """Raises ExportError unless the file, read back, holds what was meant to go in."""
    wanted = {
        "quantization": (found["model"]["quantization"], quantize),
        "prefill lengths": (found["model"]["prefill_lengths"], [lengths.prefill]),
        "cache length": (found["model"]["cache_length"], lengths.cache),
    }
    if found["format"] != "tflite":
        wanted["stop tokens"] = (found["stop_tokens"], list(STOPS[found["format"]]))
        wanted["start token"] = (found["start_token"], BOS)
        wanted["tokenizer"] = (found["tokenizer"], tokenizer.describe(pieces.read_bytes()))
    for what, (has, should) in wanted.items():
        if has != should:
            raise ExportError(f"The .{found['format']} came out wrong: its {what} should be {should}, found {has}; please report this.")
    problems = [problem for problem in found["problems"] if not (wrap_turns and "turns around" in problem)]
    if problems:
        raise ExportError(f"The .{found['format']} came out wrong: {problems[0]}")


def quantization(name: str | None) -> str:
    """The key of RECIPES that `name` asks for; int8 by default. Raises ExportError."""
    chosen = name or "int8"
    if chosen not in RECIPES:
        raise ExportError(f"LiteRT files come in {', '.join(RECIPES)}, not in {chosen}.")
    return chosen
