"""What a Job sends back is believed only as far as it is what a run consists of; else nothing changes here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import HubError, PipelineError, RunError
from pipeline.hub import job_fetch, job_lines, job_logs, job_work, remote
from pipeline.hub.remote import Remote
from pipeline.model import EMBEDDED
from pipeline.runs import Run, StepLog
from pipeline.train import prepare
from tests.tuned_world import small_dataset

REPO = "alice/lamp"
MODEL = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture
def alice(hub):
    return hub.user("alice")


@pytest.fixture
def run(tmp_path) -> Run:
    """A run that a Job has had, and that has ended."""
    made = prepare(small_dataset(), TrainConfig(max_steps=3), tmp_path / "run", title="Lamp")
    remote.save(made, Remote(REPO, "alice", "c" * 40, "0" * 64, "t4-small", 1, 0.4, 1800, job="a1", stage="COMPLETED", away=True))
    return made


def result(run: Run, **changes) -> dict[str, bytes]:
    """The files that a Job pushes for `run`: its model is the base as it was."""
    info = {**run.info, "status": "done", "steps": 3, "seconds": 2.5, "final_loss": 0.5, "finished": 1.0, **changes}
    journal = "".join(json.dumps({"step": n, "total": 3, "loss": 1 / n}) + "\n" for n in (1, 2, 3))
    files = {f"run/model/{name}": (EMBEDDED / name).read_bytes() for name in MODEL}
    return files | {
        "run/run.json": json.dumps(info).encode(), "run/log.jsonl": journal.encode(), "README.md": b"#", "pipeline.zip": b"zip",
        "run/dataset/tools.json": b"[]", "run/eval/tuned-test.json": json.dumps({"rows": 4, "exact_match": 0.5}).encode(),
    }  # fmt: skip


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "remote.json"}


def edited(name: str, **changes) -> dict[str, bytes]:
    return {f"run/model/{name}": json.dumps(json.loads((EMBEDDED / name).read_text()) | changes).encode()}


HOSTILE = [
    ({"run/model/evil.py": b"import os"}, "holds 'run/model/evil.py', which no run has"),
    ({"run/model/pytorch_model.bin": b"\x80\x04"}, "holds 'run/model/pytorch_model.bin'"),
    ({"run/model/../../../evil": b""}, "which no run has"),
    ({"run/artifacts/app.litertlm": b""}, "which no run has"),
    ({"run/model/tokenizer.json": b"{}"}, "tokenizer.json of the fetched run is not the one of embedded demo model"),
    ({"run/model/chat_template.jinja": b"{{ evil }}"}, "chat_template.jinja of the fetched run is not the one"),
    ({"run/model/added_tokens.json": b"{}"}, "added_tokens.json of the fetched run is not the one"),
    (edited("config.json", auto_map={"AutoModel": "evil.Model"}), "wants to run code of its own"),
    (edited("config.json", model_type="llama"), "only gemma3_text"),
    (edited("config.json", num_hidden_layers=99), "not built as embedded demo model"),
    ({"run/model/model.safetensors": b"\x80\x04pickle"}, "model.safetensors of the fetched run cannot be read"),
    ({"run/eval/tuned-test.json": b"[]"}, "should hold a JSON object"),
    ({"run/run.json": b"not json"}, "cannot be read"),
    ({f"run/eval/{on}-{split}.json": b"{}" for on in ("base", "tuned") for split in ("test", "train")}, "lacks rows"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "sentence"), HOSTILE, ids=[next(iter(files)) + str(n) for n, (files, _) in enumerate(HOSTILE)])
def test_what_no_run_has_is_not_fetched_and_nothing_changes(hub, alice, run, files, sentence):
    hub.repo(REPO, result(run) | files, private=True)
    before = state_of(run.path)
    with pytest.raises(PipelineError, match=sentence.replace("(", r"\(")):
        job_fetch.fetch(run, alice)
    assert state_of(run.path) == before and run.status == "new" and remote.record(run).away
    assert not list(run.path.glob(".*"))


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"dataset_sha256": "f" * 64}, "other settings or another dataset"),
    ({"config": {**TrainConfig(max_steps=3).to_json(), "learning_rate": 0.5}}, "other settings"),
    ({"config": {"evil": 1}}, "settings in alice/lamp cannot be read"),
    ({"steps": "many"}, "steps of the fetched run should be a number, found 'many'"),
    ({"seconds": -1}, "seconds of the fetched run should be a number"),
    ({"status": "failed", "error": "Memory ran out."}, "It failed: Memory ran out. Another Job goes on"),
    ({"status": "paused", "steps": 2}, "It got to step 2 of 3. Another Job goes on"),
])  # fmt: skip
def test_another_run_or_an_unfinished_one_is_not_fetched(hub, alice, run, changes, sentence):
    hub.repo(REPO, result(run, **changes), private=True)
    before = state_of(run.path)
    with pytest.raises(RunError, match=sentence):
        job_fetch.fetch(run, alice)
    assert state_of(run.path) == before
    assert remote.record(run).away == ("It " not in sentence), "after a Job without a result the run may be trained here"


def test_sizes_and_numbers_of_files_are_bounded_before_anything_is_fetched(hub, alice, run, monkeypatch):
    hub.repo(REPO, result(run), private=True)
    monkeypatch.setattr(job_fetch, "ALLOWED", tuple((name, min(size, 100_000)) for name, size in job_fetch.ALLOWED))
    with pytest.raises(RunError, match="more than such a file may have"):
        job_fetch.fetch(run, alice)
    monkeypatch.undo()
    assert not hub.asked("GET", "/_cdn/") and not hub.asked("GET", "/resolve/")


def test_a_run_that_is_trained_here_meanwhile_is_left_alone(hub, alice, run):
    hub.repo(REPO, result(run), private=True)
    with run.claim(), pytest.raises(RunError, match="is being trained by process"):
        job_fetch.fetch(run, alice)
    assert run.status == "new" and not run.model_path.exists()


def test_a_connection_that_breaks_off_leaves_the_run_as_it_was_and_the_next_try_fetches_it(hub, alice, run):
    hub.repo(REPO, result(run), private=True)
    before = state_of(run.path)
    hub.fail("GET", r"/_cdn/|/resolve/.*/run/model/model", status=503, times=50)
    with pytest.raises(HubError, match="Fetching the run from alice/lamp did not work"):
        job_fetch.fetch(run, alice)
    assert state_of(run.path) == before
    hub.faults.clear()
    job_fetch.fetch(run, alice)
    assert run.status == "done" and run.info["final_loss"] == 0.5 and len(run.log()) == 3
    assert (run.model_path / "model.safetensors").read_bytes() == (EMBEDDED / "model.safetensors").read_bytes()
    assert run.evaluations()["tuned-test"]["rows"] == 4 and sorted(state_of(run.path)) == sorted({
        "run.json", "log.jsonl", "dataset/tools.json", "dataset/examples.jsonl", "eval/tuned-test.json", *(f"model/{name}" for name in MODEL),
    })  # fmt: skip
    with pytest.raises(RunError, match="is here and trained already"):
        job_fetch.fetch(run, alice)


# -- the log


@pytest.mark.parametrize("text", [
    "", "a library's line", '{"kind": "step", "step": 1, "total": 2}', "studio-job: [1]", "studio-job: {", "studio-job: {}",
    'studio-job: {"kind": "other"}', 'studio-job: {"kind": "step", "step": "1", "total": 2}', 'studio-job: {"kind": "step", "step": 1}',
    'studio-job: {"kind": "step", "step": -1, "total": 2}', 'studio-job: {"kind": "step", "step": true, "total": 2}',
    'studio-job: {"kind": "step", "step": 1, "total": 2, "loss": NaN}', 'studio-job: {"kind": "step", "step": 1, "total": 2, "loss": "x"}',
    'studio-job: {"kind": "sample", "step": 1, "epoch": 1.0, "request": "a"}', 'studio-job: {"kind": "end", "status": "stolen", "error": null}',
    'studio-job: {"kind": "say", "text": 3}', "studio-job: " + "[" * 9000, 'studio-job: {"kind": "say", "text": "' + "x" * 30_000 + '"}',
])  # fmt: skip
def test_a_line_that_makes_no_sense_is_passed_over(text):
    assert job_lines.read(text) is None


def test_what_is_written_is_read_back():
    entry = {"step": 3, "total": 9, "loss": 0.25, "eta": 1.5}
    assert job_lines.step(job_lines.read(job_lines.line("step", **entry))) == StepLog(**entry)
    assert job_lines.read(job_lines.line("say", text="naïve\nline"))["text"] == "naïve\nline"


def test_a_log_that_is_told_again_is_written_down_once_and_without_secrets(run):
    lines = [
        "Downloading torch", job_lines.line("say", text="Training."), job_lines.line("step", step=1, total=3, loss=2.0),
        job_lines.line("step", step=1, total=3, eval_loss=1.5), job_lines.line("kept", step=1), "token hf_abcdefghijklmnop is mine",
        job_lines.line("sample", step=1, epoch=1.0, request="a", expected="b", answer="c"), job_lines.line("step", step=2, total=3, loss=1e999),
    ]  # fmt: skip
    first = job_logs.hear(run, lines)
    again = job_logs.hear(run, [*lines, job_lines.line("end", status="failed", error="Memory ran out.")])
    assert (first.doing, first.kept, first.status) == ("Training.", 1, None)
    assert (again.status, again.error) == ("failed", "Memory ran out.")
    assert run.log() == [StepLog(1, 3, loss=2.0, eval_loss=1.5)] and len(run.samples()) == 1
    assert len((run.path / "log.jsonl").read_text().splitlines()) == 2
    text = job_logs.log_file(run).read_text()
    assert "hf_abc" not in text and "(secret)" in text and text.startswith("Downloading torch")


def test_only_a_checkpoint_that_is_whole_counts():
    names = ["run/checkpoints/checkpoint-20/model.safetensors", "run/checkpoints/checkpoint-10/complete.json", "run/checkpoints/checkpoint-x/complete.json"]
    assert job_work.newest_checkpoint(names) == 10
    assert job_work.newest_checkpoint(names[:1]) is None
