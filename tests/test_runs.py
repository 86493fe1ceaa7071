"""The run folder is the truth: what is read back is what was written, whoever dies in between."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import RunError
from pipeline.runs import COMPLETE, Run, Sample, StepLog, Workspace

BASE = {"id": "embedded", "label": "embedded demo model", "revision": None, "path": "x", "embedded": True}


def make(path, title="first"):
    return Run.create(path, title=title, config=TrainConfig(), base=BASE, dataset_sha256="0" * 64, versions={}, total_steps=4)


def checkpoint(run, step, complete=True):
    folder = run.checkpoints_path / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    if complete:
        (folder / COMPLETE).write_text("{}")
    return folder


def test_a_folder_without_run_json_is_no_run(tmp_path):
    with pytest.raises(RunError, match="is not a run: it holds no run.json"):
        Run(tmp_path)


def test_a_run_is_read_back_as_it_was_made(tmp_path):
    make(tmp_path / "run")
    run = Run(tmp_path / "run")
    assert (run.status, run.title, run.config, run.base) == ("new", "first", TrainConfig(), BASE)
    assert not run.is_alive and run.last_checkpoint is None and run.log() == [] and run.evaluations() == {}


def test_update_changes_only_what_it_names(tmp_path):
    run = make(tmp_path / "run")
    before = run.info
    run.update(status="paused", steps=3)
    assert run.info == {**before, "status": "paused", "steps": 3}
    with pytest.raises(RunError, match="has no key 'stepz'"):
        run.update(stepz=1)
    with pytest.raises(RunError, match="status of a run is one of"):
        run.update(status="running")


def test_a_damaged_run_json_is_one_sentence(tmp_path):
    run = make(tmp_path / "run")
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        _ = run.status
    (run.path / "run.json").write_text('{"title": "a", "config": {}}')
    with pytest.raises(RunError, match=r"run\.json lacks status, base, .*; restore it or delete its folder\.$"):
        _ = run.status


def test_a_torn_log_line_is_passed_over_and_not_grown_onto(tmp_path):
    run = make(tmp_path / "run")
    run.append_log(StepLog(1, 4, loss=2.0))
    with open(run.path / "log.jsonl", "ab") as file:
        file.write(b'{"step": 2, "tot')
    assert run.log() == [StepLog(1, 4, loss=2.0)]
    run.append_log(StepLog(2, 4, loss=1.5))
    assert run.log() == [StepLog(1, 4, loss=2.0), StepLog(2, 4, loss=1.5)]


def test_steps_repeated_after_a_resume_count_once_and_evaluation_joins_its_step(tmp_path):
    run = make(tmp_path / "run")
    for entry in (StepLog(1, 4, loss=2.0), StepLog(2, 4, loss=9.0), StepLog(2, 4, loss=1.5), StepLog(2, 4, eval_loss=1.4)):
        run.append_log(entry)
    assert run.log() == [StepLog(1, 4, loss=2.0), StepLog(2, 4, loss=1.5, eval_loss=1.4)]


def test_samples_repeated_after_a_resume_count_once(tmp_path):
    run = make(tmp_path / "run")
    for answer in ("a", "b"):
        run.append_sample(Sample(2, 1.0, "red", "call", answer))
    assert run.samples() == [Sample(2, 1.0, "red", "call", "b")]


def test_a_checkpoint_counts_only_when_its_marker_is_there(tmp_path):
    run = make(tmp_path / "run")
    checkpoint(run, 2)
    checkpoint(run, 10)
    checkpoint(run, 12, complete=False)
    assert [c.step for c in run.checkpoints()] == [2, 10]
    assert run.last_checkpoint.step == 10


def test_stop_is_a_flag_file(tmp_path):
    run = make(tmp_path / "run")
    assert not run.stop_requested
    run.request_stop()
    assert Run(run.path).stop_requested
    run.clear_stop()
    assert not run.stop_requested


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    run = make(tmp_path / "run")
    with run.claim():
        run.update(status="training")
        assert run.is_alive and run.status == "training"
        with pytest.raises(RunError, match="is being trained by process"), run.claim():
            pass
        with pytest.raises(RunError, match="stop it before deleting"):
            run.delete()
    assert not run.is_alive and run.status == "paused"


def test_a_training_whose_process_died_is_paused(tmp_path):
    run = make(tmp_path / "run")
    program = textwrap.dedent("""
        import sys, time
        from pipeline.runs import Run
        run = Run(sys.argv[1])
        with run.claim():
            run.update(status="training")
            time.sleep(600)
    """)
    child = subprocess.Popen([sys.executable, "-c", program, str(run.path)])
    deadline = time.monotonic() + 240
    while run.status != "training" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.is_alive
    child.kill()
    while run.is_alive and time.monotonic() < deadline:  # a zombie, not waited for, counts as dead
        time.sleep(0.02)
    assert run.status == "paused"
    child.wait()
    with run.claim():
        assert run.is_alive


def test_a_later_process_with_the_same_number_is_not_the_training(tmp_path):
    run = make(tmp_path / "run")
    with run.claim():
        process = run.info["process"]
        run.update(status="training")
        assert run.is_alive
        run.update(process={**process, "started": process["started"] - 1})
        assert not run.is_alive and run.status == "paused"


def test_workspace_finds_again_what_it_made(tmp_path):
    session = Workspace(tmp_path).create_session()
    project = session.create_project("  My   app ")
    make(project.new_run_path(), "one")
    time.sleep(0.01)
    make(project.new_run_path(), "two").rename("second")
    again = Workspace(tmp_path).session(session.id).project(project.id)
    assert again.title == "My app"
    assert [run.title for run in again.runs()] == ["second", "one"]
    assert again.run(again.runs()[0].id).title == "second"
    again.rename("Other")
    assert [p.title for p in session.projects()] == ["Other"]
    again.runs()[0].delete()
    assert [run.title for run in again.runs()] == ["one"]
    again.delete()
    assert session.projects() == []
    assert [s.id for s in Workspace(tmp_path).sessions()] == [session.id]


@pytest.mark.parametrize("id", [
    "..", ".", "", "../../etc", "/etc", "a" * 33, "deadbeef/..", "DEADBEEF", "deadbeef\n", None, "deadbeef",
])
def test_an_id_from_a_client_never_leaves_its_folder(tmp_path, id):
    workspace = Workspace(tmp_path / "root")
    session = workspace.create_session()
    project = session.create_project("p")
    for find in (workspace.session, session.project, project.run):
        with pytest.raises(RunError, match="is not the id of a|There is no"):
            find(id)


def test_a_link_out_of_the_workspace_is_not_followed(tmp_path):
    session = Workspace(tmp_path / "root").create_session()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "project.json").write_text(json.dumps({"title": "t", "created": 0}))
    (session.path / "deadbeef").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="There is no project"):
        session.project("deadbeef")
    assert session.projects() == []


def test_an_empty_name_is_refused(tmp_path):
    with pytest.raises(RunError, match="at least one letter"):
        Workspace(tmp_path).create_session().create_project("  ")
