"""Running exported files: what cannot be run is a sentence, whatever the native library does. Real files are run in test_export.py."""

from __future__ import annotations

import pytest

from pipeline import runtimes
from pipeline.errors import ExportError, PipelineError
from pipeline.export import bundle
from tests.hollow_model import tflite_model
from tests.small_world import tokenizer_model

PROMPT = "<bos><start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\n"


@pytest.mark.parametrize("text", ["a call", "a call<end_of_turn>", "a call<start_function_response>", "a call<eos>"])
def test_answers_come_without_their_stop(text):
    assert runtimes.without_stop(text) == "a call"


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"model\.onnx cannot be run here: expected one of \.litertlm, \.task, \.tflite, \.gguf"):
        runtimes.answers(tmp_path / "model.onnx", [PROMPT])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ExportError, match="is missing; export the run again"):
        runtimes.answers(tmp_path / "model.task", [PROMPT])


def test_nothing_asked_nothing_started(tmp_path):
    (tmp_path / "model.task").write_bytes(b"")
    assert runtimes.answers(tmp_path / "model.task", []) == []


@pytest.mark.parametrize("name", ["model.litertlm", "model.task", "model.gguf"])
def test_garbage_is_a_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"garbage" * 1000)
    with pytest.raises(PipelineError) as error:
        runtimes.answers(tmp_path / name, [PROMPT])
    assert "\n" not in str(error.value)


def test_a_model_that_the_native_library_chokes_on_is_a_sentence(tmp_path):
    """Well-formed from outside, with the signatures of a language model and nothing behind them."""
    (tmp_path / "model.tflite").write_bytes(tflite_model())
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_model())
    file = tmp_path / "model.litertlm"
    bundle.litertlm(
        tmp_path / "model.tflite", tmp_path / "tokenizer.model", file, start_id=2, stop_ids=[1, 106, 50], template="", max_tokens=64,
        description={},
    )  # fmt: skip
    with pytest.raises(PipelineError) as error:
        runtimes.answers(file, [PROMPT])
    assert "\n" not in str(error.value)
