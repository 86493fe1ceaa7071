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
from pipeline.export import readback, tokenizer
from pipeline.export.convert import RECIPES
from pipeline.export.inspect import inspect
from pipeline.export.source import Lengths, Row, Source
from pipeline.export.workplace import work_folder
from pipeline.files import exclusive
from pipeline.functiongemma import BOS, END_OF_TURN, EOS, START_RESPONSE

FORMATS = ("litertlm", "task", "tflite")
STOPS = {"litertlm": (EOS, END_OF_TURN, START_RESPONSE), "task": (END_OF_TURN, START_RESPONSE)}
"""A .task stops where flutter_gemma expects it to. Never at <end_function_call>, which older guides name: it cuts parallel calls."""
SECONDS_PER_PARAMETER = 85 / 270e6
"""Of the conversion, on one core; small models take START_SECONDS anyway."""
START_SECONDS = 15


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
    details = {
        "prefill_length": lengths.prefill, "cache_length": lengths.cache, "longest_prompt": lengths.longest_prompt,
        "longest_completion": lengths.longest_completion, "lengths": lengths.reason,
    }  # fmt: skip
    return out, details | _read_back(source, out, pieces.read_bytes(), lengths, quantize, wrap_turns)


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


def _read_back(source: Source, out: Path, pieces: bytes, lengths: Lengths, quantize: str, wrap_turns: bool) -> dict[str, Any]:
    """What to say about the file as it is. Raises ExportError unless it holds what was meant to go in."""
    found = inspect(out)
    model, metadata = found["model"] or {}, found["metadata"]
    wanted = {
        "quantization": (model.get("quantization"), quantize),
        "prefill lengths": (model.get("prefill_lengths"), [lengths.prefill]),
        "cache length": (model.get("cache_length"), lengths.cache),
    }
    if found["format"] != "tflite":
        wanted["stop tokens"] = (found["stop_tokens"], list(STOPS[found["format"]]))
        wanted["start token"] = (found["start_token"], BOS)
        wanted["tokenizer"] = (found["tokenizer"], tokenizer.describe(pieces))
    if found["format"] == "litertlm":
        wanted["chat template"] = (found["template"], source.template)
        wanted["model type"] = (metadata["model_type"], "function_gemma")
        wanted["length of a conversation"] = (metadata["max_num_tokens"], lengths.cache)
    if found["format"] == "task":
        wanted["wrap of turns"] = (metadata["wraps_turns"], wrap_turns)
    readback.require_settings(found, wanted, "turns around" if wrap_turns else None)
    details = {"stop_tokens": found["stop_tokens"], "start_token": found["start_token"], "wrap_turns": wrap_turns}
    if found["format"] != "tflite":
        details |= readback.same_tokenizer(out, source)
    return details | (readback.same_prompts(source, out, "LiteRT-LM") if found["format"] == "litertlm" else {})


def quantization(name: str | None) -> str:
    """The key of RECIPES that `name` asks for; int8 by default. Raises ExportError."""
    chosen = name or "int8"
    if chosen not in RECIPES:
        raise ExportError(f"LiteRT files come in {', '.join(RECIPES)}, not in {chosen}.")
    return chosen
