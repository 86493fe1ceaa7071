"""`train`: start a run, or go on with one that was stopped. What training is, is decided in pipeline.train."""

from __future__ import annotations

import argparse
import math
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import dataset as datasets
from pipeline import train as trainings
from pipeline.cli import parser
from pipeline.cli.console import Console, duration
from pipeline.cli.result import Result
from pipeline.config import TrainConfig, preset
from pipeline.errors import ConfigError, RunError
from pipeline.model import find_base, recorded
from pipeline.runs import Run, StepLog

Progress = Callable[..., None]  # (fraction, message), and seconds left where they are known


def train(args: argparse.Namespace, console: Console) -> Result:
    """Fine-tune a base model on a dataset, or go on with a run that was stopped."""
    budget = args.time_budget
    if budget is not None and not (math.isfinite(budget) and budget > 0):
        raise ConfigError(f"--time-budget must be more than 0 seconds, found {budget:g}.")
    options = parser.given(args, TrainConfig)
    TrainConfig(**options).check()
    run = open_run(args.dataset, args.out, args.base, options, args.preset, console.progress)
    run, stopped_by = train_run(run, console.progress, budget)
    if stopped_by is not None:
        console.say(f"Stopped after step {run.info['steps']} of {run.info['total_steps']}; the same command goes on from there.")
    return _result(run, stopped_by)


def open_run(
    dataset: Path, out: Path, base: str | None, options: dict[str, Any], preset_name: str | None = None, progress: Progress | None = None
) -> Run:
    """The run in `out`: a new one, or the unfinished or finished one of the same dataset and options that is there.

    Options and base that are None or missing are the base's own for a new run, and whatever the run has for an existing one.
    Raises RunError where `out` holds anything else.
    """
    rows = datasets.load(dataset)
    if (out / "run.json").exists():
        run = Run(out)
        _check_same(run, rows, base, options, preset_name)
        if run.status != "done":
            bring_base(run)
        return run
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not a run; name a new folder in --out.")
    if progress:
        progress(0, "checking the dataset")
    found = find_base(base or "embedded", progress=_fetching(progress), owner=True)
    config = TrainConfig(**options)
    if preset_name:
        config = replace(preset(preset_name, found.embedded, config), max_steps=config.max_steps)
    return trainings.prepare(rows, config, out, found, title=out.resolve().name)


def bring_base(run: Run) -> None:
    """Fetch the run's base again, with this computer's own token, if it has left the Hub's cache. Raises ModelError and HubError."""
    if run.base["revision"] and not Path(run.base["path"]).is_dir():
        run.update(base=recorded(run.base, owner=True).to_json())


def _fetching(progress: Progress | None) -> Progress | None:
    """Says how far a download is without a share of the whole, which is the training."""
    return None if progress is None else lambda fraction, message: progress(0, message)


def train_run(run: Run, progress: Progress, time_budget: float | None = None) -> tuple[Run, signal.Signals | None]:
    """Train until finished, out of time, or told to stop; which signal told it is the second value."""
    def on_step(step: StepLog) -> None:
        began.append(step.step)
        loss = "" if step.loss is None else f", loss {step.loss:.3f}"
        progress(step.step / step.total, f"step {step.step} of {step.total}{loss}", step.eta)

    began: list[int] = []
    with _stopping(run, began) as signals:
        run = trainings.train(run, time_budget=time_budget, on_step=on_step)
    return run, signals[0] if signals and run.status != "done" else None


@contextmanager
def _stopping(run: Run, began: Sequence[int]) -> Iterator[list[signal.Signals]]:
    """The first Ctrl-C or SIGTERM during a step lets the step end and keeps what is there; the second one ends at once."""
    received: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: Any) -> None:
        received.append(signal.Signals(number))
        if len(received) > 1 or not began:
            raise KeyboardInterrupt
        run.request_stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_same(run: Run, rows: datasets.ToolDataset, base: str | None, options: dict[str, Any], preset_name: str | None) -> None:
    """Raises RunError unless going on with `run` is what the words ask for."""
    if datasets.sha256(rows) not in (run.info["dataset_sha256"], datasets.sha256(run.dataset())):
        raise RunError(f"{run.path} is a run on another dataset; name a new folder in --out.")
    if preset_name:
        raise RunError(f"{run.path} is a run already and keeps its options; leave --preset out, or name a new folder in --out.")
    if base is not None and base != run.base["id"] and str(Path(base).resolve()) != run.base["path"]:
        raise RunError(f"{run.path} is a run on the base {run.base['id']}, not {base}; name a new folder in --out.")
    config = run.config
    for name, value in options.items():
        if (before := getattr(config, name)) != value:
            flag = TrainConfig.option(name).flag
            raise RunError(f"{run.path} was started with {flag} {before}, not {value}; leave it out, or name a new folder in --out.")


def _result(run: Run, stopped_by: signal.Signals | None) -> Result:
    info = run.info
    json = {
        "run": str(run.path), "status": run.status, "steps": info["steps"], "total_steps": info["total_steps"],
        "seconds": info["seconds"], "final_loss": info["final_loss"],
    }  # fmt: skip
    done = run.status == "done"
    loss = "" if info["final_loss"] is None else f", loss {info['final_loss']:.3f}"
    text = f"{run.status}: {info['steps']} of {info['total_steps']} steps in {duration(info['seconds'])}{loss} -> {run.path}\n" + (
        f"next: python -m pipeline evaluate {shlex.quote(str(run.path))}" if done else "the same command goes on from here"
    )
    return Result(json, text, status=0 if stopped_by is None else 128 + stopped_by)
