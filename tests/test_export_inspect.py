"""Inspection says what is in a file and what is wrong with it; no damage of a file makes it say anything but a sentence."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import ExportError, PipelineError
from pipeline.export import bundle
from pipeline.export.inspect import as_text, inspect
from tests.hollow_model import tflite_model
from tests.small_world import tokenizer_model

IDS = {"start_id": 2, "stop_ids": [1, 106, 50], "template": "{{ bos_token }}", "max_tokens": 64, "description": {"Name": "test"}}
TASK = {"start": "<bos>", "stops": ["<end_of_turn>", "<start_function_response>"], "wrap_turns": False}


@pytest.fixture
def parts(tmp_path) -> dict[str, Path]:
    (tmp_path / "model.tflite").write_bytes(tflite_model())
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_model())
    return {"tflite": tmp_path / "model.tflite", "tokenizer": tmp_path / "tokenizer.model"}


@pytest.fixture
def litertlm(parts, tmp_path):
    def make(name: str = "file.litertlm", **changes) -> Path:
        bundle.litertlm(**parts, out=tmp_path / name, **IDS | changes)
        return tmp_path / name

    return make


@pytest.fixture
def task(parts, tmp_path):
    """A .task as mediapipe writes it; its METADATA is spelled by hand, so that nothing native is needed."""

    def make(name: str = "file.task", compress: bool = False, skip: str = "", **changes) -> Path:
        settings = TASK | changes
        fields = [(5, stop.encode()) for stop in settings["stops"]] + [(6, settings["start"].encode())]
        fields += [(8, b"\x12\x01>")] if settings["wrap_turns"] else []
        metadata = b"".join(bytes([number << 3 | 2, len(text)]) + text for number, text in fields)
        entries = {
            "TF_LITE_PREFILL_DECODE": parts["tflite"].read_bytes(), "TOKENIZER_MODEL": parts["tokenizer"].read_bytes(), "METADATA": metadata,
        }  # fmt: skip
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
            for entry in entries:
                if entry != skip:
                    archive.writestr(entry, entries[entry])
        return tmp_path / name

    return make


def gguf_file(path: Path, values: dict[str, str | int | list[str] | list[int]], tensors: int = 0) -> Path:
    out = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(values))
    for key, value in values.items():
        out += struct.pack("<Q", len(key)) + key.encode()
        if isinstance(value, str):
            out += struct.pack("<IQ", 8, len(value)) + value.encode()
        elif isinstance(value, int):
            out += struct.pack("<II", 4, value)
        elif isinstance(value[0], str):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(struct.pack("<Q", len(v.encode())) + v.encode() for v in value)
        else:
            out += struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    path.write_bytes(out)
    return path


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
    problems = inspect(gguf_file(tmp_path / "a.gguf", values))["problems"]
    assert any(problem.startswith("<start_function_call>, <end_of_turn> are typed as ordinary text") for problem in problems)
    assert any(problem.startswith("The vocabulary has no ") for problem in problems)
    assert any(problem.startswith("It does not stop at <end_of_turn>") for problem in problems)


# Hostile files


@pytest.mark.parametrize("name", ["a.litertlm", "a.task", "a.tflite", "a.gguf", "a", "a.txt"])
def test_random_bytes_are_a_sentence(tmp_path, name):
    for size in (0, 1, 7, 31, 5000):
        (tmp_path / name).write_bytes(random.Random(size).randbytes(size))
        with pytest.raises(PipelineError):
            inspect(tmp_path / name)


def test_a_missing_file_and_a_folder_are_sentences(tmp_path):
    with pytest.raises(ExportError, match="is missing"):
        inspect(tmp_path / "none.task")
    with pytest.raises(ExportError, match="is a folder"):
        inspect(tmp_path)


@pytest.mark.parametrize("kind", ["litertlm", "task", "tflite", "gguf"])
def test_a_file_cut_anywhere_is_a_sentence(kind, litertlm, task, parts, tmp_path):
    whole = _whole(kind, litertlm, task, parts, tmp_path)
    data = whole.read_bytes()
    draw = random.Random(1)
    for end in [*range(1, 64), *(draw.randrange(64, len(data)) for _ in range(40))]:
        whole.write_bytes(data[: min(end, len(data) - 1)])
        _survives(whole, must_fail=kind in ("litertlm", "gguf"))


@pytest.mark.parametrize("kind", ["litertlm", "task", "tflite", "gguf"])
def test_a_file_with_flipped_bytes_is_a_report_or_a_sentence(kind, litertlm, task, parts, tmp_path):
    whole = _whole(kind, litertlm, task, parts, tmp_path)
    data = whole.read_bytes()
    draw = random.Random(2)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(draw.choice((1, 1, 4, 30))):
            at = draw.randrange(min(len(broken), 2000)) if draw.random() < 0.7 else draw.randrange(len(broken))
            broken[at] = draw.choice((0, 255, 127, 128, draw.randrange(256)))
        whole.write_bytes(broken)
        _survives(whole)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = tmp_path / "bomb.task"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("TOKENIZER_MODEL", "w") as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
    found = inspect(bomb)
    assert found["sections"] == [{"name": "TOKENIZER_MODEL", "size": 100 << 20, "stored": False}]
    assert any("is compressed" in problem for problem in found["problems"])


@pytest.mark.parametrize("at", [8, 16])
def test_absurd_counts_are_not_followed(tmp_path, at):
    data = bytearray(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    struct.pack_into("<Q", data, at, 2**60)
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(ExportError, match="more than such a file can hold"):
        inspect(tmp_path / "a.gguf")


def _whole(kind: str, litertlm, task, parts, tmp_path) -> Path:
    if kind == "gguf":
        return gguf_file(tmp_path / "a.gguf", {"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["a", "b"] * 30, "x": 3})
    return {"litertlm": litertlm, "task": task, "tflite": lambda: parts["tflite"]}[kind]()


def _survives(path: Path, must_fail: bool = False) -> None:
    try:
        report = inspect(path)
    except PipelineError as error:
        assert "\n" not in str(error) and str(error)[0].isupper()
    else:
        assert not must_fail
        assert as_text(report)
