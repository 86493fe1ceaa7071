"""`demo`: the whole job on the sample data with the embedded base, of the same functions as the other commands, and a table at the end."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from pipeline import evaluate as evaluations
from pipeline import export as exports
from pipeline import samples
from pipeline.cli import parser
from pipeline.cli.console import Console, duration, table
from pipeline.cli.data import import_files
from pipeline.cli.result import Result
from pipeline.cli.training import open_run, train_run
from pipeline.config import TrainConfig
from pipeline.dataset import EXAMPLES_FILE, TOOLS_FILE
from pipeline.errors import ConfigError

FORMATS = ("litertlm", "task")
PARTS = ("data", "run", "files")


def demo(args: argparse.Namespace, console: Console) -> Result:
    """Do the whole job on the sample data with the embedded base: import, train, evaluate, export, and say what came out."""
    out: Path = args.out
    _check_out(out)
    options = parser.given(args, TrainConfig)
    TrainConfig(**options).check()
    began = time.monotonic()
    done: dict[str, float] = {}

    def finished(stage: str, text: str) -> None:
        done[stage] = round(time.monotonic() - began - sum(done.values()), 1)
        console.say(f"{stage}: {text} ({duration(done[stage])})")

    dataset, _ = import_files([samples.FOLDER / EXAMPLES_FILE], samples.FOLDER / TOOLS_FILE, out / "data", console.part(0, 0.02))
    finished("import", f"{len(dataset.examples)} examples, {len(dataset.tools)} tools")
    run = open_run(out / "data", out / "run", "embedded", options)
    train_progress = console.part(0.02, 0.6)
    run, stopped_by = train_run(run, train_progress)
    if stopped_by is not None or run.status != "done":
        text = f"Stopped after {run.info['steps']} of {run.info['total_steps']} steps; the same command goes on from there"
        return Result({"out": str(out), "status": run.status}, text, status=128 + stopped_by if stopped_by else 0)
    finished("train", f"{run.info['steps']} steps, loss {run.info['final_loss']:.3f}")
    reports = {}
    for number, on in enumerate(("base", "tuned")):
        low = 0.6 + 0.05 * number
        reports[on] = evaluations.evaluate(run, on=on, progress=console.part(low, low + 0.05))
        finished(f"evaluate {on}", _scores(reports[on].to_json()))
    artifacts = []
    for number, format in enumerate(FORMATS):
        low = 0.7 + 0.3 * number / len(FORMATS)
        artifacts.append(exports.export(run, format, out=out / "files", progress=console.part(low, low + 0.3 / len(FORMATS))))
        finished(f"export {format}", artifacts[-1].sentence)
    console.progress(1, "done")
    return _result(out, run.info, {on: report.to_json() for on, report in reports.items()}, artifacts, done)


def _check_out(out: Path) -> None:
    """Raises ConfigError where `out` is something else than a new folder or an earlier demo."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out must be a folder, and {out} is a file; name another one.")
    strangers = [path.name for path in out.iterdir() if path.name not in PARTS and not path.name.startswith(".")] if out.is_dir() else []
    if strangers:
        raise ConfigError(f"{out} holds {strangers[0]}, which no demo made; name a new folder in --out.")


def _scores(report: dict[str, Any]) -> str:
    return f"right tool {report['tool_accuracy']:.0%}, exact match {report['exact_match']:.0%} of {report['rows']} held-out rows"


def _result(out: Path, info: dict[str, Any], reports: dict[str, dict], artifacts: list[Any], seconds: dict[str, float]) -> Result:
    scores = [(on, f"{report['tool_accuracy']:.1%}", f"{report['exact_match']:.1%}", report["rows"]) for on, report in reports.items()]
    files = [
        (Path(one.path).name, f"{one.size / 1e6:.1f} MB", f"{one.answers_identical} of {one.answers_total}", duration(one.seconds))
        for one in artifacts
    ]
    text = "\n\n".join([
        f"{info['base']['label']}, trained {info['steps']} steps in {duration(info['seconds'])}; all in {duration(sum(seconds.values()))}",
        table(("held-out rows", "right tool", "exact match", "rows"), scores),
        table(("file", "size", "answers as the model's", "took"), files),
        f"Everything is in {out}: data/, run/, files/",
    ])  # fmt: skip
    kept = ("rows", "tool_accuracy", "exact_match", "by_tool")
    return Result(
        {
            "out": str(out), "status": info["status"], "steps": info["steps"], "final_loss": info["final_loss"], "seconds": seconds,
            "evaluations": {on: {key: report[key] for key in kept} for on, report in reports.items()},
            "artifacts": [one.to_json() for one in artifacts],
        },
        text,
    )  # fmt: skip
