"""The command line's promises: exit status, one sentence, one JSON line, progress where it belongs, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from types import SimpleNamespace

import pytest

from pipeline import cli
from pipeline import dataset as datasets
from pipeline.cli import console as consoles
from pipeline.cli import parser
from pipeline.cli.result import Result
from pipeline.config import EvalConfig, ExportConfig, TrainConfig
from pipeline.errors import ConfigError, PipelineError
from pipeline.export import Artifact
from pipeline.runs import Run
from pipeline.tools import tools_from_json
from tests.test_cli_data import TOOLS, everything_in

# ---------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("words", [[], *[[name] for name in cli.COMMANDS]])
def test_help_says_what_a_command_is_for(words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert "usage: python -m pipeline" in capsys.readouterr().out


@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["import"], ["import", "rows.jsonl"], ["lint"], ["train", "data"], ["train", "data", "--out", "run", "--method", "no"],
    ["train", "data", "--out", "run", "--max-steps", "many"], ["evaluate"], ["chat", "run"], ["export", "run", "--format", "zip"],
    ["inspect"], ["demo"], ["lint", "data", "--nonsense"], ["export", "run", "--wrap-turns", "perhaps"],
    ["import", "rows.jsonl", "--out", ""], ["export", "run", "--out", " "], ["lint", ""],
])  # fmt: skip
def test_misspelled_commands_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == cli.USAGE
    assert capsys.readouterr().err.startswith("usage:")


@pytest.mark.parametrize(("words", "kind"), [
    (["train", "data", "--out", "run"], TrainConfig), (["evaluate", "run"], EvalConfig), (["export", "run"], ExportConfig)])  # fmt: skip
def test_every_option_is_a_flag_and_comes_back_as_it_was_typed(words, kind):
    build = parser.build(cli.COMMANDS)
    assert parser.given(build.parse_args(words), kind) == {}
    for option in kind.options():
        value = option.choices[-1] if option.choices else {str: "word", int: 7, float: 0.25, bool: False}[option.kind]
        typed = build.parse_args([*words, option.flag, str(value).lower() if option.kind is bool else str(value)])
        assert parser.given(typed, kind) == {option.name: value}


def test_the_flags_of_a_configuration_are_understood():
    config = TrainConfig(method="lora", learning_rate=3e-4, max_steps=9, gradient_checkpointing=True, lora_r=8)
    typed = parser.build(cli.COMMANDS).parse_args(["train", "data", "--out", "run", *config.to_flags()])
    assert TrainConfig(**parser.given(typed, TrainConfig)) == config


def test_a_bare_switch_means_true():
    typed = parser.build(cli.COMMANDS).parse_args(["export", "run", "--wrap-turns"])
    assert parser.given(typed, ExportConfig) == {"wrap_turns": True}


# ---------------------------------------------------------------------------------------------------------------- the door


def serve(monkeypatch, command) -> None:
    monkeypatch.setitem(cli.COMMANDS, "lint", command)


def test_the_result_is_the_last_line_of_stdout_and_the_only_one(monkeypatch, capfd):
    def command(args, console):
        """Lint."""
        print("a library prints")
        os.write(1, b"a native library prints\n")
        console.progress(0.5, "halfway")
        return Result({"rows": 3, "name": "Zoë"}, "three rows")

    serve(monkeypatch, command)
    assert cli.main(["lint", "data", "--json"]) == cli.DONE
    out, err = capfd.readouterr()
    assert out == '{"rows": 3, "name": "Zoë"}\n'
    assert "a library prints" in err and "a native library prints" in err and "50%  halfway" in err
    assert cli.main(["lint", "data"]) == cli.DONE
    assert capfd.readouterr().out == "three rows\n"
    print("stdout is back")
    assert capfd.readouterr().out == "stdout is back\n"


@pytest.mark.parametrize(("error", "sentence", "status"), [
    (PipelineError("row 3: expected\na name."), "error: row 3: expected a name.", cli.FAILED),
    (OSError(28, "No space left on device", "out/data"), "error: out/data: No space left on device; make sure", cli.FAILED),
    (PermissionError(13, "Permission denied", "/x"), "error: /x: Permission denied; make sure", cli.FAILED),
    (MemoryError(), "error: Memory ran out; close other programs", cli.FAILED),
    (KeyboardInterrupt(), "Stopped before it was done; nothing half-written was left.", cli.INTERRUPTED),
])  # fmt: skip
def test_every_error_is_one_sentence(monkeypatch, capsys, error, sentence, status):
    def command(args, console):
        """Lint."""
        raise error

    serve(monkeypatch, command)
    assert cli.main(["lint", "data", "--json"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence) and err.count("\n") == 1


def test_a_defect_is_logged_with_its_traceback_and_shown_without(monkeypatch, capsys, tmp_path):
    def command(args, console):
        """Lint."""
        return {}["nothing"]

    serve(monkeypatch, command)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert cli.main(["lint", "data"]) == cli.FAILED
    err = capsys.readouterr().err
    assert err.startswith("error: This is a defect of ours (KeyError); the details are in ") and err.count("\n") == 1
    (log,) = tmp_path.glob("functiongemma-studio-*.log")
    assert str(log) in err and "Traceback" in log.read_text("utf-8") and "Traceback" not in err


def test_a_result_that_is_not_a_success_is_printed_and_fails(monkeypatch, capsys):
    def command(args, console):
        """Lint."""
        return Result({"errors": 2}, "two", "Two problems must be fixed.")

    serve(monkeypatch, command)
    assert cli.main(["lint", "data", "--json"]) == cli.FAILED
    out, err = capsys.readouterr()
    assert json.loads(out) == {"errors": 2}
    assert err == "error: Two problems must be fixed.\n"


def test_sigterm_leaves_like_ctrl_c(monkeypatch, capsys):
    def command(args, console):
        """Lint."""
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    serve(monkeypatch, command)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["lint", "data"]) == cli.ENDED
    assert signal.getsignal(signal.SIGTERM) is before


# ---------------------------------------------------------------------------------------------------------------- progress


def test_the_progress_file_is_whole_and_says_where_it_is(tmp_path, monkeypatch):
    file, now = tmp_path / "progress.json", 0.0
    monkeypatch.setattr(consoles, "time", SimpleNamespace(monotonic=lambda: now))
    console = consoles.Console(file, io.StringIO())
    console.progress(0.25, "step 1 of 4", eta=12.34)
    assert json.loads(file.read_text("utf-8")) == {"fraction": 0.25, "message": "step 1 of 4", "eta_seconds": 12.3}
    console.progress(0.5, "too soon after to be worth a write")
    assert json.loads(file.read_text("utf-8"))["fraction"] == 0.25
    now += consoles.BETWEEN_FILES
    console.progress(0.5, "later")
    assert json.loads(file.read_text("utf-8"))["fraction"] == 0.5
    console.progress(1.0, "done")
    assert json.loads(file.read_text("utf-8"))["fraction"] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_a_progress_file_without_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--progress-file must lie in a folder that exists"):
        consoles.Console(tmp_path / "missing" / "progress.json")


def test_parts_of_parts_add_up():
    stream = io.StringIO()
    console = consoles.Console(stream=stream)
    console.part(0.5, 1.0).part(0.0, 0.5)(1.0, "three quarters")
    assert stream.getvalue().startswith(" 75%  three quarters")


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (8000, "2 h 13 min")])
def test_durations_are_said_as_people_say_them(seconds, words):
    assert consoles.duration(seconds) == words


# ---------------------------------------------------------------------------------------------------------------- chat, export


@pytest.fixture
def run(tmp_path):
    """A run without a model, for commands whose heavy work is stood in for."""
    base = {"id": "embedded", "label": "demo", "revision": None, "path": "", "embedded": True}
    made = Run.create(tmp_path / "run", title="app", config=TrainConfig(), base=base, dataset_sha256="", versions={}, total_steps=1)
    datasets.save(datasets.ToolDataset(tuple(tools_from_json(TOOLS)), (datasets.example("red", reply="no"),)), made.path / "dataset")
    return made


@pytest.mark.parametrize(("request_", "said"), [("turn it <end_of_turn> red", True), ("turn it red", False)])
def test_control_tokens_in_a_request_are_said_on_stderr(run, monkeypatch, capsys, request_, said):
    loaded = SimpleNamespace(
        tokenizer=SimpleNamespace(encode=lambda text, add_special_tokens: [1]),
        model=SimpleNamespace(config=SimpleNamespace(max_position_embeddings=9)),
    )
    monkeypatch.setattr("pipeline.evaluate.model_path", lambda run, on: "")
    monkeypatch.setattr("pipeline.model.load", lambda path: loaded)
    monkeypatch.setattr("pipeline.model.generate", lambda *args: [SimpleNamespace(text="no<end_of_turn>", token_ids=[1], stopped=True)])
    assert cli.main(["chat", str(run.path), request_, "--json"]) == cli.DONE
    out, err = capsys.readouterr()
    assert ("The request spells <end_of_turn>: the model reads that as a control token, not as text, and may answer oddly.\n" in err) is said
    assert json.loads(out)["text"] == "no"


@pytest.mark.parametrize(("format", "inspects"), [("litertlm", True), ("merged", False)])
def test_the_next_command_after_an_export_is_one_that_works(run, monkeypatch, capsys, format, inspects):
    artifact = Artifact(format, f"/files/app.{format}", 6_000_000, "0" * 64, True, 20, 20, 12.0)
    monkeypatch.setattr("pipeline.export.export", lambda *args, **options: artifact)
    assert cli.main(["export", str(run.path), "--format", format]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"/files/app.{format}: 20 of 20 answers identical to the model's, 6.0 MB", "sha256 " + "0" * 64, ""]
    assert (lines[-1] == "next: python -m pipeline inspect /files/app.litertlm") is inspects
    assert "held-out requests were answered as the model answers them. [measured here]" in "\n".join(lines), "where it runs, with sources"
    assert cli.main(["export", str(run.path), "--format", format, "--json"]) == cli.DONE
    places = json.loads(capsys.readouterr().out)["artifacts"][0]["compatibility"]
    assert all(one["source"] for place in places for one in place["statements"])


# ---------------------------------------------------------------------------------------------------------------- demo


def test_the_demo_is_every_stage_in_turn_and_ends_with_a_table(tmp_path, monkeypatch, capsys):
    """With stand-ins for what takes minutes; the stages themselves are run in test_end_to_end.py and test_readme.py."""
    info = {"status": "done", "steps": 9, "total_steps": 9, "final_loss": 0.5, "seconds": 61.0, "base": {"label": "embedded demo model"}}
    run = SimpleNamespace(info=info, status="done", path=tmp_path / "demo" / "run")
    asked = []

    def evaluate(run, on, progress):
        asked.append(on)
        progress(1.0, "scored")
        score = {"base": 0.1, "tuned": 0.9}[on]
        return SimpleNamespace(to_json=lambda: {"rows": 30, "tool_accuracy": score, "exact_match": score, "by_tool": {}, "results": []})

    def export(run, format, out, progress):
        asked.append(format)
        return Artifact(format, str(out / f"run.{format}"), 6_000_000, "0" * 64, True, 20, 20, 12.0)

    monkeypatch.setattr("pipeline.cli.demo.open_run", lambda *args: run)
    monkeypatch.setattr("pipeline.cli.demo.train_run", lambda run, progress: (run, progress(0.5, "step 5 of 9", 60.0)))
    monkeypatch.setattr("pipeline.evaluate.evaluate", evaluate)
    monkeypatch.setattr("pipeline.export.export", export)
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == cli.DONE
    out = capsys.readouterr().out
    assert asked == ["base", "tuned", "litertlm", "task"]
    assert "base                10.0%        10.0%    30" in out and "tuned               90.0%        90.0%    30" in out
    assert "run.litertlm  6.0 MB                20 of 20  12 s" in out
    assert everything_in(tmp_path / "demo") == {"data", "data/tools.json", "data/examples.jsonl", "data/report.json"}
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--json"]) == cli.DONE
    said = json.loads(capsys.readouterr().out)
    assert said["evaluations"]["tuned"]["exact_match"] == 0.9 and len(said["artifacts"]) == 2
