"""Every option of training, evaluation and export: one definition, many faces.

A field of `TrainConfig`, `EvalConfig` or `ExportConfig` carries its default, bounds, choices and help. The command-line flag, the
widget, the check and the key in run.json are all made from it, so that they cannot disagree. Names are Hugging Face's where Hugging
Face has one. None means "what suits the base model": `resolve` replaces it once, before training, and run.json holds the result.

This file knows no model, no folder and no framework; it does not know how long anything takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One option as its faces need it.

    `kind` is str, int, float or bool; `low` and `high` are inclusive; `optional` allows None, the base model's default.
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None
    optional: bool = False
    unset: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        return self.name

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value`, in words of the flag; None if nothing is."""
        if value is None:
            return None if self.optional else f"{self.flag} needs a value"
        wanted = {str: "a word", int: "a whole number", float: "a number", bool: "true or false"}[self.kind]
        fits = isinstance(value, (int, float) if self.kind is float else self.kind)
        if not fits or (isinstance(value, bool) and self.kind is not bool):
            return f"{self.flag} must be {wanted}, found {value!r}"
        if self.choices is not None and value not in self.choices:
            return f"{self.flag} must be one of {', '.join(self.choices)}, found {value!r}"
        if self.kind is float and not math.isfinite(value):
            return f"{self.flag} must be a finite number, found {value!r}"
        if self.low is not None and value < self.low:
            return f"{self.flag} must be at least {plain(self.low)}, found {value!r}"
        if self.high is not None and value > self.high:
            return f"{self.flag} must be at most {plain(self.high)}, found {value!r}"
        return None

    def parse(self, text: str) -> Any:
        """The value that `text`, typed by a person, stands for. Raises ConfigError when it stands for none."""
        text = text.strip()
        if self.optional and text.lower() in {"", "none", "auto"}:
            return None
        if self.kind is str:
            value: Any = text
        elif self.kind is bool:
            value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
        else:
            try:
                value = self.kind(text)
            except ValueError:
                value = text
        if problem := self.problem(value):
            raise ConfigError(problem + ".")
        return value


def plain(number: float) -> str:
    """A number as people write it: 1,000,000, not 1e+06."""
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def option(default: Any, kind: type, help: str, *, low: float | None = None, high: float | None = None,
           choices: tuple[str, ...] | None = None, unset: str = "what suits the base model") -> Any:
    """A dataclass field that carries its own definition; `unset` says in words what the default None stands for."""
    return field(default=default, metadata={"kind": kind, "help": help, "low": low, "high": high, "choices": choices, "unset": unset})


class Options:
    """What the three configurations share: their definition, their check, their JSON and their flags."""

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """All options in order of declaration."""
        return tuple(
            Option(f.name, default=f.default, optional=f.default is None, **f.metadata) for f in fields(cls)
        )

    @classmethod
    def option(cls, name: str) -> Option:
        return next(o for o in cls.options() if o.name == name)

    def problems(self) -> list[str]:
        """Everything that is wrong, one sentence without a full stop each."""
        return [p for o in self.options() if (p := o.problem(getattr(self, o.name)))]

    def check(self) -> None:
        """Raises ConfigError, in words of the flags, if any option cannot be used."""
        if problems := self.problems():
            raise ConfigError("; ".join(problems) + ".")

    def to_json(self) -> dict[str, Any]:
        return {o.name: getattr(self, o.name) for o in self.options()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Any:
        """The configuration that `to_json` wrote; a missing key takes its default. Raises ConfigError for anything else."""
        known = {o.name for o in cls.options()}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"Unknown option {unknown[0]!r}; the options are {', '.join(sorted(known))}.")
        made = cls(**values)
        made.check()
        return made

    def to_flags(self) -> list[str]:
        """The command-line words that say what differs from the defaults: the command that repeats what was clicked."""
        words: list[str] = []
        for o in self.options():
            value = getattr(self, o.name)
            if value != o.default and value is not None:
                words += [o.flag, str(value).lower() if o.kind is bool else str(value)]
        return words


@dataclass(frozen=True)
class TrainConfig(Options):
    """How a base model is fine-tuned."""

    method: str = option("full", str, "full: every weight is trained; lora: small adapters are, and merged at the end.",
                         choices=("full", "lora"))
    num_train_epochs: float | None = option(None, float, "How often each training example is seen.", low=0.01, high=1000)
    max_steps: int | None = option(None, int, "Stop after this many optimiser steps, whatever num_train_epochs says.",
                                   low=1, high=1_000_000, unset="no limit")
    learning_rate: float | None = option(None, float, "Peak step size of the optimiser (AdamW).", low=1e-8, high=1.0)
    lr_scheduler_type: str | None = option(None, str, "How the learning rate falls after the warm-up.",
                                           choices=("cosine", "linear", "constant", "constant_with_warmup"))
    warmup_steps: float | None = option(None, float, "Steps over which the learning rate rises; below 1, a share of all steps.",
                                        low=0, high=100_000)
    per_device_train_batch_size: int | None = option(None, int, "Examples per batch on each device.", low=1, high=1024)
    gradient_accumulation_steps: int | None = option(None, int, "Batches per optimiser step; the effective batch is the product.",
                                                     low=1, high=1024)
    weight_decay: float | None = option(None, float, "Pull of the weights towards zero (AdamW).", low=0, high=1)
    max_grad_norm: float = option(1.0, float, "Gradients longer than this are shortened to it.", low=1e-3, high=1000)
    lora_r: int = option(16, int, "Rank of the LoRA adapters.", low=1, high=256)
    lora_alpha: int = option(32, int, "Scale of the LoRA adapters; twice the rank is usual.", low=1, high=1024)
    lora_dropout: float = option(0.0, float, "Dropout inside the adapters; above 0, prefixes are not shared, which is slower.",
                                 low=0, high=0.9)
    max_length: int | None = option(None, int, "Longest example in tokens; a longer one is refused by name, never cut.",
                                    low=16, high=32_768)
    max_tokens: int = option(8192, int, "Tokens computed at once; lower it when memory runs out, the result is the same.",
                             low=256, high=1_048_576)
    dtype: str = option("auto", str, "Number format: auto takes bfloat16 where the hardware is faster with it, else float32.",
                        choices=("auto", "bfloat16", "float32"))
    gradient_checkpointing: bool | None = option(None, bool, "Less memory for a little more time.")
    save_steps: int | None = option(None, int, "Optimiser steps between checkpoints.", low=1, high=100_000)
    seed: int = option(42, int, "Makes shuffling and initial adapters repeatable.", low=0, high=2**32 - 1)
    test_fraction: float = option(0.1, float, "Share of the examples that is held out, where the dataset is not split yet.",
                                  low=0.01, high=0.9)
    split_seed: int = option(0, int, "Makes that split repeatable, apart from the seed of the training.", low=0, high=2**32 - 1)

    def problems(self) -> list[str]:
        found = super().problems()
        if self.method != "lora":
            changed = [o.flag for o in self.options() if o.name.startswith("lora_") and getattr(self, o.name) != o.default]
            if changed:
                found.append(f"{', '.join(changed)} needs --method lora")
        return found


@dataclass(frozen=True)
class EvalConfig(Options):
    """How a model, or an exported file, answers the held-out rows."""

    on: str = option("tuned", str, "What answers: the base, the tuned model, or an exported file in its own runtime.",
                     choices=("base", "tuned", "litertlm", "task", "tflite", "gguf"))
    split: str = option("test", str, "Which rows are answered.", choices=("test", "train"))
    max_new_tokens: int | None = option(None, int, "Cut answers after so many tokens.", low=1, high=4096,
                                        unset="somewhat more than the longest expected answer")
    limit: int | None = option(None, int, "Answer only the first so many rows.", low=1, high=1_000_000, unset="all of them")


@dataclass(frozen=True)
class ExportConfig(Options):
    """What file is made of the tuned model."""

    format: str = option("litertlm", str, "litertlm: LiteRT-LM; task: MediaPipe, flutter_gemma; tflite; gguf: llama.cpp; merged: Python; "
                         "adapter: LoRA's, for peft; appkit: source code for the app.",
                         choices=("litertlm", "task", "tflite", "gguf", "merged", "adapter", "appkit"))
    quantize: str | None = option(None, str, "Number format of the file.", choices=("int8", "int4", "float32", "float16", "q8_0", "q4_0"),
                                  unset="the one that suits the format")
    cache_length: int = option(1024, int, "Longest prompt and answer together that the file can hold, in tokens.", low=128, high=32_768)
    wrap_turns: bool = option(False, bool, "Only .task: let the runtime write the user's turn, for the plain MediaPipe API.")


# Full: learning rates of 1e-5 to 5e-5 with cosine decay, effective batch 32 and 2-3 epochs, and LoRA r 16, alpha 32, 2e-4, are the
# FunctionGemma cookbook's. Checkpointing takes a third off the memory of a full fine-tune, for a fifth more time on a CPU. The
# embedded base is 50 times smaller and wants a larger rate and more passes.
BASE_DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("gemma", "full"): {
        "num_train_epochs": 3, "learning_rate": 2e-5, "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "weight_decay": 0.0,
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "save_steps": 10, "gradient_checkpointing": True,
    },
    ("gemma", "lora"): {
        "num_train_epochs": 3, "learning_rate": 2e-4, "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "weight_decay": 0.0,
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "save_steps": 10, "gradient_checkpointing": True,
    },
    ("embedded", "full"): {
        "num_train_epochs": 15, "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "weight_decay": 0.05,
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "save_steps": 25, "gradient_checkpointing": False,
    },
    ("embedded", "lora"): {
        "num_train_epochs": 20, "learning_rate": 4e-3, "lr_scheduler_type": "cosine", "warmup_steps": 0.05, "weight_decay": 0.0,
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "save_steps": 25, "gradient_checkpointing": False,
    },
}
DEFAULT_MAX_LENGTH = 4096  # tokens; no example of the datasets seen so far is longer than 2,200

# name -> what one line says about it, and how many times the base's usual epochs it trains
PRESETS: dict[str, tuple[str, float]] = {
    "quick": ("Quick check: a third of the time, to see that everything works.", 1 / 3),
    "standard": ("Standard: as many passes over the examples as suit the base model.", 1),
    "thorough": ("Thorough: twice the passes, for small or difficult datasets.", 2),
}


def preset(name: str, embedded: bool, config: TrainConfig | None = None) -> TrainConfig:
    """`config` (default: all defaults) with the epochs of the preset `name`, a key of PRESETS. Raises ConfigError for another name."""
    if name not in PRESETS:
        raise ConfigError(f"--preset must be one of {', '.join(PRESETS)}, found {name!r}.")
    config = config or TrainConfig()
    if name == "standard":
        return replace(config, num_train_epochs=None)
    usual = BASE_DEFAULTS["embedded" if embedded else "gemma", config.method]["num_train_epochs"]
    return replace(config, num_train_epochs=float(max(1, round(usual * PRESETS[name][1]))))


def resolve(config: TrainConfig, embedded: bool, context: int) -> TrainConfig:
    """`config` with every None replaced by the base model's default, as run.json records it; max_steps alone may stay None (no limit).

    `embedded` says which base it is, `context` is the longest text in tokens that it can read. Raises ConfigError.
    """
    config.check()
    defaults = {**BASE_DEFAULTS["embedded" if embedded else "gemma", config.method], "max_length": min(context, DEFAULT_MAX_LENGTH)}
    resolved = replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})
    if resolved.max_length > context:
        raise ConfigError(f"--max-length must be at most {context}, what this base model can read, found {resolved.max_length}.")
    return resolved


def planned_steps(config: TrainConfig, rows: int, devices: int = 1) -> int:
    """Optimiser steps that a resolved `config` takes over `rows` training examples, counted as transformers' Trainer counts them."""
    if config.max_steps is not None:
        return config.max_steps
    batches = math.ceil(rows / (config.per_device_train_batch_size * devices))
    per_epoch = max(1, math.ceil(batches / config.gradient_accumulation_steps))
    return math.ceil(config.num_train_epochs * per_epoch)
