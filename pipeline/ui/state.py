"""What a project has so far and what comes next, in few words; and its dataset as the page needs it, read once a change.

Everything is read from the project's folder. This file knows nothing about widgets.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from pipeline import dataset as data
from pipeline.dataset import Example, ToolDataset
from pipeline.durations import duration
from pipeline.errors import PipelineError
from pipeline.export import artifacts
from pipeline.runs import Project, Run
from pipeline.tools import Issue, lint_tools
from pipeline.train import is_away
from pipeline.ui import gpu_runs


@dataclass(frozen=True)
class Known:
    """A dataset with what is known about it. Rows of issues count from 1; those of tools have none."""

    dataset: ToolDataset
    tool_issues: tuple[Issue, ...]
    issues: tuple[Issue, ...]
    calls: Counter[str]

    @classmethod
    def of(cls, dataset: ToolDataset) -> Known:
        found = lint_tools(dataset.tools)
        tool_issues = tuple(replace(issue, row=None) for issue in found)
        rows = (*data.scarcity(dataset), *(issue for issue in data.validate(dataset) if issue not in found))
        calls = Counter({tool.name: 0 for tool in dataset.tools})
        calls.update(call.name for example in dataset.examples for call in example.calls)
        return cls(dataset, tool_issues, rows, calls)

    @property
    def must_fix(self) -> int:
        return sum(issue.severity == "error" for issue in (*self.tool_issues, *self.issues))

    @property
    def worth_a_look(self) -> int:
        return sum(issue.severity != "error" for issue in (*self.tool_issues, *self.issues))

    def of_row(self, row: int) -> list[Issue]:
        """Problems of the row with this index (from 0)."""
        return self._by_row.get(row + 1, [])

    @cached_property
    def _by_row(self) -> dict[int | None, list[Issue]]:
        rows: dict[int | None, list[Issue]] = defaultdict(list)
        for issue in self.issues:
            rows[issue.row].append(issue)
        return rows


def known(project: Project | None) -> Known | None:
    """The project's dataset, or None before there is one. PipelineError if its files are damaged."""
    if project is None:
        return None
    files = [project.dataset_path / name for name in (data.TOOLS_FILE, data.EXAMPLES_FILE)]
    if not all(file.is_file() for file in files):
        return None
    stamp = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return _known(project.dataset_path, stamp)


@lru_cache(maxsize=16)
def _known(folder: Path, stamp: object) -> Known:
    return Known.of(data.load(folder))


def held_out(dataset: ToolDataset) -> list[Example]:
    """The rows that training does not see."""
    return [example for example in dataset.examples if example.split == "test"]


def trained_runs(project: Project | None) -> list[Run]:
    """Runs whose model can be talked to, newest first."""
    return [run for run in project.runs() if run.model_path.is_dir()] if project else []


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def steps(project: Project | None) -> dict[str, str]:
    """Each step's state in a few words, by step."""
    words = dict.fromkeys(("dataset", "train", "evaluate", "playground", "export"), "")
    if project is None:
        return words
    words["dataset"] = _dataset_words(project)
    runs = project.runs()
    words["train"] = _train_words(runs[0]) if runs else "not yet"
    words["playground"] = "base and tuned" if trained_runs(project) else "base only"
    reports = next((found for run in runs if (found := run.evaluations())), {})
    scores = {name: percent(reports[f"{name}-test"]["exact_match"]) for name in ("base", "tuned") if f"{name}-test" in reports}
    said = f"base {scores['base']}" if list(scores) == ["base"] else " → ".join(scores.values())
    words["evaluate"] = f"{said} exact" if scores else "not yet"
    files = sum(len(artifacts(run.artifacts_path)) for run in runs)
    words["export"] = ("1 file" if files == 1 else f"{files} files") if files else "not yet"
    return words


def _dataset_words(project: Project) -> str:
    try:
        found = known(project)
    except PipelineError:
        return "cannot be read"
    if found is None:
        return "empty"
    tools, examples = len(found.dataset.tools), len(found.dataset.examples)
    words = f"{tools} tool{'' if tools == 1 else 's'}, {examples:,} example{'' if examples == 1 else 's'}"
    return f"{words}, {found.must_fix} to fix" if found.must_fix else words


def next_title(project: Project) -> str:
    """The title of the next run: `Run 4` after `Run 3`, also when runs in between were deleted."""
    numbers = [int(run.title[4:]) for run in project.runs() if run.title.startswith("Run ") and run.title[4:].isdecimal()]
    return f"Run {max(numbers, default=0) + 1}"


def _train_words(run: Run) -> str:
    info = run.info
    if run.status == "done":
        return f"done, {duration(info['seconds'])}"
    if run.status in ("training", "paused") and info["total_steps"]:
        running = run.status == "training" or gpu_runs.phase(run)
        return f"{'running' if running else 'paused'}, {percent(info['steps'] / info['total_steps'])}"
    return "in a Job" if is_away(run) else {"new": "waiting", "failed": "failed"}.get(run.status, run.status)
