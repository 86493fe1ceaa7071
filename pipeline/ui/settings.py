"""The settings of a training as widgets: made from `TrainConfig.options()`, read back into a TrainConfig.

Bounds are checked by the configuration itself, in its own words, so that the page and the command line say the same. Knows no run.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from pipeline import dataset
from pipeline.config import BASE_DEFAULTS, PRESETS, Option, TrainConfig, planned_steps, preset, resolve
from pipeline.runs import Project, Run
from pipeline.tools import Issue
from pipeline.ui import state
from pipeline.ui.base_choice import EMBEDDED, checked

PRESET_CHOICES = [(text.partition(":")[0], name) for name, (text, _) in PRESETS.items()]
ANY_CONTEXT = 1_048_576
"""Steps do not depend on how long a text the base can read; the run itself is resolved with the real number."""


@dataclass(frozen=True)
class Choices:
    """What the widgets hold: a preset, a base, and a value or None for every option."""

    preset: str
    base: str
    values: dict[str, Any]

    @property
    def embedded(self) -> bool:
        return self.base == EMBEDDED


@dataclass(frozen=True)
class Rows:
    """How many examples there are, how many are trained on, how many problems forbid it, and what there is too little of."""

    examples: int
    train: int
    blocking: int
    scarcity: tuple[Issue, ...] = ()


def widgets() -> list[Any]:
    """One widget an option, in the order of `TrainConfig.options()`; empty means what suits the base."""
    with gr.Row(elem_classes="settings"):
        return [_widget(option) for option in TrainConfig.options()]


def _widget(option: Option) -> Any:
    words = {"label": option.name, "info": f"{option.help}{_bounds(option)}", "elem_id": f"train-{option.name}", "min_width": 240}
    default = None if option.optional else option.default
    if option.kind is bool or option.choices:
        named = list(option.choices) if option.choices else [("yes", True), ("no", False)]
        named = [*([("as suits the base", "")] if option.optional else []), *named]
        return gr.Dropdown(named, value="" if option.optional else default, **words)
    # Text, because an empty number field reads as 0; the option itself says what a text stands for.
    return gr.Textbox("" if default is None else f"{default:g}", placeholder=_usual(option), max_lines=1, **words)


def _bounds(option: Option) -> str:
    if option.low is None or option.high is None or option.kind is bool:
        return ""
    return f" {option.low:,g} to {option.high:,g}." if option.high < 1e6 else f" At least {option.low:,g}."


def _usual(option: Option) -> str | None:
    if not option.optional:
        return None
    usual = BASE_DEFAULTS["embedded", "full"].get(option.name)
    return "as suits the base" if usual is None else f"as suits the base: {usual:g}"


def read(values: Sequence[Any]) -> Choices:
    """What the browser sent, in the order preset, base, options. Raises ConfigError for what is no choice of ours or no such value."""
    chosen, base, *rest = values
    options = TrainConfig.options()
    typed = {option.name: option.parse(str(value)) for option, value in zip(options, rest, strict=True) if value not in ("", None)}
    return Choices(str(chosen), checked(base), typed)


def config(choices: Choices) -> TrainConfig:
    """The configuration that was chosen; epochs that were typed count more than the preset's. Raises ConfigError."""
    made = TrainConfig(**choices.values)
    made.check()
    if made.num_train_epochs is None:
        made = preset(choices.preset, choices.embedded, made)
    return made


def steps(made: TrainConfig, choices: Choices, rows: Rows) -> int:
    """Optimiser steps of the training. Raises ConfigError."""
    return planned_steps(resolve(made, choices.embedded, ANY_CONTEXT), rows.train)


def work(base_id: str, made: TrainConfig, steps: int, rows: int, embedded: bool) -> tuple[str, float]:
    """The kind of work and its units for `timings`: examples that pass through the model in `steps` steps."""
    full = resolve(made, embedded, ANY_CONTEXT)
    return f"train {base_id} {full.method}", steps * min(rows, full.per_device_train_batch_size * full.gradient_accumulation_steps)


def work_left(run: Run) -> tuple[str, float]:
    """The same for what a run still has before it."""
    info = run.info
    rows = sum(example.split == "train" for example in run.dataset().examples)
    return work(info["base"]["id"], run.config, info["total_steps"] - info["steps"], rows, info["base"]["embedded"])


def command(made: TrainConfig, choices: Choices) -> str:
    """The command line that does the same, on a dataset saved as `data`."""
    words = ["python", "-m", "pipeline", "train", "data", "--out", "run", "--base", choices.base]
    if choices.values.get("num_train_epochs") is None and choices.preset != "standard":
        words += ["--preset", choices.preset]
        made = replace(made, num_train_epochs=None)
    return shlex.join([*words, *made.to_flags()])


def meaning(choices: Choices) -> str:
    """What the chosen preset is for; nothing where epochs or steps were typed."""
    if choices.values.get("num_train_epochs") or choices.values.get("max_steps"):
        return ""
    text = PRESETS[choices.preset][0].partition(": ")[2]
    return f'<p class="quiet">{text[:1].upper()}{text[1:]}</p>'


def rows(project: Project | None, made: TrainConfig) -> Rows:
    """What there is to train on. Raises PipelineError if the dataset's files are damaged."""
    found = state.known(project)
    if found is None:
        return Rows(0, 0, 0)
    examples = dataset.split(found.dataset, made.test_fraction, made.split_seed).examples
    return Rows(len(examples), sum(example.split != "test" for example in examples), found.must_fix, tuple(dataset.scarcity(found.dataset)))
