"""Inspection says what is in a file and what is wrong with it. Files that are broken, or made to break it, are in test_export_hostile.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.export import bundle, containers
from pipeline.export.inspect import as_text, inspect
from tests import export_files
from tests.export_files import TASK, gguf_bytes, litertlm_file, task_file
from tests.hollow_model import tflite_model


@pytest.fixture
def parts(tmp_path) -> dict[str, Path]:
    return export_files.parts(tmp_path)


@pytest.fixture
def litertlm(parts, tmp_path):
    return lambda name="file.litertlm", **changes: litertlm_file(tmp_path / name, parts, **changes)


@pytest.fixture
def task(parts, tmp_path):
    return lambda name="file.task", **changes: task_file(tmp_path / name, parts, **changes)


# What is there


def test_a_good_litertlm_has_no_problems(litertlm):
    found = inspect(litertlm())
    assert found["problems"] == []
    assert (found["format"], found["start_token"]) == ("litertlm", "<bos>")
    assert found["stop_tokens"] == ["<eos>", "<end_of_turn>", "<start_function_response>"]
    assert [section["name"] for section in found["sections"]] == ["LlmMetadataProto", "SP_Tokenizer", "TFLiteModel"]
    assert found["metadata"]["model_type"] == "function_gemma" and found["metadata"]["Name"] == "test"
    assert found["tokenizer"]["control_tokens"]["<escape>"] == 52 and found["tokenizer"]["pieces"] == 512
    assert (found["model"]["prefill_lengths"], found["model"]["cache_length"], found["model"]["quantization"]) == ([16], 64, "int8")
    assert "problems     none found" in as_text(found)


def test_a_good_task_has_no_problems(task):
    found = inspect(task())
    assert (found["problems"], found["format"], found["start_token"]) == ([], "task", "<bos>")
    assert found["stop_tokens"] == ["<end_of_turn>", "<start_function_response>"]


def test_mediapipes_own_bundle_reads_the_same(parts, task, tmp_path):
    bundle.task(**parts, out=tmp_path / "own.task", **TASK)
    own, ours = inspect(tmp_path / "own.task"), inspect(task())
    for key in ("problems", "start_token", "stop_tokens", "tokenizer", "model", "metadata"):
        assert own[key] == ours[key], key
    bundle.task(**parts, out=tmp_path / "wrapped.task", **TASK | {"wrap_turns": True})
    assert inspect(tmp_path / "wrapped.task")["metadata"] == {"wraps_turns": True}


def test_a_bare_model(parts):
    found = inspect(parts["tflite"])
    assert (found["format"], found["problems"], found["stop_tokens"]) == ("tflite", [], None)
    assert found["model"]["signatures"]["decode"]["outputs"]["logits"] == {"shape": [1, 1, 512], "type": "FLOAT32"}


# What is wrong


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stop_ids": [1, 106, 50, 49]}, "It stops at <end_function_call>: parallel calls will be cut after the first."),
        ({"stop_ids": [1, 106]}, "It does not stop at <start_function_response>: after a call the model invents the function's answer."),
        ({"stop_ids": [1, 50]}, "It does not stop at <end_of_turn>"),
        ({"start_id": 3}, "It starts with <unk> instead of <bos>"),
        ({"template": ""}, "It has no chat template"),
        ({"max_tokens": 128}, "It announces 128 tokens, the model's cache holds 64"),
    ],
)
def test_what_is_wrong_with_a_litertlm_is_said(litertlm, changes, sentence):
    assert any(problem.startswith(sentence) for problem in inspect(litertlm(**changes))["problems"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stops": ["<end_of_turn>", "<end_function_call>"]}, "It stops at <end_function_call>: parallel calls will be cut"),
        ({"start": "<start>"}, "It starts with <start> instead of <bos>"),
        ({"wrap_turns": True}, "It puts turns around every prompt"),
        ({"compress": True}, "Entry TF_LITE_PREFILL_DECODE is compressed"),
        ({"skip": "TOKENIZER_MODEL"}, "It has no entry TOKENIZER_MODEL"),
        ({"skip": "TF_LITE_PREFILL_DECODE"}, "It has no entry TF_LITE_PREFILL_DECODE"),
    ],
)
def test_what_is_wrong_with_a_task_is_said(task, changes, sentence):
    assert any(problem.startswith(sentence) for problem in inspect(task(**changes))["problems"])


def test_a_tokenizer_that_does_not_parse_is_said(parts, litertlm):
    parts["tokenizer"].write_bytes(b"\xff garbage")
    assert "not a SentencePiece model" in inspect(litertlm())["problems"][0]


def test_a_tokenizer_larger_than_the_model_is_said(parts, litertlm):
    parts["tflite"].write_bytes(tflite_model(rows=500))
    assert "The tokenizer has 512 pieces, the model only 500 rows" in inspect(litertlm())["problems"][0]


def test_a_wrong_name_is_said(task):
    assert inspect(task("file.litertlm"))["problems"] == [
        "The name ends in .litertlm, the content is a .task: rename it, or apps will not find it."
    ]


def test_control_tokens_typed_as_text_are_said_of_a_gguf(tmp_path):
    """What llama.cpp's converter makes of a folder of transformers 5."""
    tokens = ["<pad>", "<eos>", "<bos>", "<end_of_turn>", "<start_function_call>"]
    values = {
        "general.architecture": "gemma3", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3, 3, 3, 1, 1],
        "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 1,
    }  # fmt: skip
    problems = _problems(tmp_path / "a.gguf", gguf_bytes(values))
    assert any(problem.startswith("<start_function_call>, <end_of_turn> are typed as ordinary text") for problem in problems)
    assert any(problem.startswith("The vocabulary has no ") for problem in problems)
    assert any(problem.startswith("It does not stop at <end_of_turn>") for problem in problems)


def test_a_vocabulary_of_another_size_than_the_model_is_said_of_a_gguf(tmp_path):
    values = {"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["a"] * 8}
    problems = _problems(tmp_path / "a.gguf", gguf_bytes(values, [("token_embd.weight", (4, 9), 0)]))
    assert "The vocabulary has 8 tokens, the model 9 rows: llama.cpp refuses it." in problems


def test_ids_are_named_as_gemmas_where_the_tokenizer_is_not_read(parts, litertlm, tmp_path):
    """Bundles of other makers hold tokenizer.json, compressed."""
    import litert_lm_builder as builder

    ours = litertlm(stop_ids=[1, 106, 49])
    (place,) = [one for one in containers.litertlm(containers.opened(ours))["sections"] if one["type"] == "LlmMetadataProto"]
    (tmp_path / "metadata.pb").write_bytes(ours.read_bytes()[place["begin"] : place["end"]])
    (tmp_path / "tokenizer.json").write_text("{}")
    file = builder.LitertLmFileBuilder()
    file.add_system_metadata(builder.Metadata(key="Authors", value="somebody", dtype=builder.DType.STRING))
    file.add_llm_metadata(str(tmp_path / "metadata.pb"))
    file.add_hf_tokenizer(str(tmp_path / "tokenizer.json"))
    file.add_tflite_model(str(parts["tflite"]), builder.TfLiteModelType.PREFILL_DECODE)
    with open(tmp_path / "other.litertlm", "wb") as stream:
        file.build(stream)
    found = inspect(tmp_path / "other.litertlm")
    assert found["stop_tokens"] == ["<eos>", "<end_of_turn>", "<end_function_call>"]
    assert found["problems"][0] == "It stops at <end_function_call>: parallel calls will be cut after the first."


def test_a_report_cannot_steer_the_terminal(tmp_path):
    values = {"general.name": "\x1b[2Jnice\nproblems     none found", "long": "x" * 10_000}
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(values))
    text = as_text(inspect(tmp_path / "a.gguf"))
    assert "\x1b" not in text and "\\x1b[2Jnice\\nproblems" in text and "\nproblems     none found" not in text
    assert max(map(len, text.splitlines())) < 600


def _problems(path: Path, data: bytes) -> list[str]:
    path.write_bytes(data)
    return inspect(path)["problems"]
