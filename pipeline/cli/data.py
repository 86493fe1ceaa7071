"""`import` and `lint`: rows of the wild become a dataset folder, and what is wrong with one is said.

How a row is read and what counts as wrong is decided in pipeline.importers, tools and dataset.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline.cli.console import Console, table
from pipeline.cli.result import Result
from pipeline.dataset import EXAMPLES_FILE, TOOLS_FILE, ToolDataset
from pipeline.errors import DataError
from pipeline.importers import ImportReport, read
from pipeline.sources import tools_from
from pipeline.tools import Issue, lint_tools

Progress = Callable[[float, str], None]

REPORT_FILE = "report.json"
SHOWN = 20
"""Problems listed for a person; --json and report.json have all."""


def import_(args: argparse.Namespace, console: Console) -> Result:
    """Read tools and examples in the formats of the wild -> tools.json, examples.jsonl, report.json."""
    dataset, reports = import_files(args.files, args.tools, args.out, console.progress)
    summary = _summary(reports)
    lines = [
        f"{summary['imported']} of {summary['read']} rows imported ({summary['changed']} changed on the way), "
        f"{summary['refused']} refused; {len(dataset.tools)} tools -> {args.out}",
        *_listed([issue for report in reports for issue in report.issues]),
        f"next: python -m pipeline lint {shlex.quote(str(args.out))}",
    ]
    return Result({"out": str(args.out), "tools": len(dataset.tools), "examples": len(dataset.examples), **summary}, "\n".join(lines))


def import_files(files: list[Path], tools: Path | None, out: Path, progress: Progress) -> tuple[ToolDataset, list[ImportReport]]:
    """The dataset of all `files` in `out`, and a report a file. Raises DataError, and then leaves `out` as it was."""
    _check_out(out, [*files, *([tools] if tools else [])])
    given = tools_from(tools) if tools else None
    parts: list[ToolDataset] = []
    reports: list[ImportReport] = []
    for number, file in enumerate(files):
        progress(number / len(files), f"reading {file}")
        dataset, report = read(file, given)
        parts.append(dataset)
        reports.append(report)
    whole = merge(parts)
    if not whole.examples:
        first = next((issue for report in reports for issue in report.issues if issue.severity == "error"), None)
        raise DataError(f"No example could be read from {', '.join(map(str, files))}{f': {first}' if first else ''}.")
    if not whole.tools:
        raise DataError("The rows bring no tools; name the functions, a JSON list, with --tools FILE.")
    datasets.save(whole, out, {REPORT_FILE: json.dumps(_summary(reports), indent=1, ensure_ascii=False)})
    progress(1.0, f"{len(whole.examples)} examples imported")
    return whole, reports


def lint(args: argparse.Namespace, console: Console) -> Result:
    """Say what is wrong with a dataset: what blocks training, what costs accuracy, what FunctionGemma will not see."""
    dataset = datasets.load(args.dataset)
    issues = [*lint_tools(dataset.tools), *datasets.validate(dataset), *datasets.scarcity(dataset)]
    errors = [issue for issue in issues if issue.severity == "error"]
    statistics = datasets.statistics(dataset)
    text = [
        f"{len(dataset.examples)} examples, {len(dataset.tools)} tools; {len(errors)} problems must be fixed, "
        f"{len(issues) - len(errors)} are worth a look",
        *_listed(errors + [issue for issue in issues if issue.severity != "error"]),
        table(("tool", "rows that call it"), list(statistics["by_tool"].items())),
    ]
    return Result(
        {"errors": len(errors), "warnings": len(issues) - len(errors), "issues": [i.to_json() for i in issues], "statistics": statistics},
        "\n".join(text),
        f"{len(errors)} problems in {args.dataset} must be fixed before training; the first: {errors[0]}" if errors else None,
    )


def merge(parts: list[ToolDataset]) -> ToolDataset:
    """One dataset of several. A row keeps the tools of its own file, because they are what its prompt declares."""
    common = next((part.tools for part in parts if part.tools), ())
    rows = []
    for part in parts:
        same = part.tools in (common, ())
        rows += [row if same or row.tools is not None else replace(row, tools=part.tools) for row in part.examples]
    return ToolDataset(common, tuple(rows))


def _summary(reports: list[ImportReport]) -> dict[str, Any]:
    """The reports of all files, and their sums."""
    files = [report.to_json() for report in reports]
    return {**{key: sum(file[key] for file in files) for key in ("read", "imported", "changed", "refused")}, "files": files}


def _listed(issues: list[Issue]) -> list[str]:
    lines = [f"  {issue.severity}: {issue}{f'. {issue.fix}' if issue.fix else ''}" for issue in issues[:SHOWN]]
    return lines + [f"  ... and {len(issues) - SHOWN} more (--json lists all)"] * (len(issues) > SHOWN)


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Raises DataError where writing `out` would destroy something that is not an earlier import."""
    if out.exists() and not out.is_dir():
        raise DataError(f"--out must be a folder, and {out} is a file; name another one.")
    if not out.resolve().name:
        raise DataError(f"--out must be a folder of its own, found {out}; name another one.")
    if (out / "run.json").exists():
        raise DataError(f"{out} is a run folder; name another --out for the dataset.")
    written = {(out / name).resolve() for name in (TOOLS_FILE, EXAMPLES_FILE, REPORT_FILE)}
    for path in inputs:
        if path.resolve() in written:
            raise DataError(f"--out {out} would overwrite {path}, which is being imported; name another folder.")
