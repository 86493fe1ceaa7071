"""The GPU of a ZeroGPU Space, for one slot: the only module with a function that `spaces.GPU` decorates.

spaces forks a worker from this server, hands it a GPU for the seconds asked for, and may use it again for the next visitor. So a slot
gets a path and a number and gives back words: the model is loaded from the run's folder inside, and let go of before the slot ends;
no module here or in the pipeline keeps weights or rows. What asks for slots, and what becomes of a refusal, is `gpu_runs`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import spaces

from pipeline import slots, train
from pipeline.errors import PipelineError
from pipeline.model import GPU_SLOT
from pipeline.runs import Run
from pipeline.ui.widgets import OURS

log = logging.getLogger("studio")

TICK = 0.5
"""Seconds between two words of a slot: between them nothing from outside is heard, and after 20 minutes of silence spaces gives up."""
HEAVY = ("torch", "transformers.models.gemma3.modeling_gemma3", "datasets", "trl", "peft", "pipeline.callbacks", "pipeline.trainer")


def warm() -> None:
    """Import what training needs. Done by the server before it forks, for a slot would pay for it with seconds of GPU time."""
    train.models.quiet()
    for name in HEAVY:
        importlib.import_module(name)


def seconds_of(folder: str, seconds: int) -> int:
    """How long a slot is asked for; spaces calls this with the arguments of `train_slot`."""
    return min(seconds, slots.LONGEST)


@spaces.GPU(duration=seconds_of)
def train_slot(folder: str, seconds: int) -> Iterator[dict[str, Any]]:
    """Train the run in `folder` until it is done, told to stop, or `seconds` are nearly over.

    Yields at once, then every TICK seconds, {"status": "training"}; last the run's status and, where it failed, the sentence. The run's
    stop flag ends it after the step under way, which is kept in a checkpoint. Raises nothing of its own: of an exception
    spaces would only tell the class.
    """
    began = time.monotonic()
    os.environ[GPU_SLOT] = "1"  # of the worker, which does nothing else
    yield {"status": "training"}
    outcome: dict[str, Any] = {}
    work = threading.Thread(target=_train, args=(folder, seconds, began, outcome), name="slot", daemon=True)
    work.start()
    try:
        while work.is_alive():
            work.join(TICK)
            yield {"status": "training"}
    finally:  # also where the generator is closed: the GPU is given back only when nobody computes on it
        if work.is_alive():
            with contextlib.suppress(PipelineError, OSError):  # the run was deleted
                Run(folder).request_stop()
            work.join()
    yield outcome


def _train(folder: str, seconds: int, began: float, outcome: dict[str, Any]) -> None:
    try:
        run = Run(folder)
        if run.stop_requested:  # while ZeroGPU was still looking for a GPU
            outcome.update(status="paused")
            return
        warm()
        outcome.update(status=train.train(run, time_budget=slots.budget(seconds, time.monotonic() - began)).status)
    except PipelineError as problem:
        outcome.update(status="failed", error=str(problem))
    except Exception:
        log.exception("in a slot of %s", folder)
        outcome.update(status="failed", error=OURS)
    finally:
        _let_go()


def _let_go() -> None:
    """Free what training held: the next slot of this process may be another visitor's."""
    gc.collect()  # trainer, model and optimizer refer to each other
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
