"""Small exported files of every kind, right ones and ones with a chosen fault, made without any model: for what reads files only."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

from pipeline.export import bundle
from tests.hollow_model import tflite_model
from tests.small_world import tokenizer_model

KINDS = ("litertlm", "task", "tflite", "gguf")
IDS = {"start_id": 2, "stop_ids": [1, 106, 50], "template": "{{ bos_token }}", "max_tokens": 64, "description": {"Name": "test"}}
TASK = {"start": "<bos>", "stops": ["<end_of_turn>", "<start_function_response>"], "wrap_turns": False}


def parts(folder: Path) -> dict[str, Path]:
    """What goes into a bundle, as files."""
    (folder / "model.tflite").write_bytes(tflite_model())
    (folder / "tokenizer.model").write_bytes(tokenizer_model())
    return {"tflite": folder / "model.tflite", "tokenizer": folder / "tokenizer.model"}


def litertlm_file(out: Path, inside: dict[str, Path], **changes: Any) -> Path:
    bundle.litertlm(**inside, out=out, **IDS | changes)
    return out


def task_file(out: Path, inside: dict[str, Path], compress: bool = False, skip: str = "", **changes: Any) -> Path:
    """A .task as mediapipe writes it; its METADATA is spelled by hand, so that nothing native is needed."""
    settings = TASK | changes
    fields = [(5, stop.encode()) for stop in settings["stops"]] + [(6, settings["start"].encode())]
    fields += [(8, b"\x12\x01>")] if settings["wrap_turns"] else []
    metadata = b"".join(bytes([number << 3 | 2, len(text)]) + text for number, text in fields)
    entries = {
        "TF_LITE_PREFILL_DECODE": inside["tflite"].read_bytes(), "TOKENIZER_MODEL": inside["tokenizer"].read_bytes(), "METADATA": metadata,
    }  # fmt: skip
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for entry in entries:
            if entry != skip:
                archive.writestr(entry, entries[entry])
    return out


def gguf_bytes(values: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], int]] = ()) -> bytes:
    """A .gguf with these values (text, whole numbers, lists of either) and float32 tensors (name, shape, type number) full of zeros."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, bool | float):
            out += struct.pack("<Id", 12, value) if isinstance(value, float) else struct.pack("<I?", 7, value)
        elif isinstance(value, int):
            out += struct.pack("<Iq", 11, value)
        elif value and isinstance(value[0], str):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            out += struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    place = 0
    for name, shape, kind in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, place)
        place += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    out += bytes(-len(out) % 32)
    return out + bytes(place)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def whole_file(kind: str, folder: Path) -> Path:
    """A small right file of a kind."""
    inside = parts(folder)
    out = folder / f"whole.{kind}"
    if kind == "litertlm":
        return litertlm_file(out, inside)
    if kind == "task":
        return task_file(out, inside)
    values = {"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["a", "b"] * 30, "tokenizer.ggml.token_type": [1] * 60, "x": 3}
    out.write_bytes(inside["tflite"].read_bytes() if kind == "tflite" else gguf_bytes(values, [("token_embd.weight", (4, 60), 0)]))
    return out
