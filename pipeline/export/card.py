"""The model card: README.md beside the artifacts, in the form that the Hub shows, with tools.json and what else a user of them needs.

Everything in it is read from the run and the artifacts; nothing is measured here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline.export import Artifact, artifacts, usage
from pipeline.files import write_all
from pipeline.runs import Run
from pipeline.tools import ToolSpec

GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms. "
    "This model is a derivative of Gemma: who passes it on passes on those terms and this notice, and must keep to the Gemma Prohibited "
    "Use Policy found at https://ai.google.dev/gemma/prohibited_use_policy."
)
EMBEDDED_NOTICE = (
    "The base is the small demonstration model that comes with FunctionGemma Studio, under the Apache License 2.0. It was made from "
    "nothing by that project's own scripts, contains no part of Google's Gemma or FunctionGemma, and is no substitute for them."
)
DESTINATIONS = {
    "litertlm": "LiteRT-LM (Android, iOS, desktop), AI Edge Gallery",
    "task": "flutter_gemma, MediaPipe LLM Inference",
    "tflite": "LiteRT, the bare model without tokenizer",
    "gguf": "llama.cpp, Ollama",
    "merged": "transformers, vLLM, further training",
}
LIMITS = (
    "It calls the functions above and was trained for nothing else; other functions in the prompt may be called wrongly or not at all.",
    "A call is a suggestion of a small model: check its arguments before doing anything that cannot be undone.",
    "Runtimes must write the prompt exactly as in training. The files' own templates do; hand-written prompts and other renderers may not.",
)


def write_card(run: Run, folder: Path) -> Path:
    """README.md in `folder` for the artifacts there, with tools.json, and a Modelfile where there is a .gguf. Returns the README."""
    dataset, written = run.dataset(), None
    files = {"tools.json": json.dumps([tool.to_json() for tool in dataset.tools], indent=1, ensure_ascii=False) + "\n"}
    while written != (here := artifacts(folder)):  # again if another export has added its file meanwhile
        for one in here:
            if "modelfile" in one.details:
                files["Modelfile"] = one.details["modelfile"]
        write_all(folder, files | {"README.md": text(run, here)})
        written = here
    return folder / "README.md"


def text(run: Run, made: list[Artifact]) -> str:
    """The card as Markdown with the front matter that the Hub reads."""
    info, dataset = run.info, run.dataset()
    base, numbers = info["base"], datasets.statistics(dataset)
    parts = [
        _front_matter(base),
        f"# {_plain(info['title'])}\n",
        f"A model that calls {len(dataset.tools)} functions, fine-tuned with FunctionGemma Studio from {_base(base)}. "
        "It runs offline, on phones and computers.\n",
        EMBEDDED_NOTICE + "\n" if base["embedded"] else GEMMA_NOTICE + "\n",
        "## Files\n", _files(made),
        "## Functions\n", *map(_tool, dataset.tools),
        "## How to use it\n", *map(_usage, made),
        "## Scores\n", _scores(run.evaluations()),
        "## Data\n", _data(numbers),
        "## Training\n", _training(info),
        "## Limits\n", "\n".join(f"- {limit}" for limit in LIMITS) + "\n",
    ]  # fmt: skip
    return "\n".join(parts)


def _front_matter(base: dict[str, Any]) -> str:
    lines = ["license: apache-2.0" if base["embedded"] else "license: gemma"]
    if base.get("revision"):  # a model of the Hub; a folder's path says nothing to others
        lines.append(f"base_model: {base['id']}")
    tags = ("function-calling", "tool-use", "on-device", "litert-lm")
    return "\n".join(["---", *lines, "pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _base(base: dict[str, Any]) -> str:
    if base["embedded"]:
        return "its embedded demonstration model"
    revision = f" at revision {base['revision'][:12]}" if base.get("revision") else ""
    return f"[{base['id']}](https://huggingface.co/{base['id']}){revision}" if revision else _plain(base["label"])


def _files(made: list[Artifact]) -> str:
    rows = [
        f"| {Path(one.path).name} | {DESTINATIONS[one.format]} | {one.details.get('quantize', '')} | {one.size / 1e6:,.1f} MB | "
        f"{one.answers_identical} of {one.answers_total} | `{one.sha256}` |"
        for one in made
    ]
    head = "| file | for | weights | size | answers identical to the model's | SHA-256 |\n|---|---|---|---:|---:|---|"
    note = "\nEach was run on held-out requests before it was given out. For a folder the hash is that of its SHA256SUMS.\n"
    lengths = next((one.details["lengths"] for one in made if "lengths" in one.details), "")
    warnings = [f"{Path(one.path).name}: {_plain(warning)}\n" for one in made for warning in one.details.get("warnings", ())]
    return "\n".join([head, *rows, note, *warnings, lengths + "\n" if lengths else ""])


def _tool(tool: ToolSpec) -> str:
    required = tool.parameters.get("required") or ()
    lines = [f"- **{_plain(tool.name)}** {_plain(tool.description)}".rstrip()]
    for name, schema in (tool.parameters.get("properties") or {}).items():
        schema = schema if isinstance(schema, dict) else {}
        need = "required" if name in required else "optional"
        words = _plain(str(schema.get("description") or ""))
        lines.append(f"  - `{name}` ({_plain(str(schema.get('type', 'any')))}, {need}) {words}".rstrip())
    return "\n".join([*lines, ""])


def _usage(one: Artifact) -> str:
    name = Path(one.path).name
    language = usage.SNIPPETS[one.format][0]
    return f"`{name}`: {DESTINATIONS[one.format]}\n\n```{language}\n{usage.snippet(one.format, name)}```\n"


def _scores(reports: dict[str, dict[str, Any]]) -> str:
    if not reports:
        return "Not measured yet.\n"
    rows = []
    for name, report in reports.items():
        cells = [f"{report.get(key, 0):.0%}{_interval(report, key)}" for key in ("tool_accuracy", "exact_match")]
        rows.append(f"| {name} | {report.get('rows', '')} | {' | '.join(cells)} |")
    head = "| model and split | rows | right function | exact match |\n|---|---:|---:|---:|"
    return "\n".join([head, *rows, "\nGreedy decoding; exact match counts name, arguments and their types. In brackets: 95 % intervals.\n"])


def _interval(report: dict[str, Any], key: str) -> str:
    bounds = (report.get("intervals") or {}).get(key)
    return f" ({bounds[0]:.0%} to {bounds[1]:.0%})" if bounds else ""


def _data(numbers: dict[str, Any]) -> str:
    splits, kinds = numbers["by_split"], numbers["by_kind"]
    lines = [
        f"{numbers['rows']} examples: {splits['train']} to learn from, {splits['test']} held out.",
        f"{kinds['single']} call one function, {kinds['parallel']} several, {kinds['none'] + kinds['answer']} answer in words.",
        "", "| function | examples |", "|---|---:|", *(f"| {_plain(name)} | {count} |" for name, count in numbers["by_tool"].items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _training(info: dict[str, Any]) -> str:
    config = {name: value for name, value in info["config"].items() if value is not None}
    if config.get("method") != "lora":
        config = {name: value for name, value in config.items() if not name.startswith("lora_")}
    loss = f", final loss {info['final_loss']:.4f}" if isinstance(info.get("final_loss"), float) else ""
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    lines = [
        f"{info['steps']} {'step' if info['steps'] == 1 else 'steps'} in {info['seconds']:.0f} s{loss}. Loss on the completions only.",
        "", "| option | value |", "|---|---|",
        *(f"| {name} | {value} |" for name, value in config.items()),
        "", f"Versions: {versions}. Dataset SHA-256: `{info['dataset_sha256']}`.\n",
    ]  # fmt: skip
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text of a user in Markdown: one line that cannot become a table cell, a heading, HTML or a link."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in line)
