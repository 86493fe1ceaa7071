"""Trainings that go on in ZeroGPU slots: who asks for the next slot, what came of the last one, how many there will be.

A slot belongs to the visitor whose event asked for it: spaces reads from that event whom to charge. So each slot is begun by the visitor's
own page, and goes on in a thread of the server, whether or not the page stays open; without the page there is no next one.
What must survive lies in the run's folder:

    <run>/slots.json     whether it goes on in slots, how many there were, their seconds and steps, why there was no other
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import slots
from pipeline.errors import RunError
from pipeline.files import write_atomic
from pipeline.runs import Run
from pipeline.slots import Need, Refusal
from pipeline.ui import timings, zerogpu
from pipeline.ui.widgets import OURS

log = logging.getLogger("studio")

AT_ONCE = 4
"""Slots of one Space at a time: each is a process with a model in memory."""
FORGOTTEN = 600.0
"""Seconds after which a training whose page was closed between two slots is not gone on with by itself."""
ENOUGH = 3
"""Steps after which a training's own speed counts more than anything known before."""


@dataclass(frozen=True)
class Record:
    """What slots.json says. `seconds` of GPU and `steps` are those of all its slots so far; `at` is when it was written."""

    on: bool = False
    slots: int = 0
    seconds: float = 0.0
    steps: int = 0
    refusal: Refusal | None = None
    at: float = 0.0


class _Slot:
    """A slot that is asked for or under way; what a page needs to know of it."""

    def __init__(self, run: Run, session: str):
        self.run, self.session = run, session
        self.began: float | None = None  # when there was a GPU
        self.stopping = False
        self.ended = False  # the worker was killed on purpose

    @property
    def phase(self) -> str:
        return "stopping" if self.stopping else "training" if self.began else "asking"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began if self.began else 0.0


_slots: dict[str, _Slot] = {}
_lock = threading.Lock()


# -------------------------------------------------------------------------------------------------------------- what is


def record(run: Run) -> Record:
    """What is known of the run's slots; an empty Record if it never had one."""
    try:
        found = json.loads((run.path / "slots.json").read_text("utf-8"))
        return Record(**{**found, "refusal": Refusal(**found["refusal"]) if found["refusal"] else None})
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or damaged: only its figures are lost
        return Record()


def phase(run: Run) -> str:
    """"asking" for a GPU, "training", "stopping"; "between" two slots; "" when the run is not in slots, or no more."""
    slot = _slots.get(_key(run))
    if slot is not None:
        return slot.phase
    known = record(run)
    return "between" if known.on and time.time() - known.at < FORGOTTEN and run.status in ("new", "paused") else ""


def spent(run: Run) -> float:
    """GPU-seconds of all slots of the run, the one under way included."""
    slot = _slots.get(_key(run))
    return record(run).seconds + (slot.seconds if slot else 0.0)


def need(run: Run, root: Path, timing: tuple[str, float], guess: Callable[[], Need]) -> Need:
    """What the run still needs: by its own steps if it has made some, by those that ran here before, by `guess()` else.

    `timing` is the kind of work and its units that are left, as for `timings`.
    """
    info, known = run.info, record(run)
    slot = _slots.get(_key(run))
    log_ = run.log() if slot else ()
    steps = known.steps + (max(0, log_[-1].step - info["steps"]) if log_ else 0)
    if steps >= ENOUGH:
        return slots.measured(spent(run), steps, info["total_steps"] - info["steps"])
    return before(root, timing) or guess()


def before(root: Path, timing: tuple[str, float]) -> Need | None:
    """What such work needs by those that ran on ZeroGPU here before; None if none did."""
    kind, units = f"zerogpu {timing[0]}", timing[1]
    begin, whole = timings.expected(root, kind, 0), timings.expected(root, kind, units)
    return None if begin is None or whole is None else Need(max(begin, 0.0), max(0.0, whole - begin))


# ------------------------------------------------------------------------------------------------------- what pages ask


def begin(run: Run, session: str, wanted: Need, timing: tuple[str, float], root: Path, left: float | None = None) -> None:
    """Go on with the run in slots, the first of them now. Call it inside the visitor's own event. Raises RunError."""
    with _lock:
        if _key(run) in _slots:
            raise RunError("The slot before is still ending. Try again in a moment.")
        if any(slot.session == session for slot in _slots.values()):
            raise RunError("Another training of yours is on the GPU. Wait for it or stop it first.")
        if len(_slots) >= AT_ONCE:
            raise RunError(f"{len(_slots)} trainings are on ZeroGPU here, which is the limit. Try again in a minute, or train on the CPU.")
        run.clear_stop()  # not before: a slot that is still ending must go on to end
        _write(run, replace(record(run), on=True, refusal=None))
        _start(run, session, wanted, timing, root, left)


def keep_on(run: Run, session: str, wanted: Need, timing: tuple[str, float], root: Path, left: float | None = None) -> None:
    """Begin the next slot of a run that is between two; does nothing else. Call it inside the visitor's own event."""
    with _lock:
        free = len(_slots) < AT_ONCE and not any(slot.session == session for slot in _slots.values())
        if free and phase(run) == "between":
            _start(run, session, wanted, timing, root, left)


def stop(run: Run, now: bool = False) -> None:
    """No further step begins; the one under way is finished and kept. `now`: its worker is ended, with all since its last checkpoint."""
    with _lock:
        slot = _slots.get(_key(run))
        _write(run, replace(record(run), on=False, refusal=None))
        if slot is None:
            return
        slot.stopping = True
        run.request_stop()
    process = run.info["process"]
    if now and process and run.is_alive and process["pid"] != os.getpid():
        slot.ended = True
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.kill(process["pid"], signal.SIGKILL)


# -------------------------------------------------------------------------------------------------------------- a slot


def _start(run: Run, session: str, wanted: Need, timing: tuple[str, float], root: Path, left: float | None) -> None:
    slot = _slots[_key(run)] = _Slot(run, session)
    seconds = slots.ask_for(wanted, left) or slots.SHORTEST  # what is left may be known wrong: ZeroGPU decides
    context = contextvars.copy_context()  # gradio's, with the visitor's request
    threading.Thread(target=context.run, args=(_drive, slot, seconds, wanted, timing, root), name="slot", daemon=True).start()


def _drive(slot: _Slot, seconds: int, wanted: Need, timing: tuple[str, float], root: Path) -> None:
    """One slot from asking to its last word, and what it means for the next."""
    run = slot.run
    try:
        before = run.info["steps"]
        said, refusal = _one(slot, seconds)
        if refusal and refusal.kind == "quota" and refusal.left and not slot.stopping:
            shorter = slots.ask_for(wanted, refusal.left)
            if shorter is not None and shorter < seconds:
                said, refusal = _one(slot, shorter)
        if slot.ended:
            refusal = None
        info, known = run.info, record(run)
        gained = max(0, info["steps"] - before)
        on = said.get("status") == "paused" and not slot.stopping
        if on and not gained:
            on, refusal = False, Refusal("short", "A slot was over before one step of this training was done.")
        made = replace(
            known, on=on and refusal is None, slots=known.slots + (slot.began is not None), seconds=known.seconds + slot.seconds,
            steps=known.steps + gained, refusal=refusal,
        )  # fmt: skip
        _write(run, made)
        if said.get("status") == "done" and made.steps >= info["total_steps"] > 0:
            per_step = timing[1] / max(1, info["total_steps"] - before)
            working = made.seconds - min(slots.BEGIN * made.slots, made.seconds / 2)
            timings.record(root, f"zerogpu {timing[0]}", made.steps * per_step, made.seconds, working)
    except (RunError, OSError):
        if (run.path / "run.json").is_file():
            log.exception("what a slot has done could not be written down: %s", run.path.name)
        else:
            log.info("the run of a slot was deleted: %s", run.path.name)
    finally:
        with _lock:
            _slots.pop(_key(run), None)


def _one(slot: _Slot, seconds: int) -> tuple[dict[str, Any], Refusal | None]:
    """The last word of a slot, and why there was none, or why it ended early."""
    last: dict[str, Any] = {}
    try:
        zerogpu.warm()
        for said in zerogpu.train_slot(str(slot.run.path), seconds):
            slot.began, last = slot.began or time.monotonic(), said
    except gr.Error as error:
        return {}, slots.refusal(error.title, str(error.message), time.time())
    except Exception:  # of spaces, which raises RuntimeError and its HTTP client's
        log.exception("asking ZeroGPU for a slot")
        return {}, Refusal("failed", OURS)
    return last, Refusal("failed", last["error"]) if "error" in last else None


def _key(run: Run) -> str:
    return str(run.path.resolve())


def _write(run: Run, made: Record) -> None:
    if (run.path / "run.json").is_file():  # not into a folder that was deleted
        write_atomic(run.path / "slots.json", json.dumps(asdict(replace(made, at=time.time())), indent=1))
