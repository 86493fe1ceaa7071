"""The model card: README.md beside the artifacts, in the form that the Hub shows, with tools.json and what else a user of them needs.

Everything in it is read from the run and the artifacts as they are now; nothing is measured here. Words of users stay words: none of them
becomes a heading, a link, a table cell or a key of the front matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline.errors import RunError
from pipeline.export import FOLDERS, LIST, Artifact, artifacts, compatibility, usage
from pipeline.files import write_all, write_atomic
from pipeline.runs import Run
from pipeline.scores import EvalReport, compare
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
    "task": "flutter_edge_ai (flutter_gemma), MediaPipe LLM Inference",
    "tflite": "LiteRT, the bare model without tokenizer",
    "gguf": "llama.cpp, Ollama",
    "merged": "transformers, vLLM, further training",
    "adapter": "peft, with the base model",
}
LIMITS = (
    "It calls the functions above and was trained for nothing else; other functions in the prompt may be called wrongly or not at all.",
    "A call is a suggestion of a small model: check its arguments before doing anything that cannot be undone.",
    "Runtimes must write the prompt exactly as in training. The files' own templates do; hand-written prompts and other renderers may not.",
)
SCORES = (("right function", "tool_accuracy"), ("exact match", "exact_match"), ("forgiving", "tolerant_match"))
ANSWERED_BY = {"base": "base", "tuned": "tuned model"}
FEW_ROWS = 100
"""Held-out rows below which the card says that there are few: the 95 % interval of 90 % right is then more than 12 points wide."""


def write_card(run: Run, folder: Path) -> Path:
    """README.md in `folder` for the artifacts there, with tools.json, and a Modelfile where there is a .gguf. Returns the README.

    An artifact that is a folder gets a card of its own, so that it can be given away without the others.
    """
    dataset, written = run.dataset(), None
    tools = json.dumps([tool.to_json() for tool in dataset.tools], indent=1, ensure_ascii=False) + "\n"
    files = {"tools.json": tools}
    while written != (here := artifacts(folder)):  # again if another export has added its file meanwhile
        for one in here:
            if "modelfile" in one.details:
                files["Modelfile"] = one.details["modelfile"]
            if one.format in FOLDERS:
                write_atomic(Path(one.path) / "tools.json", tools)
                write_atomic(Path(one.path) / "README.md", text(run, [one]))
        write_all(folder, files | {"README.md": text(run, here)})
        written = here
    return folder / "README.md"


def current(run: Run) -> Path | None:
    """README.md of the run's own artifacts, written anew if a score, a file or the title is newer; None while there is no file."""
    folder = run.artifacts_path
    if not artifacts(folder):
        return None
    card = folder / "README.md"
    facts = [folder / LIST, run.path / "run.json", *(run.path / "eval").glob("*.json")]
    if not card.is_file() or any(fact.stat().st_mtime_ns >= card.stat().st_mtime_ns for fact in facts):
        write_card(run, folder)
    return card


def text(run: Run, made: Sequence[Artifact], library: str | None = None, dataset_id: str | None = None) -> str:
    """The card as Markdown with the front matter that the Hub reads.

    `library` is what the Hub is to load the repository with (`transformers` where the weights lie in its root); None takes what suits
    the artifacts. `dataset_id` is the dataset's repository, if it has one.
    """
    info, dataset = run.info, run.dataset()
    base, numbers = info["base"], datasets.statistics(dataset)
    parts = [
        _front_matter(base, made, library, dataset_id),
        f"# {plain(info['title'])}\n",
        f"A model that calls {_count(len(dataset.tools), 'function')}, fine-tuned with FunctionGemma Studio from {_base(base)}. "
        "It runs offline, on phones and computers.\n",
        EMBEDDED_NOTICE + "\n" if base["embedded"] else GEMMA_NOTICE + "\n",
        *(["## Files\n", _files(made)] if made else []),
        "## Functions\n", *map(_tool, dataset.tools),
        *(["## How to use it, and where\n", *map(_usage, made)] if made else []),
        "## Scores\n", _scores(run),
        "## Data\n", _data(numbers, info["dataset_sha256"]),
        "## Training\n", _training(info),
        "## Limits\n", _limits(base, numbers, made),
    ]  # fmt: skip
    return "\n".join(parts)


# -- the parts


def _front_matter(base: dict[str, Any], made: Sequence[Artifact], library: str | None, dataset_id: str | None) -> str:
    import yaml

    formats = {one.format for one in made}
    only_adapter = formats == {"adapter"}
    if library is None:
        library = "peft" if only_adapter else "transformers" if "merged" in formats else "litert-lm" if "litertlm" in formats else None
    values = {"license": "apache-2.0" if base["embedded"] else "gemma"}
    if base.get("revision"):  # a model of the Hub; a folder's path says nothing to others
        values |= {"base_model": base["id"], "base_model_relation": "adapter" if only_adapter else "finetune"}
    if library:
        values["library_name"] = library
    values["pipeline_tag"] = "text-generation"
    if dataset_id:
        values["datasets"] = [dataset_id]
    tags = ["function-calling", "tool-use", "on-device", *(["lora"] if only_adapter else [])]
    values["tags"] = tags + [{"litertlm": "litert-lm"}.get(one, one) for one in sorted(formats - set(FOLDERS))]
    return "---\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True) + "---\n"


def _base(base: dict[str, Any]) -> str:
    if base["embedded"]:
        return "its embedded demonstration model"
    if base.get("revision"):
        return f"[{base['id']}](https://huggingface.co/{base['id']}) at revision `{base['revision']}`"
    return plain(base["label"])


def _files(made: Sequence[Artifact]) -> str:
    rows = [
        f"| `{Path(one.path).name}` | {DESTINATIONS[one.format]} | {_weights(one)} | {one.size / 1e6:,.1f} MB | "
        f"{one.answers_identical} of {one.answers_total} | `{one.sha256}` |"
        for one in made
    ]
    head = "| file | for | weights | size | answers identical to the model's | SHA-256 |\n|---|---|---|---:|---:|---|"
    folders = " For a folder the hash is that of its SHA256SUMS." if any(one.format in FOLDERS for one in made) else ""
    return "\n".join([head, *rows, f"\nEach was run on held-out requests before it was given out.{folders}\n"])


def _weights(one: Artifact) -> str:
    return "as trained" if one.format in FOLDERS else str(one.details.get("quantize", ""))


def _tool(tool: ToolSpec) -> str:
    required = tool.parameters.get("required") or ()
    lines = [f"- **{plain(tool.name)}** {plain(tool.description)}".rstrip()]
    for name, schema in (tool.parameters.get("properties") or {}).items():
        schema = schema if isinstance(schema, dict) else {}
        need = "required" if name in required else "optional"
        kind = "one of " + ", ".join(map(str, schema["enum"])) if isinstance(schema.get("enum"), list) else str(schema.get("type", "any"))
        lines.append(f"  - {_code(name)} ({plain(kind)}, {need}) {plain(str(schema.get('description') or ''))}".rstrip())
    return "\n".join([*lines, ""])


def _usage(one: Artifact) -> str:
    said = [one.details["lengths"]] if "lengths" in one.details else []
    said += [plain(warning) for warning in one.details.get("warnings", ())]
    return "\n".join([
        f"### `{Path(one.path).name}`\n", f"```{usage.language(one)}\n{usage.snippet(one)}```\n", *(f"{sentence}\n" for sentence in said),
        compatibility.as_markdown(one),
    ])  # fmt: skip


def _scores(run: Run) -> str:
    reports = []
    for saved in run.evaluations().values():
        with suppress(RunError):  # a damaged one; the evaluate step says so
            reports.append(EvalReport.from_json(saved))
    reports.sort(key=lambda one: (one.split, one.on != "base", one.on != "tuned"))
    if not reports:
        return "Not measured yet.\n"
    head = "| answered by | rows | " + " | ".join(label for label, _ in SCORES) + " |\n|---|---:|" + "---:|" * len(SCORES)
    rows = []
    for one in reports:
        who = ANSWERED_BY.get(one.on) or f"the file {_code(one.model)}"
        cells = [f"{getattr(one, key):.1%} ({_interval(one, key)})" for _, key in SCORES]
        rows.append(f"| {who}{'' if one.split == 'test' else f', {one.split} split'} | {one.rows} | {' | '.join(cells)} |")
    note = (
        "\nGreedy decoding, on rows that training did not see unless it says so. Right function: the calls name the right functions. "
        "Exact match: every name, argument and type is right, written as the format wants it. Forgiving: what a parser can mend is "
        "mended, and case and spaces of texts do not count. In brackets: 95 % intervals (Wilson's score interval).\n"
    )
    return "\n".join([head, *rows, note, *_change(reports), *_by_tool(reports)])


def _interval(report: EvalReport, key: str) -> str:
    low, high = report.intervals[key]
    return f"{low:.1%} to {high:.1%}"


def _change(reports: Sequence[EvalReport]) -> list[str]:
    """What training changed, in a sentence, where base and tuned model answered the same rows."""
    by_name = {one.on: one for one in reports if one.split == "test"}
    try:
        change = compare(by_name["base"], by_name["tuned"])
    except (KeyError, RunError):  # one of them is missing, or has answered other rows
        return []
    gained, lost = (_count(len(rows), "row") for rows in (change.gained, change.lost))
    p = f"McNemar's exact test, p = {change.p:.2g}"
    return [f"From the base to the tuned model {gained} became exactly right and {lost} wrong ({p}).\n"]


def _by_tool(reports: Sequence[EvalReport]) -> list[str]:
    tuned = next((one for one in reports if one.on == "tuned" and one.split == "test"), None)
    if tuned is None or not tuned.by_tool:
        return []
    rows = [
        f"| {plain(name)} | {of['rows']} | {of['tool_accuracy']:.0%} | {of['exact_match']:.0%} |" for name, of in tuned.by_tool.items()
    ]
    head = "| function | rows | right function | exact match |\n|---|---:|---:|---:|"
    return ["The tuned model, function by function:\n", head, *rows, ""]


def _data(numbers: dict[str, Any], sha256: str) -> str:
    splits, kinds, sizes = numbers["by_split"], numbers["by_kind"], numbers["request_characters"]
    lines = [
        f"{_count(numbers['rows'], 'example')}: {splits['train']} to learn from, {splits['test']} held out. "
        f"{kinds['single']} call one function, {kinds['parallel']} several, {kinds['none'] + kinds['answer']} answer in words. "
        f"{numbers['distinct_requests']:,} different requests of {sizes['min']} to {sizes['max']} characters (median {sizes['median']:g}).",
        "", "| function | examples |", "|---|---:|", *(f"| {plain(name)} | {count} |" for name, count in numbers["by_tool"].items()),
        "", f"Dataset SHA-256: `{sha256}`.\n",
    ]  # fmt: skip
    return "\n".join(lines)


def _training(info: dict[str, Any]) -> str:
    config = {name: value for name, value in info["config"].items() if value is not None}
    if config.get("method") != "lora":
        config = {name: value for name, value in config.items() if not name.startswith("lora_")}
    loss = f", final loss {info['final_loss']:.4f}" if isinstance(info.get("final_loss"), float) else ""
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    lines = [
        f"{_count(info['steps'], 'step')} in {info['seconds']:.0f} s{loss}. Loss on the completions only.",
        "", "| option | value |", "|---|---|", *(f"| {name} | {plain(str(value))} |" for name, value in config.items()),
        "", f"Versions: {versions}.\n",
    ]  # fmt: skip
    return "\n".join(lines)


def _limits(base: dict[str, Any], numbers: dict[str, Any], made: Sequence[Artifact]) -> str:
    """What holds for every such model, and what this run's own numbers say."""
    limits, held_out, kinds = list(LIMITS), numbers["by_split"]["test"], numbers["by_kind"]
    if base["embedded"]:
        limits.insert(0, "It is a demonstration: its base knows no language beyond the small world that it was made from.")
    if 0 < held_out < FEW_ROWS:
        limits.append(f"Its scores rest on {_count(held_out, 'held-out row')}, which are few: mind the intervals.")
    if not kinds["none"] + kinds["answer"]:
        limits.append("No example answers in words: it will call a function whatever it is asked.")
    if untrained := [name for name, count in numbers["by_tool"].items() if not count]:
        limits.append(f"No example calls {', '.join(map(plain, untrained))}.")
    for one in made:
        if one.answers_identical < one.answers_total:
            other = _count(one.answers_total - one.answers_identical, "answer")
            limits.append(f"`{Path(one.path).name}` gave {other} of {one.answers_total} otherwise than the model did.")
    return "\n".join(f"- {limit}" for limit in limits) + "\n"


# -- words


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(text: str) -> str:
    """Text of a user in Markdown: one line that cannot become a table cell, a heading, HTML, an entity or a link."""
    line = re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?i)(https?|ftp|www)([:.])", r"\1\\\2", line)  # which GitHub and the Hub make links of by themselves


def _code(text: str) -> str:
    """Text of a user as code in a list or a table: in a fence longer than any inside it."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall(r"`+", line)), default=0) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"
