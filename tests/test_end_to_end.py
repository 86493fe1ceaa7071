"""The command line from a file of rows to a phone file, as a user types it, on the embedded base; and what bad input gets.

Every command is a process of its own in an empty folder. Training is a few steps: what it learns is measured elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pace import PACE, set_pace, until_held

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "pipeline" / "samples"
WORDS = (sys.executable, "-m", "pipeline")
pytestmark = pytest.mark.timeout(900)  # a training, or a table of fifty commands


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def sentence(self) -> str:
        """The last line of stderr."""
        return self.err.strip().splitlines()[-1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def pipeline(folder: Path, *words: str | Path, seconds: float = 800) -> Ran:
    done = subprocess.run([*WORDS, *map(str, words)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds)
    return Ran(done.returncode, done.stdout, done.stderr)


def ok(ran: Ran) -> Ran:
    assert ran.status == 0, f"exit {ran.status}\n{ran.out[-2000:]}\n{ran.err[-4000:]}"
    return ran


def state(folder: Path) -> dict[str, str]:
    """Every file and what is in it, to see that nothing was left, lost or changed."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data/ (imported from the sample) and run/ (a few steps)."""
    folder = tmp_path_factory.mktemp("job")
    imported = ok(pipeline(folder, "import", SAMPLES / "examples.jsonl", "--tools", SAMPLES / "tools.json", "--out", "data", "--json"))
    assert imported.json["read"] == imported.json["imported"] > 0
    trained = ok(pipeline(folder, "train", "data", "--out", "run", "--base", "embedded", "--max-steps", "6", "--json"))
    assert (trained.json["status"], trained.json["steps"], trained.json["run"]) == ("done", 6, "run")
    assert trained.json["seconds"] > 0 and trained.json["final_loss"] > 0
    assert "step" in trained.err and "Traceback" not in trained.err
    return folder


# ---------------------------------------------------------------------------------------------------------------- the way through


@pytest.mark.parametrize("on", ["base", "tuned"])
def test_evaluate_scores_the_held_out_rows(place, on):
    ran = ok(pipeline(place, "evaluate", "run", "--on", on, "--json", "--progress-file", "progress.json"))
    said = json.loads((place / "progress.json").read_text("utf-8"))
    assert set(said) == {"fraction", "message", "eta_seconds"} and said["fraction"] == 1
    assert ran.out.count("\n") == 1 and "%  " in ran.err
    assert {"rows", "tool_accuracy", "exact_match", "by_tool"} <= set(ran.json)
    held_out = [line for line in (place / "run" / "dataset" / "examples.jsonl").read_text("utf-8").splitlines() if '"split": "test"' in line]
    assert ran.json["rows"] == len(held_out) > 0
    assert 0 <= ran.json["exact_match"] <= ran.json["tool_accuracy"] <= 1
    assert (place / "run" / "eval" / f"{on}-test.json").is_file()


def test_chat_shows_the_raw_text_and_the_calls(place):
    ran = ok(pipeline(place, "chat", "run", "set a timer for 5 minutes", "--json"))
    assert ran.json["raw"] and isinstance(ran.json["calls"], list)
    assert ran.json["prompt"].startswith("<bos><start_of_turn>developer\n") and "set a timer for 5 minutes" in ran.json["prompt"]


def test_train_again_says_that_it_is_done_and_changes_nothing(place):
    before = state(place / "run" / "model")
    ran = ok(pipeline(place, "train", "data", "--out", "run", "--json"))
    assert (ran.json["status"], ran.json["steps"]) == ("done", 6)
    assert state(place / "run" / "model") == before


@pytest.mark.slow
def test_export_makes_a_file_that_was_run_and_inspect_reads_it(place):
    """The other formats are tested with tiny models in test_export.py and run by the README's commands in test_readme.py."""
    format = "litertlm"
    exported = ok(pipeline(place, "export", "run", "--format", format, "--out", "files", "--json"))
    (artifact,) = exported.json["artifacts"]
    assert artifact["format"] == format and artifact["verified"] is True
    file = place / artifact["path"]
    assert file.stat().st_size == artifact["size"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact["sha256"]
    looked = ok(pipeline(place, "inspect", artifact["path"], "--json")).json
    assert looked["format"] == format and looked["problems"] == [] and looked["sha256"] == artifact["sha256"]
    assert not [path for path in (place / "files").iterdir() if path.name.startswith(".export")]


# ---------------------------------------------------------------------------------------------------------------- stop and go on


def test_a_run_that_is_interrupted_goes_on_with_the_same_command(place):
    """Interrupted in its third step, where it waits for the test."""
    words = [sys.executable, "-m", "tests.pace", "train", "data", "--out", "stopped", "--max-steps", "12", "--json"]
    set_pace(place, hold=3)
    with subprocess.Popen(
        words, cwd=place, env=environment() | {PACE: str(place)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        until_held(place / "stopped", 3)
        process.send_signal(signal.SIGINT)
        set_pace(place)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    paused = json.loads(out.splitlines()[-1])
    assert (paused["status"], paused["steps"]) == ("paused", 3)
    assert "Stopped after" in err.strip().splitlines()[-1] and "Traceback" not in err
    assert pipeline(place, "evaluate", "stopped").status == 1
    done = ok(pipeline(place, "train", "data", "--out", "stopped", "--json")).json
    assert (done["status"], done["steps"]) == ("done", 12)


def test_a_time_budget_pauses_the_run(place):
    paused = ok(pipeline(place, "train", "data", "--out", "budget", "--max-steps", "2000", "--time-budget", "6", "--json"))
    assert paused.json["status"] == "paused" and paused.json["steps"] < 2000


# ---------------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def mess(tmp_path: Path, place: Path) -> Path:
    """What people hand to commands by mistake, beside a good dataset and a good run."""
    (tmp_path / "data").symlink_to(place / "data")
    (tmp_path / "run").symlink_to(place / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("", "utf-8")
    (tmp_path / "noise.jsonl").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "broken.jsonl").write_text('{"messages": [\nnot json\n', "utf-8")
    (tmp_path / "file.txt").write_text("mine", "utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", "utf-8")
    (tmp_path / "fake.litertlm").write_bytes(b"LITERTLM" + b"\xff" * 200)
    (tmp_path / "fake.task").write_bytes(b"PK\x03\x04" + b"\x00" * 200)
    (tmp_path / "list.json").write_text("[1, 2]", "utf-8")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "tools.json").write_text("[]", "utf-8")
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "tools.json").write_text((place / "data" / "tools.json").read_text("utf-8"), "utf-8")
    call = {"type": "function", "function": {"name": "launch_rocket", "arguments": {}}}
    rows = [{"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}]}] * 3
    (tmp_path / "unknown" / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text('{"status": "do', "utf-8")
    return tmp_path


EXAMPLES, TOOLS = str(SAMPLES / "examples.jsonl"), str(SAMPLES / "tools.json")
BAD = [
    (["import", "missing.jsonl", "--tools", TOOLS, "--out", "out"], "missing.jsonl"),
    (["import", "empty", "--tools", TOOLS, "--out", "out"], "empty"),
    (["import", "empty.jsonl", "--tools", TOOLS, "--out", "out"], "empty"),
    (["import", "noise.jsonl", "--tools", TOOLS, "--out", "out"], "noise.jsonl"),
    (["import", "broken.jsonl", "--tools", TOOLS, "--out", "out"], "JSON"),
    (["import", EXAMPLES, "--tools", "missing.json", "--out", "out"], "missing.json"),
    (["import", EXAMPLES, "--tools", "list.json", "--out", "out"], "list.json"),
    (["import", EXAMPLES, "--tools", "noise.jsonl", "--out", "out"], "noise.jsonl"),
    (["import", EXAMPLES, "missing.jsonl", "--tools", TOOLS, "--out", "out"], "missing.jsonl"),
    (["import", EXAMPLES, "--tools", TOOLS, "--out", "file.txt"], "--out must be a folder"),
    (["import", EXAMPLES, "--tools", TOOLS, "--out", "run"], "run folder"),
    (["import", "data/examples.jsonl", "--tools", TOOLS, "--out", "data"], "would overwrite data/examples.jsonl"),
    (["lint", "missing"], "does not exist"),
    (["lint", "empty"], "does not exist"),
    (["lint", "half"], "half"),
    (["lint", "file.txt"], "file.txt"),
    (["lint", "unknown"], "must be fixed before training"),
    (["train", "missing", "--out", "out"], "does not exist"),
    (["train", "unknown", "--out", "out"], "launch_rocket"),
    (["train", "data", "--out", "full"], "full exists"),
    (["train", "data", "--out", "file.txt"], "file.txt exists"),
    (["train", "data", "--out", "damaged"], "damaged"),
    (["train", "unknown", "--out", "run"], "another dataset"),
    (["train", "data", "--out", "run", "--max-steps", "7"], "--max-steps 6"),
    (["train", "data", "--out", "run", "--base", "full"], "base"),
    (["train", "data", "--out", "out", "--base", "nonsense"], "nonsense"),
    (["train", "data", "--out", "out", "--base", "empty"], "empty"),
    (["train", "data", "--out", "out", "--learning-rate", "-1"], "--learning-rate"),
    (["train", "data", "--out", "out", "--learning-rate", "nan"], "--learning-rate"),
    (["train", "data", "--out", "out", "--max-steps", "0"], "--max-steps"),
    (["train", "data", "--out", "out", "--lora-r", "8"], "--method lora"),
    (["train", "data", "--out", "out", "--max-length", "16"], "too long"),
    (["train", "data", "--out", "out", "--time-budget", "-5"], "--time-budget"),
    (["train", "data", "--out", "out", "--time-budget", "nan"], "--time-budget"),
    (["evaluate", "missing"], "not a run"),
    (["evaluate", "data"], "not a run"),
    (["evaluate", "damaged"], "damaged"),
    (["evaluate", "run", "--limit", "0"], "--limit"),
    (["evaluate", "run", "--on", "gguf"], "export it first"),
    (["evaluate", "run", "--file", "file.txt"], "--file"),
    (["evaluate", "run", "--on", "gguf", "--file", "fake.litertlm"], "--file"),
    (["evaluate", "run", "--on", "litertlm", "--file", "missing.litertlm"], "missing.litertlm"),
    (["chat", "missing", "hello"], "not a run"),
    (["chat", "run", "  "], "request is empty"),
    (["chat", "run", "hello", "--tools", "list.json"], "list.json"),
    (["export", "missing", "--format", "litertlm"], "not a run"),
    (["export", "run", "--format", "litertlm", "--out", "file.txt"], "--out must be a folder"),
    (["export", "run", "--format", "litertlm", "--quantize", "q8_0", "--out", "out"], "q8_0"),
    (["export", "run", "--format", "litertlm", "--wrap-turns", "--out", "out"], ".task"),
    (["inspect", "missing.litertlm"], "missing.litertlm"),
    (["inspect", "file.txt"], "none of"),
    (["inspect", "empty"], "empty"),
    (["inspect", "fake.litertlm"], ""),
    (["inspect", "fake.task"], ""),
    (["demo", "--out", "full"], "full"),
    (["demo", "--out", "file.txt"], "file.txt"),
    (["lint", "data", "--progress-file", "nowhere/progress.json"], "--progress-file"),
]


def test_bad_input_gets_one_sentence_and_leaves_nothing(mess, place):
    """One test for the whole table, many processes at a time would only wait for each other; all that is wrong is reported at once."""
    before, before_job = state(mess), state(place)
    wrong = []
    for words, part in BAD:
        ran = pipeline(mess, *words)
        line = " ".join(words)
        errors = [text for text in ran.err.splitlines() if text.startswith("error: ")]
        if ran.status != 1 or len(errors) != 1 or ran.sentence != errors[-1] or "Traceback" in ran.err + ran.out:
            wrong.append(f"{line}: exit {ran.status}\n{ran.err[-600:]}")
        elif part not in ran.sentence or "defect of ours" in ran.sentence:
            wrong.append(f"{line}: expected {part!r} in: {ran.sentence}")
        elif ran.out.strip() and words[0] != "lint":
            wrong.append(f"{line}: something on stdout: {ran.out[:200]}")
        now = state(mess)
        if now != before:
            wrong.append(f"{line}: left or changed {sorted(set(now.items()) ^ set(before.items()))[:6]}")
            before = now
    assert state(place) == before_job
    assert not wrong, f"{len(wrong)} of {len(BAD)}:\n" + "\n".join(wrong)
