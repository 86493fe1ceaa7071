"""What happens between two optimiser steps of a run: log, look at the clock and the stop flag, make checkpoints whole, show answers.

transformers' Trainer calls these; everything they know goes to the run folder, where the page and the command line read it. They do
not know what a step computes and change nothing in it: a run that is watched ends with the weights of one that is not. Of several processes
the first writes and decides, and the others follow it (ranks.py).
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline import ranks
from pipeline.errors import RunError
from pipeline.examples import Example
from pipeline.files import write_atomic
from pipeline.model import Loaded, generate
from pipeline.runs import COMPLETE, Run, Sample, StepLog

KEPT = 2  # whole checkpoints that stay on disk: the last, and one more should the disk damage it
DISK = 300e6  # bytes a second that a checkpoint is assumed to be written with until one has been timed
SAMPLE_TOKENS = 96  # of an answer shown after an epoch; calls in the datasets seen so far have 15 to 50


class Slot:
    """The time that this call of train() may take: started when it was called, ends before `budget` seconds (None: no limit)."""

    def __init__(self, budget: float | None, seconds_before: float):
        self.started = time.monotonic()
        self.budget = budget
        self.seconds_before = seconds_before  # that earlier slots of the run took

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def total(self) -> float:
        """Seconds of the whole run so far."""
        return self.seconds_before + self.elapsed

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.budget is None or self.elapsed + seconds < self.budget


def peak_memory(device: str) -> int:
    """Peak bytes of the GPU, or of this process where there is none."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


class Watch(TrainerCallback):
    """Writes the step log, stops when asked or out of time, and makes checkpoints count only when they are whole."""

    def __init__(self, run: Run, slot: Slot, device: str, examples_per_step: int, checkpoint_bytes: int,
                 on_step: Callable[[StepLog], None] | None, should_stop: Callable[[], bool] | None):
        self.run, self.slot, self.device, self.on_step = run, slot, device, on_step
        self.examples_per_step = examples_per_step
        self.asked = lambda: run.stop_requested or (should_stop is not None and should_stop())
        self.save_seconds = checkpoint_bytes / DISK
        self.stopped = False  # before its last step, because asked to or out of time
        self.steps: list[float] = []  # seconds of the steps of this slot
        self.extra = 0.0  # the longest pause between two steps, for validation and sample answers
        self._mark = self._idle = time.monotonic()  # when the step before or the pause before began; when saving may have begun

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._mark = time.monotonic()
        if ranks.leads():
            self.run.update(total_steps=state.max_steps)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.steps:
            self.extra = max(self.extra, time.monotonic() - self._mark)
        self._mark = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps.append(time.monotonic() - self._mark)
        self._mark = self._idle = time.monotonic()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Validation and samples are not timed before the first epoch has ended: a few steps' worth is assumed.
        if state.global_step < state.max_steps and ranks.agreed(not self.slot.has(self.reserve + 2 * max(self.steps, default=0))):
            self._stop(control)
        if self.stopped:
            control.should_evaluate = False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._idle = time.monotonic()

    @property
    def reserve(self) -> float:
        """Seconds that one more step and a checkpoint may take, with a quarter more than so far."""
        return 1.25 * (max(self.steps, default=0.0) + self.extra + self.save_seconds) + 0.5

    def _stop(self, control: TrainerControl) -> None:
        self.stopped = True
        control.should_save = control.should_training_stop = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None,
               **kwargs: Any) -> None:
        logs = logs or {}
        if "loss" in logs:
            if not torch.isfinite(torch.tensor(logs["loss"])):
                raise RunError(
                    f"The loss is {logs['loss']} after step {state.global_step}: the training has diverged; start over with a lower "
                    f"--learning-rate (it was {self.run.config.learning_rate:g})."
                )
            usual = median(self.steps[-20:]) if self.steps else None
            entry = StepLog(
                state.global_step, state.max_steps, loss=logs["loss"], learning_rate=logs.get("learning_rate"),
                examples_per_second=self.examples_per_step / usual if usual else None, seconds=self.slot.total,
                eta=(state.max_steps - state.global_step) * usual if usual else None, memory=peak_memory(self.device),
            )  # fmt: skip
        elif "eval_loss" in logs:
            entry = StepLog(state.global_step, state.max_steps, eval_loss=logs["eval_loss"], seconds=self.slot.total)
        else:
            return
        if ranks.leads():
            self.run.append_log(entry)
        if self.on_step:
            self.on_step(entry)
        # Every step is logged, so this comes once a step, before the trainer looks whether to save.
        if "loss" in logs and state.global_step < state.max_steps and ranks.agreed(self.asked() or not self.slot.has(self.reserve)):
            self._stop(control)
        self._idle = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = self.run.checkpoints_path / f"checkpoint-{state.global_step}"
        ranks.together()  # each process has written its own random state into it
        if not ranks.leads():
            return
        seal(folder, state.global_step)
        self.save_seconds = time.monotonic() - self._idle
        for old in self.run.checkpoints()[:-KEPT]:
            discard(old.path)
        self.run.update(steps=state.global_step, checkpoint=folder.name, seconds=self.slot.total)


class SampleAnswers(TrainerCallback):
    """Lets the model answer the same few held-out requests after every epoch, so that one can watch it learn."""

    def __init__(self, run: Run, watch: Watch, tokenizer: Any, device: str, rows: Sequence[tuple[Example, str, str]]):
        """`rows` are held-out examples with the texts of their prompt and completion."""
        self.run, self.watch, self.tokenizer, self.device, self.rows = run, watch, tokenizer, device, rows

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any) -> None:
        if self.watch.stopped or not self.rows:
            return
        was_training = model.training
        model.eval()  # also switches gradient checkpointing off
        plain = model.get_base_model() if hasattr(model, "peft_config") else model  # the adapters sit inside it
        answers = generate(Loaded(plain, self.tokenizer, self.device, "float32"), [prompt for _, prompt, _ in self.rows], SAMPLE_TOKENS)
        model.train(was_training)
        for (example, _, expected), answer in zip(self.rows, answers, strict=True):
            self.run.append_sample(Sample(state.global_step, round(state.epoch, 2), example.request, expected, answer.text))


def seal(folder: Path, step: int) -> None:
    """Make a checkpoint count: flush all its files to the disk, then write the marker."""
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    write_atomic(folder / COMPLETE, f'{{"step": {step}}}')


def discard(folder: Path) -> None:
    """Delete a checkpoint, its marker first: what is left of it after a crash does not count."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder)
