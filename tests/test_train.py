"""Training survives: a run made in pieces, or killed, ends with the weights of one made in one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.errors import ConfigError, DataError, ModelError, RunError
from pipeline.model import BaseModel
from pipeline.tools import ToolCall, ToolSpec
from tests.small_world import tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent
COLOURS = ("red", "green", "blue", "yellow", "light", "dark")
QUICK = TrainConfig(
    num_train_epochs=2, per_device_train_batch_size=4, learning_rate=1e-3, save_steps=2, test_fraction=0.2, max_length=1024,
)  # 18 rows -> 5 steps an epoch, 10 in all
DATASET = ToolDataset(
    (
        ToolSpec("set_color", "set the color", {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}),
        ToolSpec("show_title", "show a title", {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}),
    ),
    tuple(
        example(f"{verb} {word}", [ToolCall(name, {key: word})])
        for verb, name, key in (("make it", "set_color", "color"), ("title", "show_title", "title"))
        for word in (*COLOURS, "room", "kitchen", "bar", "new", "hello")
    ),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("base"))
    return BaseModel(str(folder), str(folder), None, False, "tiny")


@pytest.fixture(scope="module")
def uninterrupted(base, tmp_path_factory):
    from pipeline.train import prepare, train

    return train(prepare(DATASET, QUICK, tmp_path_factory.mktemp("runs") / "whole", base))


def weights(run):
    return (run.model_path / "model.safetensors").read_bytes()


def test_a_finished_run_holds_its_whole_story(uninterrupted):
    run, info = uninterrupted, uninterrupted.info
    assert not run.adapter_path.exists(), "trained in full: there is no adapter"
    assert (run.status, info["steps"], info["total_steps"], info["error"]) == ("done", 10, 10, None)
    log = run.log()
    assert [entry.step for entry in log] == list(range(1, 11)) and all(entry.total == 10 for entry in log)
    assert all(entry.loss > 0 and entry.learning_rate >= 0 and entry.memory > 0 and entry.eta >= 0 for entry in log)
    assert [entry.step for entry in log if entry.eval_loss is not None] == [5, 10]
    assert log[-1].loss < log[0].loss and info["final_loss"] == log[-1].loss
    assert not run.checkpoints_path.exists() and info["checkpoint"] is None, "only what a stopped run needs"
    assert {sample.step for sample in run.samples()} == {5, 10} and len(run.samples()) <= 10
    assert info["versions"]["trl"] and len(info["dataset_sha256"]) == 64 and info["seconds"] > 0
    assert run.config.learning_rate == 1e-3 and run.config.dtype == "float32" and run.config.weight_decay is not None
    assert not [p.name for p in run.path.iterdir() if p.name.endswith(".partial")]


def test_the_result_is_a_checkpoint_like_its_base(uninterrupted, base):
    folder = uninterrupted.model_path
    for name in ("config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (Path(base.path) / name).read_bytes()
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1, 106, 50]
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as tuned, safe_open(Path(base.path) / "model.safetensors", "pt") as before:
        assert sorted(tuned.keys()) == sorted(before.keys())
        assert not all((tuned.get_tensor(k) == before.get_tensor(k)).all() for k in tuned.keys())  # noqa: SIM118


def test_a_run_that_is_done_is_left_alone(uninterrupted):
    from pipeline.train import train

    before = (uninterrupted.path / "run.json").read_bytes()
    assert train(uninterrupted.path).status == "done"
    assert (uninterrupted.path / "run.json").read_bytes() == before


def test_stopped_and_continued_is_uninterrupted(base, tmp_path, uninterrupted):
    from pipeline.train import prepare, train

    run = prepare(DATASET, QUICK, tmp_path / "run", base)
    run = train(run, on_step=lambda entry: run.request_stop() if entry.step == 3 else None)
    assert run.status == "paused" and not run.stop_requested and not run.is_alive
    assert run.last_checkpoint.step == run.info["steps"] == 3 and run.info["checkpoint"] == "checkpoint-3"
    assert not run.model_path.exists()
    (run.checkpoints_path / "checkpoint-5").mkdir()  # what a process killed while saving leaves behind
    assert train(run).status == "done"
    assert weights(run) == weights(uninterrupted)
    assert [(e.step, e.loss) for e in run.log()] == [(e.step, e.loss) for e in uninterrupted.log()]


class Clock:
    """A clock that only the test moves: the machine that runs the tests may be slow."""

    now = 0.0

    def monotonic(self):
        return self.now


def test_slots_of_limited_time_are_uninterrupted(base, tmp_path, uninterrupted, monkeypatch):
    from pipeline.train import prepare, train

    clock = Clock()
    monkeypatch.setattr("pipeline.callbacks.time", clock)

    def step(entry):
        if entry.loss is not None:
            clock.now += 10

    run, slots = prepare(DATASET, QUICK, tmp_path / "run", base), []
    while run.status != "done":
        began, before = clock.now, run.info["steps"]
        train(run, time_budget=35.0, on_step=step)
        slots.append((clock.now - began, run.info["steps"] - before))
    assert slots == [(30.0, 3), (30.0, 3), (30.0, 3), (10.0, 1)], "a fourth step would have ended after the budget"
    assert weights(run) == weights(uninterrupted)
    assert run.info["seconds"] == 100.0


@pytest.mark.slow
def test_killed_and_continued_is_uninterrupted(base, tmp_path, uninterrupted):
    from pipeline.train import prepare, train

    run = prepare(DATASET, QUICK, tmp_path / "run", base)
    program = textwrap.dedent("""
        import os, signal, sys
        from pipeline.train import train
        train(sys.argv[1], on_step=lambda entry: entry.step == 7 and os.kill(os.getpid(), signal.SIGKILL))
    """)
    child = subprocess.run([sys.executable, "-c", program, str(run.path)], cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert run.status == "paused" and not run.is_alive and [c.step for c in run.checkpoints()] == [4, 6]
    assert child.stderr == "" and child.stdout == "", "nothing of ours or the libraries' is printed"
    assert train(run).status == "done"
    assert weights(run) == weights(uninterrupted)


def killed_while_finishing(run, monkeypatch):
    """Train the last steps; what comes after them does not happen."""
    from pipeline import train as training

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_finish", interrupted)
        training.train(run)
    assert run.status == "paused" and run.last_checkpoint.step == run.info["total_steps"] and not run.model_path.exists()


def test_lora_is_merged_and_resumes(base, tmp_path, monkeypatch):
    from pipeline.train import prepare, train

    config = replace(QUICK, method="lora", learning_rate=1e-2, gradient_checkpointing=True, max_steps=6)
    whole = train(prepare(DATASET, config, tmp_path / "whole", base))
    assert whole.status == "done" and whole.info["steps"] == 6
    run = prepare(DATASET, config, tmp_path / "run", base)
    train(run, should_stop=lambda: len(run.log()) == 4)
    assert run.status == "paused" and run.info["steps"] == 4
    assert (run.last_checkpoint.path / "adapter_model.safetensors").is_file()
    killed_while_finishing(run, monkeypatch)
    assert weights(train(run)) == weights(whole)
    from safetensors import safe_open

    with safe_open(whole.model_path / "model.safetensors", "pt") as tuned:
        assert not [name for name in tuned.keys() if "lora" in name]  # noqa: SIM118
    kept = whole.adapter_path / "adapter_model.safetensors"
    assert kept.read_bytes() == (run.adapter_path / kept.name).read_bytes()
    settings = json.loads((whole.adapter_path / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"], settings["r"]) == (Path(base.path).name, None, 16)
    assert str(Path(base.path).parent) not in json.dumps(settings), "where the base lies on this disk goes nowhere"
    assert not list(whole.path.glob(".*.partial"))


def test_bfloat16_learns_the_same_with_float32_masters(base, tmp_path, uninterrupted):
    import torch
    from safetensors.torch import load_file

    from pipeline.train import prepare, train

    run = prepare(DATASET, replace(QUICK, dtype="bfloat16"), tmp_path / "run", base)
    train(run, should_stop=lambda: len(run.log()) == 6)
    assert {w.dtype for w in load_file(run.last_checkpoint.path / "model.safetensors").values()} == {torch.float32}
    losses = [(mine.loss, theirs.loss) for mine, theirs in zip(run.log(), uninterrupted.log(), strict=False)]
    assert all(mine == pytest.approx(theirs, rel=0.02) for mine, theirs in losses) and any(a != b for a, b in losses)


def test_a_stop_flag_from_before_this_process_is_nobodys_wish(base, tmp_path):
    from pipeline.train import prepare, train

    run = prepare(DATASET, replace(QUICK, max_steps=1), tmp_path / "run", base)
    run.request_stop()
    os.utime(run.path / "stop", (0, 0))
    assert train(run).status == "done"


@pytest.mark.parametrize(("error", "sentence"), [
    (FloatingPointError("the numbers went away\nby themselves"), r"Training failed \(FloatingPointError: the numbers went away\); the details"),
    (MemoryError(), "Memory ran out: lower --max-tokens"),
    (ModelError("The disk is gone."), "The disk is gone."),
    (OSError(28, "No space left on device"), "This disk is full: make room on it, then go on"),
    (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "This disk is full"),
])
def test_a_failure_is_a_sentence_in_the_run_and_another_call_tries_again(base, tmp_path, error, sentence):
    from pipeline.train import prepare, train

    def fail(entry):
        half.mkdir(parents=True)
        raise error

    run = prepare(DATASET, replace(QUICK, max_steps=2), tmp_path / "run", base)
    half = run.checkpoints_path / "checkpoint-1"
    with pytest.raises(type(error) if isinstance(error, ModelError) else RunError, match=sentence) as caught:
        train(run, on_step=fail)
    assert run.status == "failed" and run.info["error"] == str(caught.value)
    assert "Traceback" in run.failure_log.read_text() and not run.model_path.exists() and not run.is_alive
    assert not half.exists(), "what does not count takes no room"
    assert train(run).status == "done" and run.info["error"] is None


def test_a_loss_that_is_no_number_ends_the_training(base, tmp_path, monkeypatch):
    import torch

    from pipeline import model as models
    from pipeline.train import prepare, train

    load_weights = models.load_weights

    def poisoned(path, dtype):
        model = load_weights(path, dtype)
        with torch.no_grad():
            model.model.norm.weight[0] = float("nan")
        return model

    monkeypatch.setattr(models, "load_weights", poisoned)
    run = prepare(DATASET, QUICK, tmp_path / "run", base)
    with pytest.raises(RunError, match="The loss is nan after step 1: .* lower --learning-rate .it was 0.001."):
        train(run)
    assert run.status == "failed" and run.log() == [] and run.last_checkpoint is None


def test_a_run_killed_while_it_finished_is_finished(base, tmp_path, uninterrupted, monkeypatch):
    from pipeline.train import prepare, train

    run = prepare(DATASET, QUICK, tmp_path / "run", base)
    killed_while_finishing(run, monkeypatch)
    (run.path / ".model.0123.partial").mkdir()
    assert train(run).status == "done" and weights(run) == weights(uninterrupted)
    assert run.info["final_loss"] == run.log()[-1].loss and len(run.log()) == 10
    assert not (run.path / ".model.0123.partial").exists()


def test_weights_that_are_not_finite_are_never_saved(base, tmp_path):
    import torch

    from pipeline.model import load_weights
    from pipeline.train import _finish, prepare

    run = prepare(DATASET, QUICK, tmp_path / "run", base)
    model = load_weights(base.path, "float32")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="1 of the trained weights are not finite .model.norm.weight"):
        _finish(model, run.config, base, run)
    assert not run.model_path.exists()


def test_preparing_imports_no_torch(base, tmp_path):
    """The app prepares in the process that answers pages, where torch and transformers would cost seconds."""
    from pipeline.dataset import save

    save(DATASET, tmp_path / "data")
    program = (
        "import sys; from pipeline.train import prepare; from pipeline.config import TrainConfig; "
        "prepare(sys.argv[1], TrainConfig(), sys.argv[2], sys.argv[3]); "
        "assert not {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path / "data"), str(tmp_path / "run"), base.path], cwd=ROOT,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_prepare_freezes_splits_and_resolves(base, tmp_path):
    from pipeline.train import prepare

    run = prepare(DATASET, QUICK, tmp_path / "run", base, title="mine")
    assert (run.status, run.title, run.info["total_steps"], run.base["label"]) == ("new", "mine", 10, "tiny")
    splits = [row.split for row in run.dataset().examples]
    assert splits.count("test") == 4 and splits.count("train") == 18
    assert [name for name, value in run.config.to_json().items() if value is None] == ["max_steps"]


def test_prepare_refuses_what_would_fail_later_and_leaves_nothing(base, tmp_path):
    from pipeline.train import prepare

    wrong = ToolDataset(DATASET.tools, (*DATASET.examples, example("x", [ToolCall("unknown", {})]), example("y", [ToolCall("none", {})])))
    with pytest.raises(DataError, match="cannot be trained on") as caught:
        prepare(wrong, QUICK, tmp_path / "run", base)
    assert {issue.row for issue in caught.value.issues} == {23, 24}
    with pytest.raises(DataError, match=r"2 of 24 examples are too long: row 23, messages: \d+ tokens, more than the 1024 allowed.*[^.]\.$"):
        long = [example(f"{i} " + "make it red " * 300, [ToolCall("set_color", {"color": "red"})]) for i in range(2)]
        prepare(ToolDataset(DATASET.tools, (*DATASET.examples, *long)), QUICK, tmp_path / "run", base)
    with pytest.raises(ConfigError, match="--max-length must be at most 4096"):
        prepare(DATASET, replace(QUICK, max_length=5000), tmp_path / "run", base)
    with pytest.raises(DataError, match="every row is in the test split"):
        rows = tuple(replace(row, split="test") for row in DATASET.examples)
        prepare(ToolDataset(DATASET.tools, rows), QUICK, tmp_path / "run", base)
    assert list(tmp_path.iterdir()) == []
    prepare(DATASET, QUICK, tmp_path / "run", base)
    with pytest.raises(RunError, match="exists already"):
        prepare(DATASET, QUICK, tmp_path / "run", base)


def test_typed_arguments_reach_the_tokens_unchanged(base, tmp_path):
    from pipeline.functiongemma import render_example
    from pipeline.train import prepare

    arguments = {"n": 2, "x": 2.0, "on": True, "none": None, "list": [1, "1"], "inner": {"a": 1}}
    types = {"n": "integer", "x": "number", "on": "boolean", "list": "array", "inner": "object"}
    properties = {name: {"type": kind} for name, kind in types.items()} | {"none": {"type": ["string", "null"]}}
    tool = ToolSpec("set_color", "set", {"type": "object", "properties": properties})
    rows = tuple(example(word, [ToolCall("set_color", arguments)]) for word in ("red", "blue"))
    run = prepare(ToolDataset((tool,), rows), QUICK, tmp_path / "run", base)
    frozen = run.dataset()
    texts = [render_example([*e.prompt, e.completion], frozen.tools_of(e))[1] for e in frozen.examples]
    assert all("{inner:{a:1},list:[1,<escape>1<escape>],n:2,none:None,on:true,x:2.0}" in text for text in texts)
