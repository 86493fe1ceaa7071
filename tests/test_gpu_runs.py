"""What a training makes of slots: the next one, a shorter one, none, and what is remembered of them. The slots are the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import gradio as gr
import pytest

from pipeline import slots
from pipeline.child import born
from pipeline.config import TrainConfig, resolve
from pipeline.errors import RunError
from pipeline.runs import Run
from pipeline.slots import DAILY, Left, Need, Plan, Refusal
from pipeline.ui import gpu_plan, gpu_runs, gpu_view, zerogpu
from pipeline.ui.gpu_runs import Record
from tests.local_hub import ROUTES, Answer, Refuse, route
from tests.local_hub_routes import signed_in

NEED, TIMING = Need(8.0, 200.0), ("train tiny full", 320.0)
QUOTA = gr.Error("You have exceeded your free ZeroGPU quota (180s requested vs. 90s left). Try again in 2:00:00. ", title="ZeroGPU quota exceeded")
STEPS = 10


@pytest.fixture
def run(tmp_path):
    made = Run.create(
        tmp_path / "run", title="Run 1", config=resolve(TrainConfig(), True, 4096), base={"id": "embedded", "embedded": True}, dataset_sha256="",
        versions={}, total_steps=STEPS,
    )  # fmt: skip
    yield made
    _over(made)


@pytest.fixture
def gpu(monkeypatch):
    """Give it what each slot does: an exception to raise, or (steps done after it, status). `.asked` are the seconds asked for."""

    class Slots(list):
        asked: list[int] = []

    script = Slots()
    script.asked = []

    def train_slot(folder, seconds):
        script.asked.append(seconds)
        what = script.pop(0)
        if isinstance(what, Exception):
            raise what
        yield {"status": "training"}
        steps, status = what
        Run(folder).update(steps=steps, status=status)
        yield {"status": status}

    monkeypatch.setattr(zerogpu, "warm", lambda: None)
    monkeypatch.setattr(zerogpu, "train_slot", train_slot)
    return script


def _over(run: Run) -> None:
    _until(lambda: gpu_runs.phase(run) not in ("asking", "training", "stopping"))


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def begin(run, session="a" * 32):
    gpu_runs.begin(run, session, NEED, TIMING, run.path.parent)
    _over(run)


def keep_on(run):
    gpu_runs.keep_on(run, "a" * 32, NEED, TIMING, run.path.parent)
    _over(run)


def test_slots_until_it_is_done_and_their_time_is_remembered(run, gpu):
    gpu += [(6, "paused"), (10, "done")]
    begin(run)
    assert gpu_runs.phase(run) == "between" and gpu_runs.record(run).on
    keep_on(run)
    record = gpu_runs.record(run)
    assert (record.slots, record.steps, record.on, record.refusal) == (2, 10, False, None)
    assert gpu_runs.phase(run) == ""
    assert gpu.asked == [slots.LONGEST, slots.LONGEST]
    learnt = gpu_runs.before(run.path.parent, TIMING)
    assert learnt is not None and learnt.work >= 0, "the next plan is measured"


def test_a_refusal_that_leaves_something_is_asked_for_less(run, gpu):
    gpu += [QUOTA, (10, "done")]
    begin(run)
    assert gpu.asked == [120, 60], "90 s by the factor of 1.5"
    assert run.status == "done" and gpu_runs.record(run).refusal is None


def test_a_quota_that_is_gone_is_paused_with_its_time(run, gpu):
    gpu += [(4, "paused"), QUOTA, QUOTA]
    begin(run)
    keep_on(run)
    record = gpu_runs.record(run)
    assert (record.on, record.refusal.kind, record.slots) == (False, "quota", 1)
    assert record.refusal.again_at == pytest.approx(time.time() + 7200, abs=60)
    assert "It comes back at" in gpu_view.paused(run, record, 60.0) and "CPU the rest takes about 1 min" in gpu_view.paused(run, record, 60.0)
    keep_on(run)
    assert len(gpu.asked) == 3, "a page that is left open asks for nothing more"
    gpu.append((10, "done"))
    begin(run)
    assert run.status == "done", "one click goes on"


def test_a_slot_without_a_step_is_the_last(run, gpu):
    gpu.append((0, "paused"))
    begin(run)
    assert gpu_runs.record(run).refusal.kind == "short" and gpu_runs.phase(run) == ""


def test_what_spaces_raises_is_logged_and_not_shown(run, gpu, caplog):
    gpu.append(RuntimeError("ZeroGPU API /schedule error: secret"))
    begin(run)
    assert gpu_runs.record(run).refusal.kind == "failed"
    assert "secret" not in gpu_runs.record(run).refusal.sentence and "secret" in caplog.text


def test_a_run_left_alone_for_long_is_not_gone_on_with(run, gpu):
    gpu.append((4, "paused"))
    begin(run)
    record = json.loads((run.path / "slots.json").read_text())
    (run.path / "slots.json").write_text(json.dumps({**record, "at": time.time() - gpu_runs.FORGOTTEN - 1}))
    keep_on(run)
    assert gpu_runs.phase(run) == "" and len(gpu.asked) == 1


def test_a_deleted_run_leaves_nothing_behind(run, gpu, monkeypatch):
    def train_slot(folder, seconds):
        yield {"status": "training"}
        run.delete()
        yield {"status": "failed", "error": "There is no such run."}

    monkeypatch.setattr(zerogpu, "train_slot", train_slot)
    gpu_runs.begin(run, "a" * 32, NEED, TIMING, run.path.parent)
    _until(lambda: not gpu_runs._slots)
    assert not run.path.exists()


def test_a_run_deleted_before_its_slot_begins_blocks_nobody(run, gpu, monkeypatch):
    at_once = gpu_runs._start

    def start(run, *rest):
        run.delete()
        at_once(run, *rest)

    monkeypatch.setattr(gpu_runs, "_start", start)
    gpu_runs.begin(run, "a" * 32, NEED, TIMING, run.path.parent)
    _until(lambda: not gpu_runs._slots)
    assert not gpu.asked, "no GPU is asked for"


def test_a_slot_that_was_told_to_stop_is_not_told_otherwise_by_an_early_click(run, gpu, monkeypatch):
    ended = threading.Event()

    def train_slot(folder, seconds):
        yield {"status": "training"}
        assert ended.wait(120)
        Run(folder).update(steps=3, status="paused")
        yield {"status": "paused"}

    monkeypatch.setattr(zerogpu, "train_slot", train_slot)
    gpu_runs.begin(run, "a" * 32, NEED, TIMING, run.path.parent)
    gpu_runs.stop(run)
    with pytest.raises(RunError, match="still ending"):
        gpu_runs.begin(run, "a" * 32, NEED, TIMING, run.path.parent)
    assert run.stop_requested and gpu_runs.phase(run) == "stopping"
    ended.set()


def test_a_worker_that_ends_while_it_is_ended_is_no_error(run, gpu, monkeypatch):
    ended, worker = threading.Event(), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def train_slot(folder, seconds):
        yield {"status": "training"}
        assert ended.wait(120)
        yield {"status": "paused"}

    def gone(pid, number):
        assert pid == worker.pid
        raise ProcessLookupError

    monkeypatch.setattr(zerogpu, "train_slot", train_slot)
    gpu_runs.begin(run, "a" * 32, NEED, TIMING, run.path.parent)
    run.update(process={"pid": worker.pid, "started": born(worker.pid)})
    monkeypatch.setattr(gpu_runs, "os", SimpleNamespace(getpid=os.getpid, kill=gone))
    gpu_runs.stop(run, now=True)
    assert gpu_runs.phase(run) == "stopping"
    ended.set()
    worker.communicate(b"\n")


def test_a_damaged_record_is_an_empty_one(run):
    (run.path / "slots.json").write_text('{"on": tru')
    assert gpu_runs.record(run) == Record()
    with pytest.raises(RunError):
        Run(run.path / "nothing")


def test_a_run_is_measured_by_its_own_steps_before_anything_else(run, gpu):
    guess = Need(8.0, 999.0)
    assert gpu_runs.need(run, run.path.parent, TIMING, lambda: guess) == guess
    gpu.append((5, "paused"))
    begin(run)
    gpu_runs._write(run, Record(on=True, slots=1, seconds=20.0, steps=5))
    assert gpu_runs.need(run, run.path.parent, TIMING, lambda: guess).work == 20.0, "5 steps took 20 s, 5 are left"


WHOLE = Plan(14.0, 1)
SENTENCES = [
    (Left(240.0), WHOLE, True, "about 15 s of GPU in one slot, you have 4 min left today."),
    (Left(240.0), WHOLE, False, "about 15 s of GPU in one slot, a guess until one has run here, you have 4 min left today."),
    (Left(20.0, 1.0), Plan(0.0, 0, 0.0), True, "The 20 s that you have left today do not reach for a slot."),
    (Left(60.0), Plan(40.0, 1, 0.4), True, "reach for about 40% of it; then it pauses."),
    (Left(None, daily=DAILY["nobody"]), WHOLE, True, "ZeroGPU gives 2 min a day without signing in, 5 min with a free account, 40 min with PRO."),
    (Left(None), WHOLE, True, "A free account has 5 min a day, PRO 40 min; how much of it is left cannot be read."),
    (None, WHOLE, True, "about 15 s of GPU in one slot."),
]  # fmt: skip


@pytest.mark.parametrize("left, within, measured, words", SENTENCES)
def test_the_plan_in_words(left, within, measured, words):
    assert gpu_view.plan(WHOLE, within, left, measured).endswith(words)


@route("GET", r"/api/spaces/zero-gpu/quota")
def quota(hub, request):
    if not signed_in(request).may("read-billing"):
        raise Refuse(403, "", "This token lacks the scope read-billing")
    return Answer(body={"base": 300, "current": 187, "resetsAt": "2026-11-21T09:00:00.000Z", "overquotaUsed": None})


ROUTES.insert(0, ROUTES.pop())  # before the repositories, for which this path reads as one of them


def test_the_time_that_is_left_is_the_hubs_own_figure(hub):
    found = gpu_plan.read(gpu_plan.left_of(hub.user("alice")))
    assert (found.seconds, found.daily) == (187.0, 300.0) and time.strftime("%H:%M", time.gmtime(found.resets_at)) == "09:00"


def test_without_the_scope_or_the_hub_the_plan_says_what_a_day_has(hub):
    blind = hub.user("bob", scopes=frozenset({"contribute-repos"}))
    assert gpu_plan.read(gpu_plan.left_of(blind)) == Left(None)
    assert gpu_plan.read(gpu_plan.left_of(None)) == Left(None, daily=DAILY["nobody"]), "nobody is not asked about"
    assert gpu_plan.read("what a browser sent") is None
    assert hub.leaks() == []


def test_a_refusal_survives_the_disk(run):
    gpu_runs._write(run, Record(refusal=Refusal("quota", "Gone.", 5.0, 1.0)))
    assert gpu_runs.record(run).refusal == Refusal("quota", "Gone.", 5.0, 1.0)
