"""What a training will need of ZeroGPU, and what the visitor has left, put together from what is known here.

Measured on this Space where such work has run before, else counted (`pipeline.hub.job_cost`, `pipeline.slots`). Knows no widget.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.config import TrainConfig, resolve
from pipeline.dataset import ToolDataset
from pipeline.errors import HubError
from pipeline.hub import job_cost, quota
from pipeline.model import find_base
from pipeline.runs import Run
from pipeline.slots import Left, Need, counted
from pipeline.ui import gpu_runs
from pipeline.ui.settings import ANY_CONTEXT, Choices

log = logging.getLogger("studio")


def before(dataset: ToolDataset, config: TrainConfig, chosen: Choices, timing: tuple[str, float], root: Path) -> tuple[Need, bool]:
    """What a run that is not made yet will need, and whether that was measured here. Raises PipelineError."""
    found = gpu_runs.before(root, timing)
    if found is not None:
        return found, True
    full = resolve(config, chosen.embedded, ANY_CONTEXT)
    return _counted(job_cost.planned(dataset, full, chosen.embedded), full, chosen.embedded), False


def guess(run: Run) -> Need:
    """What a run that has made no step on a GPU yet needs."""
    kept = run.last_checkpoint
    return _guess(run.path, kept.step if kept else 0)


@lru_cache(maxsize=64)
def _guess(path: Path, step: int) -> Need:
    run = Run(path)
    return _counted(job_cost.work_of(run), run.config, run.base["embedded"])


def _counted(work: job_cost.Work, config: TrainConfig, embedded: bool) -> Need:
    shape = find_base().config if embedded else job_cost.SHAPE
    return counted(work.operations, shape["num_hidden_layers"], sum(job_cost.weights(shape)), config, work.steps)


def left_of(token: str | None) -> dict[str, Any]:
    """What the owner of `token` has left of today's GPU time, as a gr.State holds it; `asked` is when it was so."""
    try:
        found = quota.left(token)
    except HubError as error:  # no billing scope, or the Hub is away: the plan says what accounts have a day
        log.info("the GPU time that is left cannot be read: %s", error)
        found = Left(None)
    return {**asdict(found), "asked": time.time()}


def read(held: Any) -> Left | None:
    """A Left from what the browser's state holds; None before it was asked for."""
    return Left(**{name: held.get(name) for name in ("seconds", "resets_at", "daily")}) if isinstance(held, dict) else None
