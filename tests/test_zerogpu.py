"""Training in ZeroGPU slots through the real `spaces` package: the same weights, nothing left behind, every ending a sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest

from pipeline.errors import RunError
from pipeline.model import BaseModel
from pipeline.runs import Run
from tests.pace import set_pace, until_held
from tests.small_world import tiny_checkpoint
from tests.test_train import DATASET, QUICK, weights
from tests.zero_gpu import DeviceAPI, Space

pytestmark = pytest.mark.timeout(900)  # whatever is waited for has a shorter limit of its own
ALICE, BOB = "a" * 32, "b" * 32
LONG = 600  # seconds of a slot that no test sees the end of


@pytest.fixture(scope="module")
def gpu():
    api = DeviceAPI()
    yield api
    api.close()


@pytest.fixture(scope="module")
def server(gpu, tmp_path_factory):
    running = Space(gpu, tmp_path_factory.mktemp("space") / "log")
    yield running
    running.close()


@pytest.fixture
def space(gpu, server):
    gpu.reset()
    server.do("slots_of", LONG)
    return server


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("base"))
    return BaseModel(str(folder), str(folder), None, False, "tiny")


@pytest.fixture(scope="module")
def prepared(base, tmp_path_factory):
    """One visitor's run in full, another's with adapters in bfloat16: not yet trained."""
    from pipeline.train import prepare

    folder = tmp_path_factory.mktemp("prepared")
    lora = replace(QUICK, method="lora", learning_rate=3e-3, seed=7, dtype="bfloat16")
    return {"full": prepare(DATASET, QUICK, folder / "full", base), "lora": prepare(DATASET, lora, folder / "lora", base)}


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory):
    """What each becomes when it is trained without the other, in one go and without slots."""
    import torch

    from pipeline.train import train

    folder, threads = tmp_path_factory.mktemp("alone"), os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # as in the Space
    try:
        return {name: weights(train(shutil.copytree(run.path, folder / name))) for name, run in prepared.items()}
    finally:
        os.environ["OMP_NUM_THREADS"] = threads or "1"
        torch.set_num_threads(int(threads or 1))


@pytest.fixture
def runs(prepared, tmp_path):
    return {name: Run(shutil.copytree(run.path, tmp_path / name)) for name, run in prepared.items()}


def begin(space: Space, run: Run, session: str = ALICE) -> str | None:
    """The sentence of a refusal."""
    return space.do("begin", run.path, session, LONG / 2)


def begin_and_hold(space: Space, run: Run, step: int) -> None:
    """A training that is in the middle of `step`."""
    set_pace(run.path, hold=step)
    assert begin(space, run) is None
    until_held(run.path, step)


def test_two_visitors_in_one_worker_get_what_each_gets_alone(space, gpu, runs, alone):
    assert space.do("compute") == 600.0**3, "the server has threads of its own before it forks"
    for name in ("lora", "full"):
        said = space.do("slot", runs[name].path, LONG)
        assert said["said"][-1] == {"status": "done"}
        assert said["at once"], "a slot says something before it trains"
    assert len(gpu.asked) == 2 and len(gpu.workers) == 1, "the second visitor got the first one's process"
    assert weights(runs["lora"]) == alone["lora"]
    assert weights(runs["full"]) == alone["full"]
    assert json.loads((runs["full"].path / "kept.json").read_text()) == [], "no tensor and no row of the first was there any more"


def test_only_a_slot_has_a_gpu(space):
    server, child, imitated = space.do("where")
    assert imitated, "in the server CUDA looks as if it were there"
    assert (server, child) == ("cpu", "cpu")


def test_the_server_itself_answers_on_the_cpu(space, base):
    """The playground and the public functions: quick on a CPU, and nobody's GPU time."""
    from pipeline import model

    here = model.generate(model.load(base.path, device="cpu"), ["<bos><start_of_turn>user\nmake it red"], max_new_tokens=12)[0].token_ids
    assert space.do("answers", base.path) == [here, here]


def test_slot_after_slot_is_uninterrupted(space, gpu, runs, alone):
    run = runs["full"]
    set_pace(run.path, seconds=1.0)
    space.do("slots_of", 10)
    assert begin(space, run) is None
    _to_the_end(space, run)
    record = space.do("record", run.path)
    assert record["slots"] == len(gpu.asked) >= 2 and record["steps"] == 10 and record["refusal"] is None
    assert {query["durationSeconds"] for query in gpu.asked} == {"10"}, "spaces multiplies by 1 where it sees no card"
    assert weights(run) == alone["full"]


def test_a_stop_is_heard_in_the_step_under_way_which_is_kept(space, gpu, runs):
    run = runs["full"]
    begin_and_hold(space, run, 3)
    space.do("stop", run.path, False)
    assert space.do("phase", run.path) == "stopping"
    set_pace(run.path)
    space.until("phase", run.path, says="")
    assert run.status == "paused" and run.log()[-1].step == run.last_checkpoint.step == run.info["steps"] == 3, "none of ten was begun after it"
    assert gpu.released == [False], "the GPU was given back in order"
    assert space.do("record", run.path)["refusal"] is None


def test_a_second_stop_ends_the_worker_at_once(space, gpu, runs, alone):
    run = runs["full"]
    begin_and_hold(space, run, 4)
    space.do("stop", run.path, False)
    assert space.do("phase", run.path) == "stopping"
    space.do("stop", run.path, True)
    space.until("phase", run.path, says="")
    assert run.status == "paused" and space.do("record", run.path)["refusal"] is None
    assert run.log()[-1].step == 3 and run.last_checkpoint.step == 2, "the step under way was not waited for"
    set_pace(run.path)
    assert begin(space, run) is None
    _to_the_end(space, run)
    assert weights(run) == alone["full"], "it went on from its last whole checkpoint"


def test_a_worker_that_is_killed_costs_the_steps_since_the_last_checkpoint(space, gpu, runs, alone):
    run = runs["full"]
    begin_and_hold(space, run, 4)
    os.kill(run.info["process"]["pid"], signal.SIGKILL)
    space.until("phase", run.path, says="")
    refusal = space.do("record", run.path)["refusal"]
    assert (run.status, refusal["kind"]) == ("paused", "ended") and refusal["sentence"].endswith(".")
    assert run.log()[-1].step == 3 and run.last_checkpoint.step == 2
    set_pace(run.path)
    assert begin(space, run) is None
    _to_the_end(space, run)
    assert weights(run) == alone["full"]


def test_a_quota_that_is_gone_pauses_with_the_time_it_comes_back(space, gpu, runs):
    run, gpu.quota, gpu.wait = runs["full"], 1.0, 7200
    begin(space, run)
    space.until("phase", run.path, says="")
    record = space.do("record", run.path)
    assert record["refusal"]["kind"] == "anonymous", "spaces tells the time only to those whom its proxy named"
    assert not record["on"] and record["slots"] == 0 and run.status == "new"
    gpu.quota = None
    begin(space, run)
    _to_the_end(space, run)
    assert space.do("record", run.path)["refusal"] is None


def test_no_gpu_and_a_broken_service_are_sentences(space, gpu, runs):
    for status, kind in ((503, "none"), (500, "failed")):
        gpu.status = status
        begin(space, runs["full"])
        space.until("phase", runs["full"].path, says="")
        refusal = space.do("record", runs["full"].path)["refusal"]
        assert refusal["kind"] == kind and "Traceback" not in refusal["sentence"] and refusal["sentence"].endswith(".")


def test_an_error_inside_is_the_pipelines_own_sentence(space, gpu, runs):
    run = runs["full"]
    (run.path / "dataset" / "tools.json").unlink()
    said = space.do("slot", run.path, LONG)["said"][-1]
    assert said["status"] == "failed" and "tools.json" in said["error"] and "Traceback" not in said["error"]
    with pytest.raises(RunError):
        Run(run.path / "nowhere")
    assert "is not a run" in space.do("slot", run.path / "nowhere", LONG)["said"][-1]["error"]
    assert gpu.released == [False, False], "for spaces both slots ended well"


def test_one_training_a_visitor(space, runs):
    begin_and_hold(space, runs["full"], 1)
    assert "Another training of yours" in begin(space, runs["lora"])
    assert begin(space, runs["lora"], BOB) is None, "another visitor is not kept waiting here"
    for run in runs.values():
        space.do("stop", run.path, False)
        set_pace(run.path)
    for run in runs.values():
        space.until("phase", run.path, says="")


def _to_the_end(space: Space, run: Run) -> None:
    """As an open page does: the next slot whenever one is over."""
    for _ in range(20):
        while space.do("phase", run.path) not in ("between", ""):
            time.sleep(0.05)
        if run.status == "done":
            return
        space.do("keep_on", run.path, ALICE, LONG / 2)
    raise AssertionError(space.do("record", run.path))

