"""The same rows, the same prompts, whoever answers; what was found is on disk."""

from __future__ import annotations

import json

import pytest

from pipeline import evaluate as evaluations
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.errors import ConfigError, RunError
from pipeline.evaluate import EvalReport, compare, evaluate, load_report
from pipeline.functiongemma import call_text
from pipeline.model import BaseModel, Generation
from pipeline.tools import ToolCall, ToolSpec
from tests.small_world import tiny_checkpoint

TOOL = ToolSpec("set_color", "set the color", {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]})
WORDS = ("red", "green", "blue", "yellow", "light", "dark", "new", "hello", "room", "bar")
ROWS = tuple(example(f"make it {word}", [ToolCall("set_color", {"color": word})]) for word in WORDS)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("base"))
    return BaseModel(str(folder), str(folder), None, False, "tiny")


@pytest.fixture
def run(base, tmp_path):
    from pipeline.train import prepare

    return prepare(ToolDataset((TOOL,), ROWS), TrainConfig(test_fraction=0.3, max_steps=1), tmp_path / "run", base, title="mine")


def right_answers(prompts):
    """What a perfect model says; it must be shown the whole prompt."""
    assert all(p.startswith("<bos><start_of_turn>developer\n") and p.endswith("<start_of_turn>model\n") for p in prompts)
    words = [prompt.rpartition("make it ")[2].partition("<")[0] for prompt in prompts]
    return [call_text([ToolCall("set_color", {"color": word})]) + "<start_function_response>" for word in words]


def test_a_real_model_answers_and_the_report_is_kept(run):
    seen = []
    report = evaluate(run, on="base", progress=lambda fraction, message: seen.append(fraction))
    assert (report.on, report.split, report.model, report.rows) == ("base", "test", "tiny", 3)
    assert report.tokens >= 3 and report.seconds > 0 and sum(report.verdicts.values()) == 3
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert EvalReport.from_json(json.loads(run.evaluation_path("base", "test").read_text())) == report == load_report(run, "base")
    assert list(run.evaluations()) == ["base-test"] and load_report(run, "tuned") is None
    held_out = [number for number, row in enumerate(run.dataset().examples, 1) if row.split == "test"]
    assert [result.row for result in report.results] == held_out


def test_base_and_tuned_are_asked_the_same_and_compared_row_by_row(run, monkeypatch):
    asked = []

    def generate(loaded, prompts, max_new_tokens, progress):
        asked.append((prompts, max_new_tokens))
        texts = right_answers(prompts) if len(asked) == 2 else ["I do not know.<end_of_turn>"] * len(prompts)
        return [Generation(text, [1], True) for text in texts]

    monkeypatch.setattr("pipeline.model.generate", generate)
    monkeypatch.setattr(evaluations, "model_path", lambda run, on: run.base["path"])
    before, after = evaluate(run, on="base"), evaluate(run, on="tuned")
    assert asked[0] == asked[1]
    assert (before.exact_match, before.verdicts["missing_call"], after.exact_match, after.model) == (0.0, 3, 1.0, "mine")
    assert compare(before, after).gained == [result.row for result in after.results]
    assert after.results[0].actual == after.results[0].expected == [ROWS[after.results[0].row - 1].calls[0].to_json()]


def test_a_file_is_asked_in_its_runtime(run, monkeypatch, tmp_path):
    file = tmp_path / "mine.litertlm"
    asked = []

    def answers(path, prompts, max_new_tokens, progress, tokenizer):
        asked.append((path, tokenizer))
        progress(1.0, "done")
        return [text.removesuffix("<start_function_response>") for text in right_answers(prompts)]

    monkeypatch.setattr("pipeline.runtimes.answers", answers)
    monkeypatch.setattr(evaluations, "model_path", lambda run, on: run.base["path"])
    report = evaluate(run, on="litertlm", artifact=file)
    assert asked == [(file, run.base["path"])] and (report.exact_match, report.tokens, report.model) == (1.0, None, "mine.litertlm")
    assert list(run.evaluations()) == ["litertlm-test"]
    with pytest.raises(RunError, match="has no .gguf file in its artifacts yet; export it first"):
        evaluate(run, on="gguf")


def test_a_limited_evaluation_is_not_kept(run):
    assert evaluate(run, on="base", limit=1, max_new_tokens=4).rows == 1
    assert run.evaluations() == {}


def test_what_cannot_be_evaluated_is_a_sentence(run, base, tmp_path):
    from pipeline.train import prepare

    with pytest.raises(RunError, match="has no tuned model yet: its training is new"):
        evaluate(run)
    with pytest.raises(ConfigError, match="--on must be one of base, tuned, litertlm, task, tflite, gguf, found 'best'"):
        evaluate(run, on="best")
    with pytest.raises(RunError, match="is not a run"):
        evaluate(tmp_path)
    whole = ToolDataset((TOOL,), tuple(type(row)(row.messages, split="train") for row in ROWS))
    with pytest.raises(RunError, match="has no rows in the test split"):
        evaluate(prepare(whole, TrainConfig(), tmp_path / "other", base), on="base")
    (run.path / "eval").mkdir()
    run.evaluation_path("base", "test").write_text('{"rows": 3}')
    with pytest.raises(RunError, match="not an evaluation report"):
        load_report(run, "base")
