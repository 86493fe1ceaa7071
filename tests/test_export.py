"""The real thing, once: a tiny tuned model becomes every kind of file, each is run, and what is not as good as the model is not offered."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest

from pipeline import runtimes
from pipeline.errors import ExportError
from pipeline.evaluate import evaluate
from pipeline.export import Artifact, artifacts, bundle, containers, export, export_checkpoint, inspect, usage, verify
from pipeline.export.source import Source
from pipeline.functiongemma import parse
from pipeline.litert_interpreter import Interpreter
from pipeline.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first conversion takes 20 s, on a busy machine minutes


@pytest.fixture(scope="module")
def run(exported_run, tmp_path_factory) -> Run:
    """A run with its .litertlm, for this file's tests to add others to."""
    return Run(shutil.copytree(exported_run.path, tmp_path_factory.mktemp("export") / "run"))


@pytest.fixture(scope="module")
def litertlm(run) -> Artifact:
    return artifacts(run.artifacts_path)[0]


@pytest.fixture(scope="module")
def conversion(run, litertlm) -> Path:
    """The float32 model that the first export has left for the next."""
    (kept,) = (run.artifacts_path / ".cache").glob("float32-*.tflite")
    return kept


def prompts_and_answers(run: Run) -> tuple[list[str], list[str]]:
    rows = Source(run.model_path, run.dataset(), "x").requests(20)
    return [row.prompt for row in rows], [runtimes.without_stop(row.completion) for row in rows]


def assert_good(run: Run, artifact: Artifact, name: str) -> None:
    path = Path(artifact.path)
    assert (path.name, path.parent) == (name, run.artifacts_path)
    assert artifact.verified and (artifact.answers_identical, artifact.answers_total) == (4, 4)
    assert artifact.size == path.stat().st_size
    assert artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert inspect(path)["problems"] == []
    assert artifact in artifacts(run.artifacts_path)
    left = {file.name for file in run.artifacts_path.iterdir()}
    assert not any(name.startswith(".work-") or "xnnpack" in name for name in left)


def test_litertlm(run, litertlm):
    assert_good(run, litertlm, "my-app-int8.litertlm")
    found = inspect(litertlm.path)
    assert found["stop_tokens"] == ["<eos>", "<end_of_turn>", "<start_function_response>"]
    assert found["template"] == (run.model_path / "chat_template.jinja").read_text("utf-8")
    assert found["model"]["quantization"] == "int8" and found["metadata"]["max_num_tokens"] == found["model"]["cache_length"] == 1024
    assert (litertlm.details["prompts_equal"], litertlm.details["prompts_total"]) == (4, 4)
    card = (run.artifacts_path / "README.md").read_text("utf-8")
    assert litertlm.sha256 in card and "4 of 4" in card


def test_the_runtime_gives_the_models_answers_and_parallel_calls_whole(run, litertlm):
    prompts, expected = prompts_and_answers(run)
    said = []
    assert runtimes.answers(litertlm.path, prompts, 64, lambda fraction, message: said.append(fraction)) == expected
    assert said[-1] == 1.0
    parallel = next(text for text in expected if text.count("<start_function_call>") == 2)
    assert [call.name for call in parse(parallel).calls] == ["set_color", "open_room"]


def test_task_takes_the_same_conversion(run, conversion):
    before = conversion.stat().st_mtime_ns
    assert_good(run, artifact := export(run, "task"), "my-app-int8.task")
    assert conversion.stat().st_mtime_ns == before, "nothing was converted again"
    prompts, expected = prompts_and_answers(run)
    assert runtimes.answers(artifact.path, prompts, 64) == expected


def test_a_task_that_wraps_turns_is_for_another_api_and_says_so(run, conversion, tmp_path):
    artifact = export(run, "task", out=tmp_path, wrap_turns=True)
    (problem,) = inspect(artifact.path)["problems"]
    assert artifact.details["wrap_turns"] and "turns around every prompt" in problem


@pytest.mark.parametrize(("format", "quantize", "weights"), [("litertlm", "float32", "float32"), ("tflite", "int4", "int4")])
def test_other_weights_and_the_bare_model(run, conversion, format, quantize, weights):
    assert_good(run, artifact := export(run, format, quantize), f"my-app-{quantize}.{format}")
    assert inspect(artifact.path)["model"]["quantization"] == weights


def test_gguf(run):
    assert_good(run, artifact := export(run, "gguf"), "my-app-q8_0.gguf")
    assert inspect(artifact.path)["model"]["quantization"] == "Q8_0"
    assert (run.artifacts_path / "Modelfile").read_text("utf-8").startswith("FROM ./my-app-q8_0.gguf\n")


def test_merged(run):
    artifact = export(run, "merged")
    folder = Path(artifact.path)
    assert artifact.answers_identical == artifact.answers_total == 4
    assert (folder / "model.safetensors").read_bytes() == (run.model_path / "model.safetensors").read_bytes()
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1, 106, 50]
    sums = (folder / "SHA256SUMS").read_text()
    assert artifact.sha256 == hashlib.sha256(sums.encode()).hexdigest()
    for line in sums.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert {"tokenizer.model", "tokenizer.json", "chat_template.jinja", "config.json"} <= {line.split("  ")[1] for line in sums.splitlines()}
    assert export(run, "merged").sha256 == artifact.sha256  # the older one is replaced


def test_the_cards_snippet_runs_and_calls_functions(run, litertlm, tmp_path):
    code = usage.snippet(litertlm).replace("what a user of your app says", "red and kitchen")
    for name in (Path(litertlm.path).name, "tools.json"):
        (tmp_path / name).write_bytes((run.artifacts_path / name).read_bytes())
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert "'set_color', 'arguments': {'color': 'red'}" in ran.stdout and "'open_room'" in ran.stdout


def test_the_bare_model_is_run_token_by_token(run, conversion):
    """Without a bundle; evaluate takes it, too."""
    prompts, expected = prompts_and_answers(run)
    assert runtimes.answers(conversion, prompts, 64, tokenizer=run.model_path) == expected
    report = evaluate(run, on="tflite", artifact=conversion)
    assert (report.exact_match, report.model) == (1.0, conversion.name)
    with pytest.raises(ExportError, match="can be run only together with the model that it was made from"):
        runtimes.answers(conversion, prompts)


def test_the_interpreter_reads_in_pieces_what_it_reads_token_by_token(conversion):
    """Pieces of 256, the last one short, or moved back so that it ends within the cache; what is shared with the prompt before is kept."""
    draw = random.Random(0)
    ids = [draw.randrange(110, 500) for _ in range(1000)]
    one_by_one, pieces = Interpreter(conversion, 1), Interpreter(conversion, 1)
    said = [one_by_one.next(token) for token in ids]
    for end in (1, 255, 256, 257, 600, 999, 990):
        pieces.read(ids[:end])
        assert pieces.next(ids[end]) == said[end]
    pieces.read([*ids[:900], *ids[:50]])
    one_by_one.read([*ids[:900], *ids[:50]])
    fresh = Interpreter(conversion, 1)
    fresh.read([*ids[:900], *ids[:50]])
    assert pieces.next(ids[7]) == one_by_one.next(ids[7]) == fresh.next(ids[7])


# What is not offered


def test_parallel_calls_that_a_wrong_stop_cuts_are_seen(run, litertlm, conversion, tmp_path):
    """The older guides' stop, in the real runtime."""
    (tmp_path / "tokenizer.model").write_bytes(containers.sentencepiece(Path(litertlm.path)))
    file = tmp_path / "cut.litertlm"
    bundle.litertlm(
        conversion, tmp_path / "tokenizer.model", file, start_id=2, stop_ids=[1, 106, 50, 49], template="", max_tokens=1024, description={}
    )
    assert inspect(file)["problems"][0] == "It stops at <end_function_call>: parallel calls will be cut after the first."
    source = Source(run.model_path, run.dataset(), "x")
    rows, (prompts, _) = source.requests(20), prompts_and_answers(run)
    theirs = runtimes.answers(file, prompts, 64)
    ours = verify.model_answers(run.model_path, source.weights_sha256, prompts, 64, run.artifacts_path / ".cache", lambda *_: None)
    found = verify.compare(run.model_path, rows, ours, theirs, exact=True)
    assert (found.cut, found.parallel) == (1, 1)
    with pytest.raises(ExportError, match="1 of 1 answers with several calls end after the first ones, as a wrong stop token ends them"):
        verify.require(found, file.name, exact=True)


def test_wrong_weights_are_not_offered(run, conversion, tmp_path):
    """Read back it is all as it should be; only its answers tell."""
    right = conversion.read_bytes()
    start, size = largest_buffer(right)
    weights = np.frombuffer(right, np.float32, size // 4, start)
    mixed = np.random.default_rng(0).permutation(weights).tobytes()
    try:
        conversion.write_bytes(right[:start] + mixed + right[start + size :])
        assert inspect(conversion)["problems"] == []
        with pytest.raises(ExportError, match=r"my-app-float32\.tflite did not pass: \d of 4 answers differ from the model's"):
            export(run, "tflite", "float32", out=tmp_path)
    finally:
        conversion.write_bytes(right)
    assert list(tmp_path.iterdir()) == []


def largest_buffer(model: bytes) -> tuple[int, int]:
    """Place and size of the weights that a .tflite has most of: here the embedding."""
    root = schema.Model.GetRootAs(model, 0)
    return max((containers._place(root.Buffers(i)) for i in range(root.BuffersLength())), key=lambda place: place[1])


def test_a_file_that_answers_otherwise_is_not_offered(run, litertlm, monkeypatch):
    before, listed = Path(litertlm.path).read_bytes(), artifacts(run.artifacts_path)
    monkeypatch.setattr(runtimes, "answers", lambda path, prompts, *_: ["call:nonsense"] * len(prompts))
    with pytest.raises(ExportError, match=r"my-app-int8\.litertlm did not pass: 4 of 4 answers differ from the model's"):
        export(run, "litertlm")
    assert Path(litertlm.path).read_bytes() == before and artifacts(run.artifacts_path) == listed
    with pytest.raises(ExportError, match="did not pass"):
        export(run, "tflite", "float32")
    assert not (run.artifacts_path / "my-app-float32.tflite").exists()


def test_a_template_that_writes_other_prompts_is_not_offered(run, conversion, tmp_path):
    file = run.model_path / "chat_template.jinja"
    right = file.read_text("utf-8")
    try:
        file.write_text("{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{% endfor %}", "utf-8")
        with pytest.raises(ExportError, match="where the model was trained on .* mend chat_template.jinja"):
            export(run, "litertlm", out=tmp_path)
    finally:
        file.write_text(right, "utf-8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", ["Storing", "Asking the task file"])
def test_stopping_leaves_nothing(run, conversion, tmp_path, at):
    def stop(fraction: float, message: str) -> None:
        assert 0 <= fraction <= 1
        if message.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, "task", out=tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_that_does_not_fit_is_a_sentence(litertlm):
    with pytest.raises(ExportError, match=r"A prompt of \d+ tokens does not fit into the 1024 of my-app-int8\.litertlm"):
        runtimes.answers(litertlm.path, ["<bos>" + "red kitchen " * 800])


def test_stopping_the_conversion_leaves_nothing(run, tmp_path):
    def stop(fraction: float, message: str) -> None:
        if message == "Converting to LiteRT":
            raise KeyboardInterrupt

    source = Source(run.model_path, run.dataset(), "stopped")
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(source, "litertlm", None, tmp_path / "out", tmp_path / "cache", stop)
    assert list((tmp_path / "out").iterdir()) == list((tmp_path / "cache").iterdir()) == []
