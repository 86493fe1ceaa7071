"""A run trained in a Hugging Face Job: pushed, started, killed, gone on with, followed, fetched; through the real client, in real processes.

The local Hub's Jobs (local_hub_jobs) start the very script that was pushed, with the token as a secret, where nothing is installed but what
a Job installs.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from pipeline import hub as hubs
from pipeline.cli import main
from pipeline.config import TrainConfig
from pipeline.dataset import save
from pipeline.errors import ConfigError, HubError, RunError
from pipeline.hub import job_cost, job_fetch, job_logs, job_work, package, remote
from pipeline.hub.access import FUNCTION_GEMMA
from pipeline.runs import Run
from pipeline.train import prepare, train
from tests.local_hub import SCOPES
from tests.local_hub_jobs import jobs_of
from tests.tuned_world import small_dataset

STEPS = 14


@pytest.fixture
def alice(hub, monkeypatch):
    """The token of an account with credit, which is also this machine's own."""
    token = hub.user("alice", {"acme": "write"}, can_pay=True)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return token


def small_run(folder: Path, **options) -> Run:
    config = TrainConfig(**{"max_steps": STEPS, "save_steps": 2, "per_device_train_batch_size": 2} | options)
    return prepare(small_dataset(), config, folder, title="Lamp")


def everything_on(*places: Path) -> bytes:
    """Names and contents of all files."""
    files = [file for place in places for file in place.rglob("*")]
    return b"\n".join(str(file).encode() + (file.read_bytes() if file.is_file() and not file.is_symlink() else b"") for file in files)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two Jobs, each of which loads the libraries three times
def test_a_job_that_was_killed_is_gone_on_with_and_its_result_comes_back(hub, alice, tmp_path):
    jobs, run = jobs_of(hub), small_run(tmp_path / "run")
    flavor = job_cost.flavor(alice, "cpu-basic")
    jobs.kill_after = '"kind": "kept"'
    first = remote.start(run, flavor, alice, keep_every=0)
    assert first.repo == "alice/lamp-training-run" and hub.repos["model", first.repo].private
    with pytest.raises(RunError, match="being trained in a Hugging Face Job"):
        train(run)
    with pytest.raises(RunError, match="given to a Job already"):
        remote.start(run, flavor, alice)
    heard = job_logs.follow(run, alice)
    killed = jobs.made[first.job]
    assert heard.kept and heard.status is None, killed.text
    assert remote.refresh(run, alice).stage == "ERROR" and not remote.record(run).away
    with pytest.raises(RunError, match=f"has not finished Lamp. It got to step {heard.kept} of {STEPS}. Another Job goes on"):
        job_fetch.fetch(run, alice)

    second = remote.start(run, flavor, alice, keep_every=0)
    assert second.repo == first.repo and second.job != first.job
    heard = job_logs.follow(run, alice)
    job = jobs.made[second.job]
    assert heard.status == "done", job.text
    steps = [json.loads(line.removeprefix("studio-job: "))["step"] for line in job.text.splitlines() if '"kind": "step"' in line]
    assert min(steps) > 2 and max(steps) == STEPS
    assert remote.refresh(run, alice).stage == "COMPLETED" and run.status == "new"
    assert [entry.step for entry in run.log() if entry.loss is not None] == list(range(1, STEPS + 1))  # both Jobs', as one training

    job_fetch.fetch(run, alice)
    assert run.status == "done" and run.info["steps"] == STEPS and not remote.record(run).away
    assert not run.checkpoints_path.exists() and run.evaluations()["tuned-test"]["rows"] == 4
    assert run.samples() and run.config.dtype != "auto" and run.base["path"]
    assert not [name for name in hub.repos["model", first.repo].files if "checkpoints" in name or "training_args" in name]
    assert not list(run.path.glob(".*")), "nothing half-fetched is left"

    # The token: a secret of the Job, and otherwise in Authorization headers only.
    assert job.spec["secrets"] == {"HF_TOKEN": alice}
    assert alice not in json.dumps({**job.spec, "secrets": None}) + job.text + killed.text + " ".join(job.argv)
    assert alice.encode() not in everything_on(run.path, jobs.folder, tmp_path / "hf")
    assert hub.leaks() == ["POST /api/jobs/alice"] * 2
    assert alice not in json.dumps([file.data.decode("latin-1") for file in hub.repos["model", first.repo].files.values()])


def test_the_call_is_one_that_the_client_takes_and_a_dry_run_leaves_nothing(hub, alice, tmp_path, capsys):
    save(small_dataset(), tmp_path / "data")
    words = ["jobs", "start", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--flavor", "t4-small", "--max-steps", "3", "--dry-run"]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    call = said["call"]
    inspect.signature(HfApi.run_uv_job).bind(None, **call)
    assert call["secrets"] == {"HF_TOKEN": "<your token>"} and call["flavor"] == "t4-small" and call["timeout"] == said["timeout"]
    assert call["script"].startswith(f"{hub.url}/alice/run-training-run/resolve/")
    assert call["dependencies"] == package.requirements() and all("+" not in one for one in call["dependencies"])
    assert call["labels"]["app"] == "functiongemma-studio" and call["namespace"] == "alice"
    assert said["usd_per_hour"] == pytest.approx(0.40, abs=0.01) and 0 < said["cost"] < said["most"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith('HfApi(token="<your token>").run_uv_job(') and "ended after 30 min in any case" in text
    assert not (tmp_path / "run").exists() and not hub.repos and not jobs_of(hub).made
    assert alice not in text


def test_refusals_are_sentences_and_the_next_try_finds_what_was_pushed(hub, tmp_path):
    run, flavor = small_run(tmp_path / "run"), job_cost.Flavor("cpu-basic", "CPU", 0.01, 0, "", "", 2)
    jobs_of(hub).run = False
    poor = hub.user("carol")
    with pytest.raises(HubError, match=r"Starting a Job on cpu-basic did not work: .*credit.*billing") as refused:
        remote.start(run, flavor, poor)
    assert refused.value.status == 402 and remote.record(run).job is None and not remote.record(run).away
    hub.users[poor].can_pay, pushes = True, len(hub.asked("POST", "/commit/"))
    again = remote.start(run, flavor, poor)
    assert again.job and again.away and again.repo == "carol/lamp-training-run" and len(hub.asked("POST", "/commit/")) <= pushes + 1
    assert "waits for its hardware" in remote.sentence(again)
    narrow = hub.user("dora", can_pay=True, scopes=SCOPES - {"jobs"})
    other = small_run(tmp_path / "other")
    with pytest.raises(HubError, match="this account or token may not do that .*scope jobs.*sign out and in again"):
        remote.start(other, flavor, narrow)
    with pytest.raises(HubError, match="no hardware 'h9000' for Jobs; choose one of cpu-basic, t4-small, l4x4"):
        job_cost.flavor(poor, "h9000")
    with pytest.raises(HubError, match="acme is not carol"):
        remote.plan(other, flavor, poor, "acme/x")


def test_a_folder_and_a_finished_run_and_a_public_repository_are_refused(hub, alice, tmp_path):
    flavor = job_cost.flavor(alice, "cpu-basic")
    run = small_run(tmp_path / "run")
    run.update(base={**run.base, "embedded": False, "id": "/somewhere"})
    with pytest.raises(RunError, match="cannot see the folder"):
        remote.start(run, flavor, alice)
    run = small_run(tmp_path / "done")
    run.update(status="done")
    with pytest.raises(RunError, match="is trained already"):
        remote.start(run, flavor, alice)
    hub.repo("alice/open", {"a.txt": b"a"})
    with pytest.raises(HubError):
        remote.start(small_run(tmp_path / "third"), flavor, alice, "open")
    assert set(hub.repos["model", "alice/open"].files) == {"a.txt"}


def test_while_a_run_is_sent_it_is_neither_sent_twice_nor_trained_here(hub, alice, tmp_path):
    jobs_of(hub).run = False
    run, flavor, tried = small_run(tmp_path / "run"), job_cost.flavor(alice, "cpu-basic"), []

    def meanwhile(fraction: float, message: str) -> None:
        if not tried:
            tried.append(message)
            with pytest.raises(RunError, match="sent to a Job just now"):
                remote.start(run, flavor, alice)
            with pytest.raises(RunError, match="is being trained by process"):
                train(run)

    begun = remote.start(run, flavor, alice, progress=meanwhile)
    assert tried and list(jobs_of(hub).made) == [begun.job], "one Job is paid for"
    assert not run.is_alive and run.status == "new"


def test_a_checkpoint_that_cannot_be_read_costs_the_job_nothing(tmp_path, monkeypatch, capsys):
    run = small_run(tmp_path / "run")
    kept = run.checkpoints_path / "checkpoint-2"
    kept.mkdir(parents=True)
    (kept / "complete.json").write_text("{}")

    def changing(*_):
        raise HubError("The checkpoints of Lamp changed while they were read; try again.")

    monkeypatch.setattr(job_work.checkpoints, "hold", changing)
    keeper = job_work.Keeper("alice/lamp", None, run, 0)
    keeper.look()
    keeper.wait()
    assert keeper.pushed == 0, "it is tried again"
    assert "could not be read to be kept: The checkpoints of Lamp changed" in capsys.readouterr().out


def test_cancelling_gives_the_run_back_and_so_does_a_job_that_is_gone(hub, alice, tmp_path):
    jobs, run = jobs_of(hub), small_run(tmp_path / "run")
    jobs.run = False
    flavor = job_cost.flavor(alice, "cpu-basic")
    begun = remote.start(run, flavor, alice)
    assert [row["id"] for row in remote.jobs(alice)] == [begun.job]
    ended = remote.cancel(run, alice)
    assert (ended.stage, ended.away, jobs.made[begun.job].stage) == ("CANCELED", False, "CANCELED")
    again = remote.start(run, flavor, alice)
    del jobs.made[again.job]
    assert (remote.refresh(run, alice).stage, remote.record(run).away) == ("DELETED", False)
    assert alice not in (run.path / "remote.json").read_text()


def test_an_answer_that_comes_late_does_not_undo_what_was_done_meanwhile(hub, alice, tmp_path, monkeypatch):
    jobs_of(hub).run = False
    run = small_run(tmp_path / "run")
    begun = remote.start(run, job_cost.flavor(alice, "cpu-basic"), alice)

    def late(info):
        remote.save(run, replace(begun, stage="COMPLETED", away=False, fetched=True))
        return "RUNNING"

    monkeypatch.setattr(remote, "_stage", late)
    assert remote.refresh(run, alice).fetched and remote.record(run).fetched and not remote.record(run).away
    remote.save(run, begun)
    monkeypatch.setattr("huggingface_hub.HfApi.cancel_job", lambda *_, **__: late(None))
    assert (remote.cancel(run, alice).stage, remote.record(run).fetched) == ("COMPLETED", True)


def test_only_the_studios_jobs_are_listed(hub, alice, tmp_path, capsys):
    jobs_of(hub).run = False
    hubs.client(alice).run_job(image="ubuntu", command=["true"], flavor="cpu-basic", namespace="alice")
    begun = remote.start(small_run(tmp_path / "run"), job_cost.flavor(alice, "cpu-basic"), alice)
    assert main(["jobs", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["jobs"]
    assert (row["id"], row["name"], row["stage"], row["flavor"]) == (begun.job, "functiongemma-lamp", "SCHEDULING", "cpu-basic")
    assert main(["jobs", "show", str(tmp_path / "run")]) == 0 and "waits for its hardware" in capsys.readouterr().out
    assert main(["jobs", "hardware"]) == 0 and "$0.40" in capsys.readouterr().out


def test_the_command_line_starts_shows_and_cancels(hub, alice, tmp_path, capsys):
    jobs_of(hub).run = False
    save(small_dataset(), tmp_path / "data")
    run = str(tmp_path / "run")
    assert main(["jobs", "start", str(tmp_path / "data"), "--out", run, "--flavor", "cpu-basic", "--max-steps", "3", "--json"]) == 0
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert said["job"] in jobs_of(hub).made and said["repo"] == "alice/run-training-run" and "at most $" in told.err
    assert main(["jobs", "start", str(tmp_path / "data"), "--out", run, "--flavor", "cpu-basic"]) == 1
    assert "has been given to a Job already" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "data"), "--out", run]) == 1
    assert "is being trained in a Hugging Face Job" in capsys.readouterr().err
    jobs_of(hub).made[said["job"]].stage = "RUNNING"
    assert main(["jobs", "fetch", run]) == 1 and "Wait for the Job to end" in capsys.readouterr().err
    assert main(["jobs", "cancel", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "CANCELED"
    assert alice not in told.out + told.err


def test_what_a_job_could_not_finish_is_kept_with_its_reason_and_the_next_goes_on_from_there(hub, alice, tmp_path, monkeypatch):
    jobs_of(hub).run = False
    run, flavor = small_run(tmp_path / "run"), job_cost.flavor(alice, "cpu-basic")
    begun = remote.start(run, flavor, alice)

    def ran_out(there: Run, words: job_work.Words, keeper: job_work.Keeper) -> None:
        kept = there.checkpoints_path / "checkpoint-6"
        kept.mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.pt", "rng_state_0.pth", "training_args.bin", "complete.json"):
            (kept / name).write_bytes(b"{}")
        there.update(status="failed", error="Memory ran out.")

    monkeypatch.setattr(job_work, "_train", ran_out)
    words = job_work.Words(begun.repo, begun.revision, 1, 0, 60)
    assert job_work.work(words, alice, tmp_path / "there" / "run").status == "failed"
    files = hub.repos["model", begun.repo].files
    kept = {name.rpartition("/")[2] for name in files if name.startswith("run/checkpoints/checkpoint-6/")}
    assert kept == {"model.safetensors", "optimizer.pt", "rng_state_0.pth", "complete.json"}
    there = json.loads(files["run/run.json"].data)
    assert (there["status"], there["error"], there["steps"], there["base"]["path"]) == ("failed", "Memory ran out.", 6, "embedded")
    with pytest.raises(RunError, match="has not finished Lamp. It failed: Memory ran out. Wait for the Job"):
        job_fetch.fetch(run, alice)
    jobs_of(hub).made[begun.job].stage = "COMPLETED"
    assert "its result can be fetched" in remote.sentence(remote.refresh(run, alice))
    with pytest.raises(RunError, match="It failed: Memory ran out. Another Job goes on from there"):
        job_fetch.fetch(run, alice)
    assert not remote.record(run).away and "ended before the run was done" in remote.sentence(remote.record(run))
    again = remote.start(run, flavor, alice)
    assert json.loads(hub.repos["model", begun.repo].files["run/run.json"].data)["steps"] == 6, "what is further stays"
    at_its_place = job_work.restore(hubs.client(alice), replace(words, revision=again.revision), tmp_path / "next" / "run")
    assert at_its_place.last_checkpoint.step == 6 and at_its_place.dataset() == run.dataset()


def test_no_job_is_paid_for_whose_base_the_account_may_not_read(hub, alice, tmp_path):
    hub.repo(FUNCTION_GEMMA, {"config.json": b"{}"}, gated=True)
    run = small_run(tmp_path / "run")
    run.update(base={**run.base, "embedded": False, "id": FUNCTION_GEMMA, "revision": hub.repos["model", FUNCTION_GEMMA].sha, "label": "FunctionGemma"})
    with pytest.raises(HubError, match="is gated: accept its licence"):
        remote.start(run, job_cost.flavor(alice, "cpu-basic"), alice, timeout=600)
    assert not jobs_of(hub).made and not hub.asked("POST", "/commit/")


def test_without_a_token_the_command_says_how_to_get_one(hub, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["jobs", "list"]) == 1
    assert "hf auth login" in capsys.readouterr().err


# -- several GPUs


def test_several_gpus_train_together_with_the_same_batches(hub, alice, tmp_path):
    run = small_run(tmp_path / "run", per_device_train_batch_size=8)
    four = job_cost.flavor(alice, "l4x4")
    assert (four.gpus, four.processes) == (4, 4)
    assert "--processes=4" in remote.plan(run, four, alice).arguments["script_args"]
    jobs_of(hub).run = False
    begun = remote.start(run, four, alice)
    sent = json.loads(hub.repos["model", begun.repo].files["run/run.json"].data)
    assert sent["config"]["per_device_train_batch_size"] == 2 and run.config.per_device_train_batch_size == 8
    assert sent["base"]["path"] == "embedded" and str(tmp_path) not in json.dumps(sent)
    command = job_work.launcher(4)
    assert "accelerate.commands.launch" in command and "--num_processes=4" in command and command[-2:] == ["-m", "pipeline"]
    assert job_work.launcher(1)[1:] == ["-m", "pipeline"]
    with pytest.raises(ConfigError, match="batch of 8 examples cannot be shared out to 3 GPUs"):
        remote.shared_config(run.config, 3)


@pytest.mark.slow
def test_two_processes_train_a_run_as_one_does(tmp_path, monkeypatch):
    """Under the Job's own launcher: the same losses, one journal, checkpoints that count, and one model."""
    rows = small_dataset()  # an even number to learn from: accelerate repeats a row to fill a last batch
    even = replace(rows, examples=(replace(rows.examples[0], split="train"), *rows.examples[1:]))
    config = TrainConfig(max_steps=4, save_steps=2, per_device_train_batch_size=2)
    alone, together = (prepare(even, config, tmp_path / name) for name in ("alone", "together"))
    together.update(config=remote.shared_config(together.config, 2).to_json())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status = job_work._run(together, ["train", str(together.path / "dataset"), "--out", str(together.path), "--json"], processes=2)
    assert status == 0 and together.status == "done", together.failure_log.read_text() if together.failure_log.exists() else ""
    train(alone)
    losses = [[entry.loss for entry in run.log() if entry.loss is not None] for run in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    lines = [json.loads(line) for line in (together.path / "log.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "loss" in line]) == 4, "one process writes the journal"
    assert (together.model_path / "model.safetensors").is_file() and together.info["process"] is None


# -- what travels


def test_the_package_is_the_same_bytes_each_time_and_holds_what_a_job_runs(tmp_path):
    one, two = package.build(tmp_path / "one.zip", weights=True), package.build(tmp_path / "two.zip", weights=True)
    assert one.sha256 == two.sha256 and re.fullmatch("[0-9a-f]{64}", one.sha256)
    import zipfile

    names = zipfile.ZipFile(one.path).namelist()
    assert {"pipeline/hub/job_work.py", "pipeline/train.py", "pipeline/base/checkpoint/model.safetensors"} <= set(names)
    assert not [name for name in names if name.startswith("pipeline/ui/") or "__pycache__" in name]
    light = package.build(tmp_path / "light.zip", weights=False)
    assert light.size < 2_000_000 < one.size
    assert not [name for name in zipfile.ZipFile(light.path).namelist() if name.endswith(".safetensors")]


def test_a_job_runs_only_the_package_that_was_sent(hub, alice, tmp_path):
    jobs, run = jobs_of(hub), small_run(tmp_path / "run")
    jobs.run = False
    begun = remote.start(run, job_cost.flavor(alice, "cpu-basic"), alice)
    repo = hub.repos["model", begun.repo]
    repo.files["pipeline.zip"] = hub.store("pipeline.zip", b"another one")
    ran = _job_script(hub, repo, begun, alice, tmp_path)
    assert ran.returncode == 1 and "error: pipeline.zip of alice/lamp-training-run has the SHA-256" in ran.stderr and "Traceback" not in ran.stderr
    ran = _job_script(hub, repo, begun, None, tmp_path)
    assert ran.returncode == 1 and "error: The Job got no token" in ran.stderr


def _job_script(hub, repo, begun, token, folder):
    import subprocess
    import sys

    (folder / "job.py").write_bytes(repo.files["job.py"].data)
    words = [f"--repo={begun.repo}", f"--revision={begun.revision}", f"--package={begun.package}"]
    environment = {"PATH": os.environ["PATH"], **hub.environment(folder / "home", token)}
    return subprocess.run([sys.executable, str(folder / "job.py"), *words], env=environment, capture_output=True, text=True, timeout=240)
