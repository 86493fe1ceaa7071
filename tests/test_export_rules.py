"""What an export decides before and after the heavy work: lengths, requests, when a file is good, how it is called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dataset import ToolDataset, example
from pipeline.errors import ExportError, ModelError, PipelineError
from pipeline.export import artifacts, export, file_name, readback
from pipeline.export.gguf import modelfile, period
from pipeline.export.source import Source
from pipeline.export.verify import Answer, Difference, Verification, answer_length, is_cut, require
from pipeline.export.verify import _same as same
from pipeline.functiongemma import render_prompt
from tests.tuned_world import TOOLS, small_dataset, small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("rules") / "run", learn=False)


def source_of(run, dataset: ToolDataset | None = None) -> Source:
    return Source(run.model_path, dataset or run.dataset(), "test")


# Lengths


def test_the_dataset_decides_what_fits(run):
    short = source_of(run).lengths()
    assert (short.prefill, short.cache) == (256, 1024)
    assert f"{short.longest_prompt} tokens" in short.reason
    long = source_of(run, ToolDataset(TOOLS, (example("red " * 600, reply="no"),))).lengths()
    assert long.longest_prompt > 1200 and long.cache % 256 == 0
    assert long.cache >= long.longest_prompt + 2 * long.longest_completion + 256
    tiny = source_of(run, ToolDataset((), (example("red", reply="no", developer=None),))).lengths()
    assert (tiny.prefill, tiny.cache) == (128, 1024)


def test_a_longer_cache_can_be_asked_for_and_a_shorter_one_is_not_made(run):
    assert source_of(run).lengths(1500).cache == 1536
    assert source_of(run).lengths(128).cache == 1024


def test_an_example_longer_than_the_model_is_refused(run):
    too_long = ToolDataset(TOOLS, (example("red " * 5000, reply="no"),))
    with pytest.raises(ExportError, match="the model holds 4096"):
        source_of(run, too_long).lengths()


# Requests


def test_held_out_requests_of_every_kind_come_first(run):
    chosen = source_of(run).requests(20)
    assert [row.example.request for row in chosen] == ["make it red", "open kitchen 0", "red and kitchen", "hello"]
    assert [row.example.request for row in source_of(run).requests(3)] == ["make it red", "open kitchen 0", "red and kitchen"]
    assert chosen[0].prompt.startswith("<bos>") and chosen[0].completion.endswith("<start_function_response>")


def test_parallel_calls_are_always_asked_for(run):
    """Wrong stops cut them, and show nowhere else."""
    assert [row.example.request for row in source_of(run).requests(2)] == ["make it red", "red and kitchen"]
    dataset = small_dataset()
    learned = replace(dataset, examples=tuple(replace(r, split="train") if r.kind == "parallel" else r for r in dataset.examples))
    assert [row.example.request for row in source_of(run, learned).requests(20)][-1] == "red and kitchen"
    none = replace(dataset, examples=tuple(row for row in dataset.examples if row.kind != "parallel"))
    assert len(source_of(run, none).requests(20)) == 3


def test_without_held_out_rows_the_others_are_asked(run):
    dataset = small_dataset()
    unsplit = replace(dataset, examples=tuple(replace(row, split=None) for row in dataset.examples))
    assert len(source_of(run, unsplit).requests(20)) == len(dataset.examples)


# When a file is good


def verification(total: int, identical: int, undecided: int = 0, model_correct: int = 0, file_correct: int = 0) -> Verification:
    differences = [Difference("red", "a", "b", 0.01)] * (total - identical)
    return Verification(total, identical, undecided, model_correct, file_correct, differences)


@pytest.mark.parametrize(
    ("found", "exact", "good"),
    [
        (verification(20, 20), True, True),
        (verification(20, 19, undecided=1), True, True),  # a tie
        (verification(20, 19), True, False),
        (verification(20, 18), False, True),
        (verification(20, 17), False, False),
        (verification(20, 10, undecided=8), False, True),
        (verification(20, 14, model_correct=18, file_correct=17), False, True),
        (verification(20, 14, model_correct=18, file_correct=16), False, False),
        (verification(20, 0, model_correct=1, file_correct=0), False, False),  # a weak model proves nothing by losing little
        (verification(1, 0), False, False),
    ],
)
def test_when_a_file_may_be_offered(found, exact, good):
    if good:
        require(found, "the file", exact)
    else:
        with pytest.raises(ExportError, match="the file did not pass: .* answers differ from the model's, for instance to 'red'"):
            require(found, "the file", exact)


ONE, BOTH = "<start_function_call>call:a{}", "<start_function_call>call:a{}<end_function_call><start_function_call>call:b{}<end_function_call>"


@pytest.mark.parametrize(
    ("theirs", "cut"),
    [(ONE, True), (ONE + "<end_function_call>", True), (BOTH, False), ("", False), (ONE + "<end_function_call>but", False), ("no", False)],
)
def test_parallel_calls_that_are_cut_are_seen(theirs, cut):
    assert is_cut(BOTH, theirs) is cut


def test_a_file_that_cuts_parallel_calls_is_not_offered_however_few_there_are():
    found = replace(verification(20, 19), cut=1, parallel=1)
    with pytest.raises(ExportError, match="1 of 1 answers with several calls end after the first ones"):
        require(found, "the file", False)


@pytest.mark.parametrize(
    ("ours", "stopped", "theirs", "equal"),
    [("a call", True, "a call", True), ("a call", True, "a cal", False), ("a call", False, "a ca", True), ("a call", False, "", False)],
)
def test_answers_that_ran_into_the_limit_are_compared_as_far_as_they_go(ours, stopped, theirs, equal):
    assert same(Answer(ours, [], stopped), theirs) is equal


def test_an_answer_may_run_on_a_little():
    assert answer_length(10) == 26 and answer_length(100) == 125 and answer_length(10_000) == 512


# Prompts as the file's own template writes them


def written(*, plain: str = "", rows: str = ""):
    """`runtimes.rendered` of a phone that writes something behind the plain conversation, or behind the dataset's."""

    def rendered(path, conversations):
        texts = [render_prompt(messages, tools, True).removeprefix("<bos>") for messages, tools in conversations]
        return [texts[0] + plain, *(text + rows for text in texts[1:])]

    return rendered


def test_prompts_are_compared_with_those_of_training(run, monkeypatch, tmp_path):
    def compared(**changes):
        monkeypatch.setattr(readback.runtimes, "rendered", written(**changes))
        return readback.same_prompts(source_of(run), tmp_path / "file.litertlm", "LiteRT-LM")

    assert compared() == {"prompts_equal": 4, "prompts_total": 4}
    found = compared(rows="!")
    assert (found["prompts_equal"], found["prompts_total"]) == (0, 4)
    assert found["warnings"][0].startswith("LiteRT-LM writes 4 of 4 prompts otherwise than in training, first ")
    with pytest.raises(ExportError, match="where the model was trained on .*; mend chat_template.jinja"):
        compared(plain="!")


# Refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "onnx"}, "There is no format 'onnx': expected one of litertlm, task, tflite, gguf, merged"),
        ({"format": "task", "quantize": "q8_0"}, "LiteRT files come in int8, int4, float32, not in q8_0"),
        ({"format": "gguf", "quantize": "int8"}, "GGUF files come in q8_0, float16, q4_0, not in int8"),
        ({"format": "merged", "quantize": "int8"}, "leave --quantize out"),
        ({"format": "litertlm", "wrap_turns": True}, "Wrapping turns is for .task files only"),
        ({"format": "litertlm", "requests": 0}, "must answer at least 1 request"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(run, tmp_path, options, sentence):
    with pytest.raises(ExportError, match=sentence):
        export(run, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_model_is_refused(tmp_path):
    run = small_run(tmp_path / "run", learn=False)
    run.model_path.rename(tmp_path / "elsewhere")
    with pytest.raises(PipelineError, match="has no trained model yet, it is done; train it to the end first"):
        export(run, "litertlm")


def test_a_damaged_model_is_refused(tmp_path):
    run = small_run(tmp_path / "run", learn=False)
    (run.model_path / "config.json").write_text("{")
    with pytest.raises(ModelError):
        export(run, "litertlm")


def test_a_missing_chat_template_is_refused(tmp_path):
    run = small_run(tmp_path / "run", learn=False)
    (run.model_path / "chat_template.jinja").unlink()
    with pytest.raises(ExportError, match=r"has no chat_template\.jinja"):
        _ = source_of(run).template


# GGUF


def test_gguf_says_every_nth_layer_only():
    sliding, full = "sliding_attention", "full_attention"
    assert period([sliding, full] * 3) == 2
    assert period(([sliding] * 5 + [full]) * 3) == 6
    assert period([sliding] * 4) == 0
    with pytest.raises(ExportError, match="do not come at equal distances"):
        period([sliding, full, full])


def test_ollama_gets_the_prompt_as_it_is():
    text = modelfile("a.gguf")
    assert text.startswith("FROM ./a.gguf\nTEMPLATE {{ .Prompt }}\n")
    assert 'PARAMETER stop "<start_function_response>"' in text and "end_function_call" not in text


# Names, lists


@pytest.mark.parametrize(("title", "name"), [("My app", "my-app"), ("Ä ö/../..", "functiongemma"), ("a" * 90, "a" * 60)])
def test_files_get_names_that_every_disk_takes(run, title, name):
    run.update(title=title)
    assert file_name(run) == name
    run.update(title="My app")


def test_artifacts_that_are_gone_are_not_listed(tmp_path):
    (tmp_path / "a.task").write_bytes(b"x")
    entry = {"size": 1, "sha256": "0", "verified": True, "answers_identical": 1, "answers_total": 1, "seconds": 1.0, "details": {}}
    entries = [{"format": "task", "path": name} | entry for name in ("a.task", "gone.task")]
    (tmp_path / "artifacts.json").write_text(json.dumps({"artifacts": entries}))
    assert [Path(one.path) for one in artifacts(tmp_path)] == [tmp_path / "a.task"]
    (tmp_path / "artifacts.json").write_text("{}")
    with pytest.raises(ExportError, match="delete it and export again"):
        artifacts(tmp_path)
