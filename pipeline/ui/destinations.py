"""Where an exported file goes: what each destination is for, how large its file will be.

Texts and numbers only. What the files are made of is `pipeline.export`, how an app loads them `pipeline.export.usage`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.runs import Run


@dataclass(frozen=True)
class Destination:
    """One card: an export format, whom it is for, and the number formats that it can have, the usual first."""

    format: str
    title: str
    file: str
    purpose: str
    quantize: tuple[tuple[str, str], ...]
    language: str
    """How gr.Code colours the snippet, which `pipeline.export.usage` has."""


FOUR = "4 bit: half the size, look at the score"
LITERT = (("8 bit (recommended)", "int8"), (FOUR, "int4"), ("32 bit: exact, four times the size", "float32"))
DESTINATIONS = (
    Destination(
        "litertlm", "Android, iOS, desktop", "LiteRT-LM, .litertlm",
        "For Google AI Edge Gallery (open it there as a model of your own) and for apps that use the LiteRT-LM library.",
        LITERT, "python",
    ),
    Destination(
        "task", "Flutter", "flutter_edge_ai, .task",
        "For Flutter apps with the flutter_edge_ai package, flutter_gemma until 1.11, which writes the turns around the request itself.",
        LITERT, "typescript",
    ),
    Destination(
        "gguf", "llama.cpp, Ollama", ".gguf",
        "For llama.cpp and what is built on it. Send it the whole prompt: Ollama's own renderer would write another one.",
        (("8 bit (recommended)", "q8_0"), (FOUR, "q4_0"), ("16 bit: twice the size", "float16")), "shell",
    ),
    Destination(
        "tflite", "LiteRT by itself", "the bare model, .tflite",
        "For runtimes and tools of your own, which bring tokenizer, cache and stop tokens. An app takes one of the first two.",
        LITERT, "python",
    ),
    Destination(
        "merged", "Python", "merged weights, .safetensors",
        "For transformers, vLLM and further training: the checkpoint as Hugging Face lays it out, in one archive.",
        (("as trained", ""),), "python",
    ),
    Destination(
        "adapter", "LoRA adapter alone", "peft, .safetensors",
        "What training added to the base, without the base: small to keep and to share. peft puts the two together.",
        (("as trained", ""),), "python",
    ),
)  # fmt: skip
BYTES_PER_PARAMETER = {"int8": 1.04, "int4": 0.54, "float32": 4.0, "q8_0": 1.09, "q4_0": 0.59, "float16": 2.0}
"""Measured on the 270M shape (268 million parameters): 280, 146, 1,075, 292, 158 and 539 MB."""
AROUND = 1e6
"""Bytes of graph, tokenizer and template, which count in the embedded model's files (6.0 MB for 4.8 million parameters in int8)."""
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}


def expected_size(run: Run, format: str, quantize: str) -> float:
    """Bytes that the run's file of this kind will have, within some percent."""
    if format == "adapter":
        return float(sum(file.stat().st_size for file in run.adapter_path.glob("*")))
    weights = sum(file.stat().st_size for file in run.model_path.glob("*.safetensors"))
    settings = json.loads((run.model_path / "config.json").read_text("utf-8"))
    parameters = weights / WIDTH.get(settings.get("dtype") or settings.get("torch_dtype") or "float32", 4)
    return parameters * BYTES_PER_PARAMETER[quantize] + AROUND if quantize else weights
