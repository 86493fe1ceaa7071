"""What a training in ZeroGPU slots looks like: the plan before it, the slot under way, the pause and when it can go on.

Sentences made of records; nothing is read or decided here.
"""

from __future__ import annotations

import time

from pipeline.durations import duration
from pipeline.runs import Run
from pipeline.slots import DAILY, Left, Plan
from pipeline.ui.gpu_runs import Record
from pipeline.ui.timings import in_words
from pipeline.ui.widgets import count, esc
from pipeline.ui.work_view import bar, headline

FIRST = "a guess until one has run here"


def plan(whole: Plan, within: Plan, left: Left | None, measured: bool) -> str:
    """How much GPU a training takes, how much there is, and what becomes of the rest: a clause that ends a sentence, and sentences."""
    slots = "one slot" if whole.slots == 1 else f"{whole.slots} slots"
    text = f"{in_words(whole.seconds)} of GPU in {slots}{'' if measured else f', {FIRST}'}"
    if left is None:
        return f"{text}."
    if left.seconds is None:
        return f"{text}{_daily(left)}."
    if within.covered >= 1:
        return f"{text}, you have {duration(left.seconds)} left today."
    if not within.slots:
        return f"{text}. The {duration(left.seconds)} that you have left today do not reach for a slot.{_back(left.resets_at)}"
    reach = f"{100 * within.covered:.0f}%"
    return f"{text}. The {duration(left.seconds)} that you have left today reach for about {reach} of it; then it pauses."


def _daily(left: Left) -> str:
    if left.daily == DAILY["nobody"]:
        nobody, free, pro = (duration(DAILY[who]) for who in ("nobody", "free", "pro"))
        return f". ZeroGPU gives {nobody} a day without signing in, {free} with a free account, {pro} with PRO"
    return f". A free account has {duration(DAILY['free'])} a day, PRO {duration(DAILY['pro'])}; how much of it is left cannot be read"


def _back(at: float | None, now: float | None = None) -> str:
    """` It comes back at 21:40 UTC, in about 3 h.`; nothing where nobody knows."""
    now = time.time() if now is None else now
    if at is None or at <= now:
        return ""
    clock = time.strftime("%H:%M", time.gmtime(at)) if at - now < 20 * 3600 else time.strftime("%d %B %H:%M", time.gmtime(at))
    return f" It comes back at {clock} UTC, in {in_words(at - now)}."


def state(run: Run, phase: str, record: Record, spent: float, rest: Plan) -> str:
    """The slot that is asked for or under way; `rest` is the plan of what is left."""
    info, log = run.info, run.log()
    total = info["total_steps"]
    done = max(info["steps"], log[-1].step if log else 0)
    used = f"{duration(spent)} of GPU so far, {in_words(rest.seconds)} to go" if spent >= 1 else f"{in_words(rest.seconds)} of GPU to go"
    words = {
        "asking": "Waiting for a GPU from ZeroGPU.",
        "training": f"{f'Step {done} of {total}' if done else 'Loading the model'} on ZeroGPU, slot {record.slots + 1}: {used}.",
        "between": f"Step {done} of {total}. The next slot begins in a moment: {used}.",
        "stopping": "Stopping after this step. What was learned so far is kept. Stop now gives up the steps since the last checkpoint.",
    }
    return f'<h3 class="section">{esc(run.title)}</h3>' + bar(done / total if total else 0, words[phase])


def paused(run: Run, record: Record, cpu: float | None) -> str:
    """Why there is no next slot, when there may be one, and what the other ways cost; `cpu` is in seconds."""
    info, kept, refusal = run.info, run.last_checkpoint, record.refusal
    where = f"paused at step {kept.step} of {info['total_steps']}" if kept else "not begun"
    words = [f"{refusal.sentence}{_back(refusal.again_at)}" if refusal else ""]
    if kept:
        words.append("Nothing of what was learned is lost.")
    if cpu is not None:
        words.append(f"On this Space's CPU the rest takes {in_words(cpu)}.")
    return headline(f"{run.title}: {where}", " ".join(filter(None, words)))


def slots_fact(record: Record, spent: float) -> list[tuple[str, str]]:
    """GPU time used, as a name and a value; nothing for a run that never had a slot."""
    return [("GPU used", f"{duration(spent)}, {count(record.slots, 'slot')}")] if record.slots else []
