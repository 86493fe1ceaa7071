"""The merged weights as a folder for transformers, vLLM and everything else that reads Hugging Face checkpoints.

The weights are the run's own, byte for byte; what transformers leaves out when it saves (tokenizer.model, the three stop tokens) is
put beside them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.errors import ExportError
from pipeline.export import tokenizer, verify
from pipeline.export.source import Row, Source
from pipeline.functiongemma import BOS, STOP_TOKENS

SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def make(
    source: Source, format: str, quantize: str, work: Path, cache: Path, progress: child.Progress
) -> tuple[Path, dict[str, Any]]:
    """The folder, in `work`, and nothing more to say about it. Raises ExportError."""
    out = work / f"{source.name}-{format}"
    out.mkdir()
    files = [source.checkpoint / name for name in SETTINGS if (source.checkpoint / name).is_file()]
    files += sorted(source.checkpoint.glob("*.safetensors")) + sorted(source.checkpoint.glob("*.safetensors.index.json"))
    for number, file in enumerate(files):
        progress(number / len(files), f"Copying {file.name}")
        shutil.copyfile(file, out / file.name)
    pieces = tokenizer.sentencepiece_model(source.checkpoint, source.texts())
    (out / "tokenizer.model").write_bytes(pieces)
    (out / "chat_template.jinja").write_text(source.template, "utf-8")
    ids = tokenizer.token_ids(pieces, (BOS, "<pad>", *STOP_TOKENS))
    stops = [ids[token] for token in STOP_TOKENS]
    settings = {"bos_token_id": ids[BOS], "eos_token_id": stops, "pad_token_id": ids["<pad>"], "do_sample": False}
    (out / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    write_sums(out)
    return out, {}


def write_sums(folder: Path) -> None:
    """SHA256SUMS of the files in `folder`, as sha256sum writes and checks it."""
    sums = {}
    for file in sorted(folder.iterdir()):
        with open(file, "rb") as stream:
            sums[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), "utf-8")


def answers(source: Source, file: Path, rows: Sequence[Row], max_new_tokens: int, progress: child.Progress) -> list[str]:
    """The greedy answers of the copied folder, loaded anew."""
    job = {"checkpoint": str(file), "prompts": [row.prompt for row in rows], "max_new_tokens": max_new_tokens}
    made = child.run("pipeline.export.verify", job, progress, "Asking the copied model")
    return [verify.Answer(**one).text for one in made["answers"]]


def quantization(name: str | None) -> str:
    """Merged weights stay as they were trained. Raises ExportError for anything else."""
    if name is not None:
        raise ExportError(f"Merged weights stay as they were trained and are not stored as {name}; leave --quantize out.")
    return "float32"
