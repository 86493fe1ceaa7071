"""`import` and `lint`: rows of the wild become a dataset folder, and what is wrong with one is said.

How a row is read and what counts as wrong is decided in pipeline.importers, tools and dataset.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline import dataset as datasets
from pipeline.cli.console import Console, table
from pipeline.cli.result import Result
from pipeline.dataset import EXAMPLES_FILE, TOOLS_FILE, ToolDataset
from pipeline.errors import DataError
from pipeline.files import write_atomic
from pipeline.importers import ImportReport, read
from pipeline.tools import Issue, ToolSpec, lint_tools, tools_from_json

REPORT_FILE = "report.json"
SHOWN = 20
"""Problems listed for a person; --json and report.json have all."""


def import_(args: argparse.Namespace, console: Console) -> Result:
    """Read tools and examples in the formats of the wild -> tools.json, examples.jsonl, report.json."""
    _check_out(args.out, [*args.files, *([args.tools] if args.tools else [])])
    tools = read_tools(args.tools) if args.tools else None
    parts: list[ToolDataset] = []
    reports: list[tuple[Path, ImportReport]] = []
    for number, file in enumerate(args.files):
        console.progress(number / len(args.files), f"reading {file}")
        if file.is_dir():
            raise DataError(f"{file} is a folder; name the file with the examples in it.")
        dataset, report = read(file, tools)
        parts.append(dataset)
        reports.append((file, report))
    whole = merge(parts)
    if not whole.examples:
        first = next((issue for _, report in reports for issue in report.issues), None)
        raise DataError(f"No example could be read from {', '.join(map(str, args.files))}{f': {first}' if first else ''}.")
    summary = _summary(reports)
    _save(whole, summary, args.out)
    console.progress(1, "done")
    lines = [
        f"{summary['imported']} of {summary['read']} rows imported ({summary['changed']} changed on the way), "
        f"{summary['refused']} refused; {len(whole.tools)} tools -> {args.out}",
        *_listed([issue for _, report in reports for issue in report.issues]),
        f"next: python -m pipeline lint {args.out}",
    ]
    return Result({"out": str(args.out), "tools": len(whole.tools), "examples": len(whole.examples), **summary}, "\n".join(lines))


def lint(args: argparse.Namespace, console: Console) -> Result:
    """Say what is wrong with a dataset: what blocks training, what costs accuracy, what FunctionGemma will not see."""
    dataset = datasets.load(args.dataset)
    issues = [*lint_tools(dataset.tools), *datasets.validate(dataset)]
    issues = list(dict.fromkeys(issues))
    errors = [issue for issue in issues if issue.severity == "error"]
    statistics = datasets.statistics(dataset)
    counts = Counter(call.name for example in dataset.examples for call in example.calls)
    calls = [(tool.name, counts[tool.name]) for tool in dataset.tools]
    text = [
        f"{len(dataset.examples)} examples, {len(dataset.tools)} tools; {len(errors)} problems must be fixed, "
        f"{len(issues) - len(errors)} are worth a look",
        *_listed(errors + [issue for issue in issues if issue.severity != "error"]),
        table(("tool", "calls"), calls),
    ]
    return Result(
        {"errors": len(errors), "warnings": len(issues) - len(errors), "issues": [i.to_json() for i in issues], "statistics": statistics},
        "\n".join(text),
        f"{len(errors)} problems in {args.dataset} must be fixed before training; the first: {errors[0]}" if errors else None,
    )


def read_tools(path: Path) -> list[ToolSpec]:
    """The tools in a JSON file. Raises DataError."""
    if not path.is_file():
        raise DataError(f"There is no file {path}; --tools names a JSON list of function descriptions.")
    try:
        return tools_from_json(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}", error.issues) from error


def merge(parts: list[ToolDataset]) -> ToolDataset:
    """One dataset of several. A row keeps the tools of its own file, because they are what its prompt declares."""
    common = parts[0].tools
    rows = []
    for part in parts:
        same = part.tools == common
        rows += [row if same or row.tools is not None else replace(row, tools=part.tools) for row in part.examples]
    return ToolDataset(common, tuple(rows))


def _summary(reports: list[tuple[Path, ImportReport]]) -> dict:
    """The reports of all files, and their sums."""
    files = [{"file": str(file), **report.to_json()} for file, report in reports]
    return {**{key: sum(file[key] for file in files) for key in ("read", "imported", "changed", "refused")}, "files": files}


def _listed(issues: list[Issue]) -> list[str]:
    lines = [f"  {issue.severity}: {issue}{f' {issue.fix}' if issue.fix else ''}" for issue in issues[:SHOWN]]
    return lines + [f"  ... and {len(issues) - SHOWN} more (--json lists all)"] * (len(issues) > SHOWN)


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Raises DataError where writing `out` would destroy something that is not an earlier import."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out must be a folder, and {out} is a file; name another one.")
    if (out / "run.json").exists():
        raise DataError(f"{out} is a run folder; name another --out for the dataset.")
    written = {(out / name).resolve() for name in (TOOLS_FILE, EXAMPLES_FILE, REPORT_FILE)}
    for path in inputs:
        if path.resolve() in written:
            raise DataError(f"--out {out} would overwrite {path}, which is being imported; name another folder.")


def _save(dataset: ToolDataset, report: dict, out: Path) -> None:
    """All three files appear together: they are written to a folder beside `out`, which then takes its name."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        datasets.save(dataset, beside)
        write_atomic(beside / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False))
        if out.is_dir():
            for name in (REPORT_FILE, TOOLS_FILE, EXAMPLES_FILE):
                os.replace(beside / name, out / name)
        else:
            os.rename(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
