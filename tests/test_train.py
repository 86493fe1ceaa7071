"""Training survives: a run made in pieces, or killed, ends with the weights of one made in one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.errors import ConfigError, DataError, ModelError, RunError
from pipeline.model import BaseModel
from pipeline.runs import Run
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
    assert (run.status, info["steps"], info["total_steps"], info["error"]) == ("done", 10, 10, None)
    log = run.log()
    assert [entry.step for entry in log] == list(range(1, 11)) and all(entry.total == 10 for entry in log)
    assert all(entry.loss > 0 and entry.learning_rate >= 0 and entry.memory > 0 and entry.eta >= 0 for entry in log)
    assert [entry.step for entry in log if entry.eval_loss is not None] == [5, 10]
    assert log[-1].loss < log[0].loss and info["final_loss"] == log[-1].loss
    assert [c.step for c in run.checkpoints()] == [8, 10], "the last two are kept"
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
    assert run.last_checkpoint.step == run.info["steps"] == 4, "asked for after step 3 was logged, heard after step 4"
    assert not run.model_path.exists()
    (run.checkpoints_path / "checkpoint-5").mkdir()  # what a process killed while saving leaves behind
    assert train(run).status == "done"
    assert weights(run) == weights(uninterrupted)
    assert [(e.step, e.loss) for e in run.log()] == [(e.step, e.loss) for e in uninterrupted.log()]
