"""What of a run goes to the Hub: a list of files with their names there, each the run's own and regular, or written here from it.

    README.md  NOTICE  tools.json                       always: the card, the terms, the functions
    config.json  model.safetensors  tokenizer.json ...  model       the merged weights, where transformers and vLLM look for them
    adapter/                                            adapter     LoRA's own weights (in the root where the model stays here)
    *.litertlm  *.task  *.tflite  *.gguf  Modelfile     artifacts   the exported files
    dataset/tools.json  dataset/examples.jsonl          dataset     the frozen copy that the run learned from
    report/evaluation.md  report/*.json                 report      scores; what each row asked only where the dataset goes too

Nothing else of the folder leaves it: no log, no checkpoint, no link, no path of this computer. Sends nothing.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HubError
from pipeline.hub.access import TOKENIZER_FILES
from pipeline.runs import Run

PARTS = ("model", "adapter", "artifacts", "dataset", "report")
USUAL = ("model", "artifacts", "dataset", "report")
FILES = ("litertlm", "task", "tflite", "gguf")
"""Artifacts that are one file; merged weights and adapters, which are folders, go as `model` and `adapter`."""
SETTINGS = ("config.json", "generation_config.json", "model.safetensors.index.json", *TOKENIZER_FILES)


@dataclass(frozen=True)
class Item:
    """A file of the parcel: its name in the repository, the part it belongs to ("card" for what always goes), where its bytes are."""

    name: str
    part: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def available(run: Run) -> dict[str, int]:
    """The parts that this run has, with their bytes."""
    sizes: dict[str, int] = {}
    for part in PARTS:
        items = list(_part(run, part, (part, "dataset")))
        if items:
            sizes[part] = sum(item.size for item in items)
    return sizes


def pack(run: Run, include: Sequence[str] = USUAL) -> list[Item]:
    """The files of these parts with card, terms and functions. A part of USUAL that the run does not have is left out.

    Raises HubError for what is no part, for a part that was asked for by name and is not there, and for a file that is not the run's own.
    """
    if unknown := [part for part in include if part not in PARTS]:
        raise HubError(f"There is no part {unknown[0]!r} to push; expected {', '.join(PARTS)}.")
    items: list[Item] = []
    for part in PARTS:
        if part in include:
            found = list(_part(run, part, include))
            if not found and (part not in USUAL or tuple(include) == (part,) or part == "model"):
                raise HubError(f"{run.title} has {_missing(part, run)}")
            items += found
    return [*_always(run, include), *items]


def card(run: Run, include: Sequence[str] = USUAL) -> str:
    """The model card as it would be pushed with these parts."""
    from pipeline.export import artifacts
    from pipeline.export.card import text

    made = [one for one in artifacts(run.artifacts_path) if one.format in FILES] if "artifacts" in include else []
    return text(run, made, library="transformers" if "model" in include else "peft" if "adapter" in include else None)


def own(file: Path, folder: Path) -> Path:
    """`file` if it is a regular file that really lies in `folder`. Raises HubError."""
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or not file.resolve().is_relative_to(folder.resolve()):
        raise HubError(f"{file.name} is no file of its own in {folder.name} but a link or a device; it is not pushed.")
    return file


def _always(run: Run, include: Sequence[str]) -> Iterator[Item]:
    from pipeline.export.card import EMBEDDED_NOTICE, GEMMA_NOTICE

    tools = [tool.to_json() for tool in run.dataset().tools]
    yield Item("README.md", "card", card(run, include).encode())
    yield Item("NOTICE", "card", (EMBEDDED_NOTICE if run.base["embedded"] else GEMMA_NOTICE).encode() + b"\n")
    yield Item("tools.json", "card", (json.dumps(tools, indent=1, ensure_ascii=False) + "\n").encode())


def _part(run: Run, part: str, include: Sequence[str]) -> Iterator[Item]:
    if part == "model":
        yield from _weights(run, run.model_path, part, "")
    elif part == "adapter":
        yield from _weights(run, run.adapter_path, part, "adapter/" if "model" in include else "")
    elif part == "artifacts":
        yield from _artifacts(run)
    elif part == "dataset":
        for name in ("tools.json", "examples.jsonl"):
            yield Item(f"dataset/{name}", part, own(run.path / "dataset" / name, run.path))
    elif part == "report":
        yield from _report(run, with_rows="dataset" in include)


def _weights(run: Run, folder: Path, part: str, prefix: str) -> Iterator[Item]:
    """Weights with what is needed to load them."""
    if folder.is_dir():
        named = [folder / name for name in (*SETTINGS, "adapter_config.json")]
        for file in [*named, *sorted(folder.glob("*.safetensors"))]:
            if file.exists():
                yield Item(prefix + file.name, part, own(file, run.path))


def _artifacts(run: Run) -> Iterator[Item]:
    from pipeline.export import artifacts

    modelfile = None
    for one in artifacts(run.artifacts_path):
        if one.format in FILES and one.verified:
            yield Item(Path(one.path).name, "artifacts", own(Path(one.path), run.path))
            modelfile = one.details.get("modelfile", modelfile)
    if modelfile:
        yield Item("Modelfile", "artifacts", modelfile.encode())


def _report(run: Run, with_rows: bool) -> Iterator[Item]:
    reports = run.evaluations()
    if reports:
        yield Item("report/evaluation.md", "report", _as_markdown(run.title, reports, with_rows).encode())
    for name, report in reports.items():
        kept = report if with_rows else {key: value for key, value in report.items() if key != "results"}
        yield Item(f"report/{name}.json", "report", (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())


def _as_markdown(title: str, reports: dict[str, dict[str, Any]], with_rows: bool) -> str:
    """The reports to read: scores side by side, then each one by function, then what went wrong."""
    from pipeline.export.card import plain

    lines = [f"# {plain(title)}: evaluation", "", "| model and split | rows | right function | exact match |", "|---|---:|---:|---:|"]
    lines += [
        f"| {plain(name)} | {one.get('rows', '')} | {one.get('tool_accuracy', 0):.1%} | {one.get('exact_match', 0):.1%} |"
        for name, one in reports.items()
    ]
    for name, one in reports.items():
        by_tool = one.get("by_tool") or {}
        if by_tool:
            keys = [key for key, value in next(iter(by_tool.values())).items() if isinstance(value, int | float)]
            lines += ["", f"## {plain(name)}", "", f"| function | {' | '.join(map(plain, keys))} |", f"|---|{'---:|' * len(keys)}"]
            lines += [f"| {plain(tool)} | {' | '.join(_number(row.get(key)) for key in keys)} |" for tool, row in by_tool.items()]
        wrong = [row for row in one.get("results") or () if row.get("verdict") != "correct"] if with_rows else []
        if wrong:
            lines += ["", f"{len(wrong)} of {one.get('rows')} are not exactly right:", "", "| request | verdict |", "|---|---|"]
            lines += [f"| {plain(str(row.get('request', '')))} | {plain(str(row.get('verdict', '')))} |" for row in wrong]
    return "\n".join([*lines, ""])


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value if value is not None else "")


def _missing(part: str, run: Run) -> str:
    return {
        "model": f"no trained model yet, it is {run.status}; train it to the end first.",
        "adapter": "no adapter: it was not trained with --method lora; push the model.",
        "artifacts": "no exported file yet; export one first, or push the model.",
        "report": "no scores yet; evaluate it first, or push the model.",
    }.get(part, "nothing of it yet.")
