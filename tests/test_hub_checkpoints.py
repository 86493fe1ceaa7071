"""A training that was kept on the Hub goes on elsewhere as if it had never been away; what comes back is looked at like anybody's."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline import model as models
from pipeline.cli import main
from pipeline.errors import ConfigError, HubError, PipelineError, RunError
from pipeline.hub import access
from pipeline.hub.access import FUNCTION_GEMMA
from pipeline.hub.checkpoints import fetch_run, push_checkpoint
from pipeline.runs import Run
from tests.small_world import tiny_checkpoint
from tests.test_train import DATASET, QUICK

CONFIG = replace(QUICK, max_steps=4, save_steps=2)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def stopped(embedded, tmp_path_factory):
    """A run that was stopped after two of its four steps, and the weights of the same run made in one go."""
    from pipeline.train import prepare, train

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "EMBEDDED", embedded)
        folder = tmp_path_factory.mktemp("runs")
        whole = train(prepare(DATASET, CONFIG, folder / "whole", "embedded", title="Lamp"))
        part = prepare(DATASET, CONFIG, folder / "part", "embedded", title="Lamp")
        train(part, should_stop=lambda: len(part.log()) >= 2)
    assert part.status == "paused" and part.last_checkpoint.step == 2
    return part, (whole.model_path / "model.safetensors").read_bytes()


@pytest.fixture
def run(stopped, tmp_path, embedded, monkeypatch):
    monkeypatch.setattr(models, "EMBEDDED", embedded)
    return Run(shutil.copytree(stopped[0].path, tmp_path / "run"))


def test_a_training_goes_on_elsewhere_bit_for_bit(hub, run, stopped, tmp_path):
    from pipeline.train import train

    alice, seen = hub.user("alice"), []
    pushed = push_checkpoint(run, "lamp-training", alice)
    repo = hub.repos["model", "alice/lamp-training"]
    assert repo.private and pushed.private and not [name for name in repo.files if "training_args" in name or "tokenizer" in name]
    assert str(tmp_path).encode() not in b"".join(one.data for one in repo.files.values()), "no path of this computer"
    shutil.rmtree(run.path)

    back = fetch_run("alice/lamp-training", alice, tmp_path / "elsewhere" / "run", lambda fraction, message: seen.append(fraction))
    assert (back.status, back.info["steps"], back.title, back.base["path"]) == ("paused", 2, "Lamp", str(models.EMBEDDED))
    assert [entry.step for entry in back.log() if entry.loss is not None] == [1, 2] and seen == sorted(seen) and seen[-1] == 1.0
    assert train(back).status == "done"
    assert (back.model_path / "model.safetensors").read_bytes() == stopped[1]
    assert [entry.step for entry in back.log() if entry.loss is not None] == [1, 2, 3, 4]
    assert hub.leaks() == [] and not [one for one in tmp_path.rglob("*") if one.is_file() and alice.encode() in one.read_bytes()]


def test_each_new_checkpoint_is_kept_until_the_training_ends(hub, run, monkeypatch):
    from pipeline.hub import checkpoints

    alice, said = hub.user("alice"), []

    def trains(seconds):  # in place of waiting: the training makes another checkpoint, then it ends
        if run.last_checkpoint.step == 2:
            os.rename(run.path / "checkpoints" / "checkpoint-2", run.path / "checkpoints" / "checkpoint-4")
            hub.fail("POST", "/commit/", status=500)  # one failed push is tried again
        elif len(hub.repos["model", "alice/keep"].commits) == 3:
            run.update(status="done")

    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(sleep=trains, monotonic=lambda: 0.0))
    pushed = checkpoints.keep(run, "keep", alice, lambda fraction, message: said.append(message))
    assert pushed.commit == hub.repos["model", "alice/keep"].sha and "run/checkpoints/checkpoint-4/complete.json" in pushed.files
    assert [message for message in said if "is kept" in message] == [f"Step {n} is kept; the next checkpoint goes there too" for n in (2, 4)]


def test_a_last_checkpoint_that_could_not_be_kept_is_said(hub, run, monkeypatch):
    from pipeline.hub import checkpoints

    alice, said = hub.user("alice"), []

    def fails(seconds):  # in place of waiting: the training makes another checkpoint and fails, and the Hub takes nothing more
        if run.last_checkpoint.step == 2:
            os.rename(run.path / "checkpoints" / "checkpoint-2", run.path / "checkpoints" / "checkpoint-4")
            run.update(status="failed")
            hub.fail("POST", "/commit/", status=500, times=99)

    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(sleep=fails, monotonic=lambda: 0.0))
    with pytest.raises(HubError, match="trouble of its own"):
        checkpoints.keep(run, "keep", alice, lambda fraction, message: said.append(message))
    assert sum("It is tried once more" in message for message in said) == 1


def test_no_path_of_this_computer_is_kept(hub, run):
    checkpoint = run.last_checkpoint.path
    (checkpoint / "adapter_config.json").write_text('{"r": 16, "base_model_name_or_path": "/home/me/base"}')
    push_checkpoint(run, "keep", hub.user("alice"))
    kept = {name: one.data for name, one in hub.repos["model", "alice/keep"].files.items()}
    assert json.loads(kept[f"run/checkpoints/{checkpoint.name}/adapter_config.json"]) == {"r": 16, "base_model_name_or_path": "embedded"}
    for name, data in kept.items():
        assert not any(path in data for path in (b"/home/me", str(run.path).encode(), str(models.EMBEDDED).encode())), name


def test_only_the_newest_checkpoint_stays_there(hub, run):
    alice = hub.user("alice")
    push_checkpoint(run, "keep", alice)
    os.rename(run.path / "checkpoints" / "checkpoint-2", run.path / "checkpoints" / "checkpoint-3")
    hub.log.clear()
    push_checkpoint(run, "keep", alice)
    names = {name.split("/")[2] for name in hub.repos["model", "alice/keep"].files if name.startswith("run/checkpoints/")}
    assert names == {"checkpoint-3"} and len(hub.repos["model", "alice/keep"].commits) == 3
    assert not hub.asked("PUT", "/_lfs/"), "bytes that the Hub has are not sent again"
    assert not list(run.path.glob(".kept*"))


def test_a_run_without_a_checkpoint_or_on_a_folder_is_told(hub, run):
    alice = hub.user("alice")
    run.update(base={**run.base, "embedded": False, "id": "/home/me/model"})
    with pytest.raises(HubError, match="Lamp is trained on a model in a folder of this computer, which is not on the Hub"):
        push_checkpoint(run, "keep", alice)
    run.update(base={**run.base, "embedded": True, "id": "embedded"})
    shutil.rmtree(run.checkpoints_path)
    with pytest.raises(HubError, match="Lamp has no whole checkpoint yet; one is made every 2 steps"):
        push_checkpoint(run, "keep", alice)
    assert hub.repos == {}


def test_neither_another_repository_nor_a_public_one_is_taken(hub, run):
    alice = hub.user("alice")
    hub.repo("alice/other", {"model.safetensors": b"x"}, private=True)
    with pytest.raises(HubError, match=r"alice/other holds something else \(model.safetensors\)"):
        push_checkpoint(run, "other", alice)
    hub.repo("alice/public", {"run/run.json": b"{}"})
    with pytest.raises(HubError, match="alice/public is public, and this is to stay private"):
        push_checkpoint(run, "public", alice)
    with pytest.raises(HubError, match="bob is not alice"):
        fetch_run("bob/run", alice, run.path / "x")


def test_a_broken_connection_leaves_nothing_half_fetched(hub, run, tmp_path):
    alice = hub.user("alice")
    push_checkpoint(run, "keep", alice)
    hub.fail("GET", "/_cdn/", status=404, times=99)
    with pytest.raises(HubError, match="Fetching the run from alice/keep did not work"):
        fetch_run("keep", alice, tmp_path / "back" / "run")
    assert list((tmp_path / "back").iterdir()) == []
    hub.faults.clear()
    assert fetch_run("keep", alice, tmp_path / "back" / "run").last_checkpoint.step == 2
    with pytest.raises(RunError, match="exists already; name a new folder"):
        fetch_run("keep", alice, tmp_path / "back" / "run")


def altered(hub, **files):
    """What is kept in alice/keep with files changed (None: gone)."""
    repo = hub.repos["model", "alice/keep"]
    kept = {name: one for name, one in repo.files.items() if name not in files}
    repo.commit("by somebody", kept | {name: hub.store(name, data) for name, data in files.items() if data is not None})


@pytest.mark.parametrize(("change", "sentence"), [
    ({"run/evil.py": b"print()"}, "holds 'run/evil.py', which no kept training has"),
    ({"run/checkpoints/checkpoint-2/training_args.bin": b"pickle"}, "which no kept training has"),
    ({"run/checkpoints/checkpoint-2/complete.json": None}, "holds no whole training"),
    ({"run/checkpoints/checkpoint-9/complete.json": b"{}"}, "holds no whole training"),
    ({"run/run.json": None}, "holds no whole training"),
    ({"run/run.json": b"[]"}, "run.json"),
    ({"run/dataset/tools.json": b"{"}, "The tools are not usable: broken JSON"),
])  # fmt: skip
def test_what_no_run_of_ours_holds_is_not_fetched(hub, run, tmp_path, change, sentence):
    alice = hub.user("alice")
    push_checkpoint(run, "keep", alice)
    altered(hub, **change)
    with pytest.raises(PipelineError, match=sentence):
        fetch_run("keep", alice, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(("change", "error"), [
    ({"steps": -1}, RunError), ({"steps": True}, RunError), ({"seconds": "1"}, RunError), ({"base": []}, RunError), ({"config": []}, RunError),
    ({"base": {"id": "x/y", "path": "/etc", "revision": "main", "embedded": False, "label": "x"}}, RunError),
    ({"base": {"id": "/etc", "path": "/etc", "revision": None, "embedded": False, "label": "x"}}, RunError),
    ({"config": {"method": "magic"}}, ConfigError), ({"title": "  "}, RunError),
    ({"created": float("inf")}, RunError), ({"seconds": 10**400}, RunError), ({"versions": "1"}, RunError),
])  # fmt: skip
def test_words_that_no_run_has_are_refused(hub, run, tmp_path, change, error):
    alice = hub.user("alice")
    push_checkpoint(run, "keep", alice)
    info = json.loads(hub.repos["model", "alice/keep"].files["run/run.json"].data)
    altered(hub, **{"run/run.json": json.dumps({**info, **change}).encode()})
    with pytest.raises(error):
        fetch_run("keep", alice, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_lines_that_no_training_writes_are_left_out_of_its_journals(hub, run, tmp_path):
    alice = hub.user("alice")
    push_checkpoint(run, "keep", alice)
    kept = hub.repos["model", "alice/keep"].files
    strange = b'{"step": 3, "total": 4, "loss": "low"}\n{"step": 4, "total": 4, "loss": 1e999}\n'
    altered(hub, **{"run/log.jsonl": kept["run/log.jsonl"].data + strange, "run/samples.jsonl": b'{"step": 1, "epoch": 1.0, "request": {}, "expected": "", "answer": ""}\n'})
    back = fetch_run("keep", alice, tmp_path / "back")
    assert back.log() == run.log() and back.samples() == []


def test_a_kept_run_is_no_way_around_the_gate_of_its_base(hub, run, tmp_path, embedded, monkeypatch):
    """Somebody without access writes a run.json that names the gated base, at the very path where another visitor's copy lies."""
    gated = hub.repo(FUNCTION_GEMMA, embedded, gated=True)
    monkeypatch.setitem(access.REVISIONS, FUNCTION_GEMMA, gated.sha)
    hub.accept(FUNCTION_GEMMA, "alice")
    copy = access.fetch_base(FUNCTION_GEMMA, hub.user("alice"))
    mallory = hub.user("mallory")
    push_checkpoint(run, "keep", mallory)
    base = {"id": FUNCTION_GEMMA, "path": str(copy), "revision": gated.sha, "embedded": False, "label": "x"}
    repo = hub.repos["model", "mallory/keep"]
    info = json.loads(repo.files["run/run.json"].data) | {"base": base}
    repo.commit("mine", repo.files | {"run/run.json": hub.store("run/run.json", json.dumps(info).encode())})
    with pytest.raises(HubError, match="is gated"):
        fetch_run("keep", mallory, tmp_path / "back")
    hub.accept(FUNCTION_GEMMA, "mallory")
    assert fetch_run("keep", mallory, tmp_path / "back").base["path"] == str(copy)


def test_the_command_line_keeps_and_fetches(hub, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", hub.user("alice"))
    assert main(["push", str(run.path), "--repo", "alice/keep", "--checkpoint", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["private"] is True
    assert main(["fetch", "alice/keep", "--out", str(tmp_path / "back"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["run"], said["status"], said["steps"], said["total_steps"]) == (str(tmp_path / "back"), "paused", 2, 4)
    assert main(["fetch", "alice/none", "--out", str(tmp_path / "none")]) == 1
    assert "there is no alice/none on the Hub" in capsys.readouterr().err
    assert main(["push", str(run.path), "--repo", "alice/keep", "--checkpoint", "--public"]) == 1
    assert "always private" in capsys.readouterr().err
