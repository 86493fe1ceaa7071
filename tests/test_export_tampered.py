"""What is not as it was meant is not offered: every file here has one thing wrong with it, and reading it back finds that."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2

from pipeline.errors import ExportError
from pipeline.export import bundle, containers, gguf, litert, tokenizer
from pipeline.export.source import Lengths, Source
from tests.hollow_model import tflite_model
from tests.tuned_world import small_run

LENGTHS = Lengths(prefill=16, cache=64, longest_prompt=9, longest_completion=9)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    run = small_run(tmp_path_factory.mktemp("tampered") / "run", learn=False)
    return Source(run.model_path, run.dataset(), "test")


@pytest.fixture(scope="module")
def pieces(source) -> bytes:
    return tokenizer.sentencepiece_model(source.checkpoint, source.texts())


def swapped(pieces: bytes) -> bytes:
    """Another tokenizer of the same size with the same control tokens: two letters have changed places."""
    model = sentencepiece_model_pb2.ModelProto.FromString(pieces)
    found = {piece.piece: piece for piece in model.pieces}
    found["e"].piece, found["o"].piece = "o", "e"
    return model.SerializeToString()


# .litertlm and .task


@pytest.fixture
def read_back(source, pieces, tmp_path):
    """Pack a bundle as litert.py would, but for `changes` and `swap`, and read it back."""

    def check(format: str, swap: bool = False, quantize: str = "int8", lengths: Lengths = LENGTHS, **changes):
        (tmp_path / "model.tflite").write_bytes(tflite_model(lengths.cache))
        (tmp_path / "tokenizer.model").write_bytes(swapped(pieces) if swap else pieces)
        settings = litert._settings(source, format, "int8", pieces, LENGTHS, False) | changes
        out = tmp_path / f"file.{format}"
        bundle.write(format, str(tmp_path / "model.tflite"), str(tmp_path / "tokenizer.model"), str(out), **settings)
        return litert._read_back(source, out, pieces, LENGTHS, quantize, False)

    return check


WRONG = [
    ("litertlm", {"stop_ids": [1, 106, 50, 49]}, r"its stop tokens should be \['<eos>', .*'<start_function_response>'\], found .*end_function_call"),
    ("litertlm", {"stop_ids": [1, 106]}, "its stop tokens should be"),
    ("litertlm", {"start_id": 3}, "its start token should be <bos>, found <unk>"),
    ("litertlm", {"max_tokens": 32}, "its length of a conversation should be 64, found 32"),
    ("litertlm", {"quantize": "int4"}, "its quantization should be int4, found int8"),
    ("litertlm", {"lengths": replace(LENGTHS, cache=48)}, "its cache length should be 64, found 48"),
    ("litertlm", {"swap": True}, "splits a text otherwise than the trained one"),
    ("task", {"stops": ["<end_of_turn>", "<end_function_call>"]}, "its stop tokens should be"),
    ("task", {"start": "<start_of_turn>"}, "its start token should be <bos>"),
    ("task", {"wrap_turns": True}, "its wrap of turns should be False, found True"),
    ("task", {"swap": True}, "splits a text otherwise than the trained one"),
]


@pytest.mark.parametrize(("format", "changes", "sentence"), WRONG)
def test_a_bundle_with_something_else_in_it_is_refused(read_back, format, changes, sentence):
    with pytest.raises(ExportError, match=sentence):
        read_back(format, **changes)


@pytest.mark.parametrize("changed", [lambda t: t[: len(t) // 2], lambda t: t + " ", lambda t: ""])
def test_a_bundle_with_another_template_is_refused(read_back, source, changed):
    with pytest.raises(ExportError, match="its chat template is not the one that was to go in"):
        read_back("litertlm", template=changed(source.template))


def test_a_bundle_of_another_model_type_is_refused(read_back, monkeypatch):
    """As the converter's own bundles are, if nobody tells it: calls would arrive as plain text."""
    right = containers.llm_metadata

    def generic(data):
        message = right(data)
        message.llm_model_type.generic_model.SetInParent()
        return message

    monkeypatch.setattr(containers, "llm_metadata", generic)
    with pytest.raises(ExportError, match="its model type should be function_gemma, found generic_model"):
        read_back("litertlm")


def test_as_it_should_be_it_passes(read_back, source):
    found = read_back("task")
    assert found["texts_split_alike"] == len(source.texts()) > 5
    assert found["stop_tokens"] == ["<end_of_turn>", "<start_function_response>"]


# .gguf


def number(key: str, is_now: int, becomes: int) -> Callable[[bytes], bytes]:
    """Writes another number under a key."""

    def change(data: bytes) -> bytes:
        place = data.index(key.encode()) + len(key)
        assert struct.unpack_from("<II", data, place) == (4, is_now)  # type 4: a 32-bit number
        return data[: place + 4] + struct.pack("<I", becomes) + data[place + 8 :]

    return change


@pytest.mark.parametrize(
    ("options", "change", "sentence"),
    [
        ({"quantize": "q4_0"}, None, "its quantization should be Q8_0, found Q4_0"),
        ({"template": "{{ bos_token }}"}, None, "its chat template is not the one that was to go in"),
        ({"swap": True}, None, "splits a text otherwise than the trained one"),
        ({}, number("tokenizer.ggml.eom_token_id", 50, 49), "its stop tokens should be"),
        ({}, number("tokenizer.ggml.bos_token_id", 2, 1), "its start token should be <bos>, found <eos>"),
        ({}, number("gemma3.context_length", 4096, 512), "its context length should be 4096, found 512"),
        ({}, lambda data: data[:-40], "cut short"),
    ],
)
def test_a_gguf_with_something_else_in_it_is_refused(source, pieces, tmp_path, options, change, sentence):
    (tmp_path / "tokenizer.model").write_bytes(swapped(pieces) if options.get("swap") else pieces)
    out = tmp_path / "file.gguf"
    template = options.get("template", source.template)
    gguf.write(source.checkpoint, tmp_path / "tokenizer.model", out, options.get("quantize", "q8_0"), "test", template)
    if change:
        out.write_bytes(change(out.read_bytes()))
    with pytest.raises(ExportError, match=sentence):
        gguf._read_back(source, out, "q8_0")


def test_a_gguf_as_it_should_be_passes_and_its_template_writes_the_prompts_of_training(source, pieces, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(pieces)
    gguf.write(source.checkpoint, tmp_path / "tokenizer.model", tmp_path / "file.gguf", "q8_0", "test", source.template)
    found = gguf._read_back(source, tmp_path / "file.gguf", "q8_0")
    assert (found["prompts_equal"], found["prompts_total"]) == (4, 4) and "warnings" not in found
    assert found["texts_split_alike"] == len(source.texts())


def test_a_gguf_whose_template_writes_other_prompts_is_refused(source, pieces, tmp_path):
    """Even one that is the checkpoint's own: the model was not trained on what it writes."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for file in source.checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}", "utf-8")
    other = replace(source, checkpoint=Path(folder))
    (tmp_path / "tokenizer.model").write_bytes(pieces)
    gguf.write(folder, tmp_path / "tokenizer.model", tmp_path / "file.gguf", "q8_0", "test", other.template)
    with pytest.raises(ExportError, match="where the model was trained on .* mend chat_template.jinja"):
        gguf._read_back(other, tmp_path / "file.gguf", "q8_0")
