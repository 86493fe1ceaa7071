"""What a Job may run on and what it will cost: the Hub's own list of hardware and prices, and a count of the arithmetic of a training.

Prices are asked for, never written down here. The time is an estimate, counted and not measured: floating-point operations of the run's
own packs over a cautious share of what the hardware can do. It is good for choosing between two flavors and says so; only the timeout
bounds what is paid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import hub
from pipeline.config import TrainConfig, planned_steps
from pipeline.dataset import ToolDataset, split
from pipeline.durations import duration
from pipeline.errors import HubError
from pipeline.model import find_base, recorded
from pipeline.runs import Run

PERIODS = {"second": 1, "minute": 60, "hour": 3600}
"""Seconds of the periods that the Hub prices hardware by."""
PEAK = {"T4": 8.1e12, "L4": 121e12, "A10G": 70e12, "A100": 312e12, "L40S": 362e12, "H100": 989e12, "H200": 989e12, "RTX PRO 6000": 503e12}
"""Operations a second of one GPU in bfloat16 without sparsity, from NVIDIA's data sheets; float32 for the T4, which has no bfloat16."""
SHARE = 0.1
"""Of the peak that small models reach; 0.3 and more is usual for large ones."""
UNKNOWN_GPU = 60e12
PER_CPU = 20e9
"""Operations a second of one virtual CPU, a hyper-thread, in float32."""
LEAST_STEP = 0.1
"""Seconds of an optimiser step whatever it computes: a pack of the 270M model on a GPU is bound by the start of its kernels."""
BEGIN = 240.0
"""Seconds to find the machine, start it, install the libraries (PyTorch alone is 3 GB) and load the model."""
END = 60.0
"""Seconds to score the held-out rows and push."""
BATCHES = 4
"""Batches that are packed to count the tokens of all."""
SHAPE = {
    "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1,
    "head_dim": 256, "vocab_size": 262_144,
}  # fmt: skip
"""Of google/functiongemma-270m-it."""
LEAST_TIMEOUT, MOST_TIMEOUT = 1800, 6 * 3600
"""Seconds between which a timeout lies that nobody chose; the token of a sign-in on a Space is good for 8 hours."""
SAFETY = 3
"""The timeout is so many times the estimate."""


@dataclass(frozen=True)
class Flavor:
    """Hardware that a Job can have. `gpus` is 0 for CPUs; `price` is in US dollars an hour, as the Hub says it now."""

    name: str
    label: str
    price: float
    gpus: int
    gpu: str
    memory: str
    cpus: int

    @property
    def processes(self) -> int:
        """Processes that train: one a GPU, or one."""
        return max(1, self.gpus)

    @property
    def speed(self) -> float:
        """Operations a second that a training gets out of all of it, roughly."""
        if not self.gpus:
            return max(1, self.cpus) * PER_CPU
        peak = next((PEAK[name] for name in sorted(PEAK, key=len, reverse=True) if name.lower() in self.gpu.lower()), UNKNOWN_GPU)
        return self.gpus * peak * SHARE

    def sentence(self) -> str:
        """`Nvidia T4 - small, 16 GB: $0.40 an hour`"""
        return f"{self.label}{f', {self.memory}' if self.memory else ''}: {dollars(self.price)} an hour"


@dataclass(frozen=True)
class Estimate:
    """Seconds from the start of the Job to its end, and US dollars; `timeout` seconds after which the Hub ends it in any case."""

    seconds: float
    cost: float
    timeout: int
    most: float

    def sentence(self) -> str:
        """What it takes, what it costs, and what bounds both."""
        return (
            f"about {duration(self.seconds)} and {dollars(self.cost)}, starting and installing included (counted, not measured on this "
            f"hardware); ended after {duration(self.timeout)} in any case, so at most {bound(self.most)}"
        )


def flavors(token: str | None) -> list[Flavor]:
    """All hardware that the Hub offers for Jobs, the cheapest first. Raises HubError."""
    with hub.sentences("Asking for the hardware of Jobs"):
        found = hub.client(token).list_jobs_hardware()
    return sorted(filter(None, map(_flavor, found)), key=lambda flavor: (flavor.price, flavor.name))


def flavor(token: str | None, name: str) -> Flavor:
    """The one of that name. Raises HubError."""
    known = {one.name: one for one in flavors(token)}
    if name not in known:
        raise HubError(f"The Hub has no hardware {name[:40]!r} for Jobs; choose one of {', '.join(known)}.")
    return known[name]


def _flavor(hardware: Any) -> Flavor | None:
    """A Flavor from the Hub's description; None where the price is not one that we understand."""
    period, price = PERIODS.get(str(hardware.unit_label).lower()), hardware.unit_cost_usd
    if period is None or isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
        return None
    gpu = hardware.accelerator
    return Flavor(
        hardware.name, hardware.pretty_name, price * 3600 / period, _number(gpu.quantity) if gpu else 0, gpu.model if gpu else "",
        gpu.vram if gpu else hardware.ram, _number(hardware.cpu),
    )  # fmt: skip


def _number(text: Any) -> int:
    """The first whole number in a text such as "2 vCPU"."""
    found = re.search(r"\d+", str(text))
    return int(found[0]) if found else 1


@dataclass(frozen=True)
class Work:
    """What is left of a training: optimiser steps, and floating-point operations of one."""

    steps: int
    operations: float

    def seconds(self, flavor: Flavor) -> float:
        """What it takes on that hardware, without start and end."""
        return self.steps * max(LEAST_STEP, self.operations / flavor.speed)


def estimate(work: Work, flavor: Flavor, seconds: float | None = None, timeout: int | None = None) -> Estimate:
    """What `work` takes on `flavor`. `seconds` is an estimate of one's own for all of it; `timeout` in seconds."""
    total = BEGIN + work.seconds(flavor) + END if seconds is None else seconds
    if timeout is None:
        timeout = min(MOST_TIMEOUT, max(LEAST_TIMEOUT, math.ceil(SAFETY * total / 60) * 60))
    hourly = flavor.price / 3600
    return Estimate(total, total * hourly, timeout, timeout * hourly)


def work_of(run: Run) -> Work:
    """What `run` still has before it."""
    info, kept = run.info, run.last_checkpoint
    base = recorded(run.base)
    return Work(max(0, info["total_steps"] - (kept.step if kept else 0)), _operations(run.dataset(), run.config, base.config, base.path))


def planned(dataset: ToolDataset, config: TrainConfig, embedded: bool) -> Work:
    """The same for a run that is not made yet: of a resolved `config`, on a `dataset` whose rows may have no split yet.

    Another base than the embedded one need not be on this disk: its shape is FunctionGemma's, and tokens are counted with the embedded
    tokenizer, which needs a few more.
    """
    base = find_base()
    rows = split(dataset, config.test_fraction, config.split_seed)
    steps = planned_steps(config, sum(example.split == "train" for example in rows.examples))
    return Work(steps, _operations(rows, config, base.config if embedded else SHAPE, base.path))


def _operations(dataset: ToolDataset, config: TrainConfig, shape: Mapping[str, Any], tokenizer: str) -> float:
    """Floating-point operations of one optimiser step: 6 a weight and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

    Counted over the packs of the first BATCHES batches, at most; the output layer is computed where a token is learned only.
    """
    from pipeline.packing import make_packs
    from pipeline.train import tokenized_rows

    size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    rows = tokenized_rows(dataset, tokenizer, BATCHES * size)
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    tokens = learned = 0
    for batch in batches:
        for pack in make_packs(batch, config.max_tokens, config.method == "full" or config.lora_dropout == 0):
            tokens += len(pack.input_ids)
            learned += sum(label != -100 for label in pack.shift_labels)
    body, head = weights(shape)
    again = 8 if config.gradient_checkpointing else 6  # the forward pass is computed twice
    return again * (body * tokens + head * learned) / max(1, len(batches))


def weights(config: Mapping[str, Any]) -> tuple[int, int]:
    """Weights of a gemma3_text model that a token passes through: those of its layers, and those of the output layer."""
    hidden, heads, shared, width = (config[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    attention = hidden * width * (2 * heads + 2 * shared)
    layer = attention + 3 * hidden * config["intermediate_size"]
    return config["num_hidden_layers"] * layer, hidden * config["vocab_size"]


def dollars(amount: float) -> str:
    """`$0.40`, `less than $0.01`."""
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else "less than $0.01"


def bound(amount: float) -> str:
    """An upper bound in whole cents, rounded up: `$0.01`, `$0.20`. The Hub's prices are rounded themselves, so 20.001 cents are 20."""
    return f"${max(1, math.ceil(round(amount * 100, 2))) / 100:,.2f}"
