"""A training in ZeroGPU slots, planned: how many GPU-seconds and slots it takes, what the visitor has left, when that comes back.

ZeroGPU lends a GPU for one call, a slot, of a length asked for beforehand, and counts the seconds that were used against a daily
quota of the visitor. The figures are of August 2026: https://huggingface.co/docs/hub/spaces-zerogpu and spaces 0.51.3, whose words for a
refusal `refusal` reads. Arithmetic only: nothing here asks for a GPU, the Hub or the time, and no sentence says more than is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import TrainConfig

LONGEST = 120
"""Seconds of a slot. A shorter one comes sooner, and a longer one costs more where it is killed."""
SHORTEST = 30
"""Seconds below which a slot would be spent on loading the model and saving it again."""
SPARE = 8.0
"""Seconds of a slot that training leaves alone: its worker starts, the GPU is handed over, the last words are said."""
FACTOR = 1.5
"""What is asked for is compared with what is left after this factor: half a card (size `large`) of ZeroGPU's RTX Pro 6000."""
DAILY = {"nobody": 120.0, "free": 300.0, "pro": 2400.0}
"""Seconds a day: without signing in, with a free account, with PRO."""
SAVE_STEPS = 100
"""Steps between checkpoints inside a slot: it ends with one anyway, and writing the 270M model's 3 GB takes as long as a hundred steps."""

# Until something was measured. The time of a step on a GPU is that of its operations, or that of starting its kernels where they are
# small. A model of an H200 gave 43 ms for 2.7e12 operations in 18 layers; a ZeroGPU slot has half a card, so half that speed is taken.
SPEED = 30e12  # operations a second
LAYER = 0.0025  # seconds a layer and step
TOKEN = 0.0006  # seconds a layer and token, where one token after the other is written
DISK = 300e6  # bytes a second
BEGIN = 8.0  # seconds to start CUDA and load a model
ANSWER = 60  # tokens of the sample answers after an epoch, all written at once


# ---------------------------------------------------------------------------------------------------------------- before


@dataclass(frozen=True)
class Need:
    """What a training still needs: `each` seconds at the beginning and end of every slot, and `work` seconds besides."""

    each: float
    work: float


def counted(operations: float, layers: int, weights: int, config: TrainConfig, steps: int) -> Need:
    """What `steps` steps of `operations` each need of a model with so many layers and weights: a guess, while nothing was measured yet."""
    step = max(operations / SPEED, layers * LAYER)
    answers = (config.num_train_epochs or 1) * ANSWER * layers * TOKEN
    trained = weights if config.method == "full" else weights / 70  # adapters of rank 16: 3.8 of 268 million
    saving = trained * 4 * 3 / DISK  # weights and AdamW's two moments
    return Need(BEGIN + saving, steps * step + answers + saving * (steps // (config.save_steps or SAVE_STEPS)) + weights * 4 / DISK)


def measured(seconds: float, steps: int, left: int) -> Need:
    """What `left` steps need after `steps` steps took `seconds` of GPU, everything between them included."""
    return Need(BEGIN, left * seconds / max(1, steps))


# ----------------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class Left:
    """GPU-seconds that a visitor has left; None where nobody can know. `resets_at` is in seconds since the epoch."""

    seconds: float | None
    resets_at: float | None = None
    daily: float | None = None


@dataclass(frozen=True)
class Plan:
    """`seconds` of GPU in `slots` slots; `covered` is the share of the work that what is left today reaches for."""

    seconds: float
    slots: int
    covered: float = 1.0


def ask_for(need: Need, left: float | None = None) -> int | None:
    """Seconds of the next slot: somewhat more than is needed, or as much as there is. None if what is left is not worth a slot."""
    wanted = math.ceil(1.25 * (need.each + need.work) + SPARE)
    seconds = min(LONGEST, max(SHORTEST, wanted))
    if left is not None:
        seconds = min(seconds, math.floor(left / FACTOR))
    return seconds if seconds >= SHORTEST else None


def plan(need: Need, left: float | None = None) -> Plan:
    """The slots that `need` takes, one after the other; as many of them as `left` seconds reach for, if that is known."""
    rest, used, slots = need.work, 0.0, 0
    while rest > 1e-9:
        seconds = ask_for(Need(need.each, rest), None if left is None else left - used)
        done = min(rest, (seconds or 0) - SPARE - need.each)
        if done <= 0:
            break
        rest, used, slots = rest - done, used + need.each + done, slots + 1
    return Plan(used, slots, 1.0 - rest / need.work if need.work else 1.0)


def budget(seconds: float, spent: float) -> float:
    """Seconds that training may take of a slot of `seconds`, when `spent` of them are over as it begins."""
    return max(1.0, seconds - SPARE - spent)


# -------------------------------------------------------------------------------------------------------------- refusals


@dataclass(frozen=True)
class Refusal:
    """Why there is no slot now, or why one ended early. `kind` is one of KINDS; times are in seconds, since the epoch or left."""

    kind: str
    sentence: str
    again_at: float | None = None
    left: float | None = None


KINDS = ("quota", "anonymous", "busy", "none", "expired", "ended", "short", "failed")
_WAIT = re.compile(r"[Tt]ry again in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")
_LEFT = re.compile(r"\((\d+)s requested vs\. (-?\d+)s left\)")
_RULES: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("none", lambda text: "No GPU was available" in text, "No GPU became free within a minute. Try again, or go on on the CPU."),
    ("anonymous", lambda text: "reached its GPU limit" in text,
     "ZeroGPU does not know who asks, and what strangers may use together is used up. Open this page on huggingface.co and sign in."),
    ("busy", lambda text: "pending credits" in text, "All of your GPU time is promised to work that still runs. Go on when it has ended."),
    ("quota", lambda text: "runs limit" in text, "You have asked for a GPU as often as ZeroGPU allows for today."),
    ("short", lambda text: "illegal duration" in text, "ZeroGPU does not lend a GPU for as long as was asked."),
    ("quota", lambda text: "quota exceeded" in text, "Your GPU time of today is used up."),
    ("expired", lambda text: "Expired ZeroGPU" in text, "This page has been open for too long for ZeroGPU. Reload it, then continue."),
    ("ended", lambda text: "GPU task aborted" in text, "ZeroGPU ended the slot before its work was done."),
)  # fmt: skip


def refusal(title: str, message: str, now: float) -> Refusal:
    """What spaces says where it lends no GPU, or takes one back, read: `title` and `message` of its gr.Error, at the time `now`."""
    text = f"{title}. {message}"
    kind, sentence = next(((kind, said) for kind, fits, said in _RULES if fits(text)), ("failed", f"ZeroGPU said: {message[:200]}."))
    wait, figures = _WAIT.search(text), _LEFT.search(text)
    again = None
    if wait:
        days, hours, minutes, seconds = (int(part or 0) for part in wait.groups())
        again = now + ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    left = float(figures[2]) if figures else None
    if kind == "quota" and left is not None and left > 0:
        sentence = f"A slot needs more GPU time than the {left:.0f} s that you have left today."
    return Refusal(kind, sentence, again, left)
