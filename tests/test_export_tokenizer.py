"""The SentencePiece tokenizer of a phone file splits text as the trained one does, wherever it came from."""

from __future__ import annotations

import json

import pytest
from sentencepiece import sentencepiece_model_pb2

from pipeline.base.tokenizer import write_tokenizer
from pipeline.errors import ExportError
from pipeline.export import tokenizer
from tests.small_world import CHAT_TEMPLATE, tokenizer_model

TEXTS = [
    "<start_of_turn>user\nmake it red<end_of_turn>\n<start_of_turn>model\n",
    "<start_function_call>call:set_color{color:<escape>Zürich 温度 🙂<escape>}<end_function_call><start_function_response>",
    "  two  spaces\n\n\tand a tab 1234.5",
]


@pytest.fixture
def checkpoint(tmp_path):
    write_tokenizer(tokenizer_model(), tmp_path, CHAT_TEMPLATE)
    return tmp_path


def test_the_checkpoints_own_model_is_taken(checkpoint):
    assert tokenizer.sentencepiece_model(checkpoint, TEXTS) == tokenizer_model()


def test_a_missing_model_is_rebuilt_from_tokenizer_json(checkpoint):
    (checkpoint / "tokenizer.model").unlink()
    data = tokenizer.sentencepiece_model(checkpoint, TEXTS)
    assert tokenizer.prove(data, checkpoint, TEXTS) == len(TEXTS)
    assert tokenizer.token_ids(data, tokenizer.WIRE_TOKENS) == tokenizer.token_ids(tokenizer_model(), tokenizer.WIRE_TOKENS)


def test_gemmas_unused_pieces_get_the_names_of_the_added_tokens(checkpoint):
    """Gemma 3's tokenizer.model has no text for the function tokens; tokenizer.json lays them over <unused...> pieces."""
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer_model())
    for i in range(46, 53):
        model.pieces[i].piece = f"<unused_{i}_>"
    (checkpoint / "tokenizer.model").write_bytes(model.SerializeToString())
    data = tokenizer.sentencepiece_model(checkpoint, TEXTS)
    assert tokenizer.token_ids(data, ["<start_function_call>", "<escape>"]) == {"<start_function_call>": 48, "<escape>": 52}


def test_every_control_token_must_be_one_piece(checkpoint):
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer_model())
    model.pieces[52].piece = "<quote>"
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer.model").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=r"splits <escape> into \d+ pieces"):
        tokenizer.sentencepiece_model(checkpoint, TEXTS)


def test_another_vocabulary_is_found_by_the_texts(checkpoint):
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer_model())
    for piece in model.pieces[400:]:
        piece.score = -piece.score
    (checkpoint / "tokenizer.model").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="splits a text otherwise than the trained one"):
        tokenizer.sentencepiece_model(checkpoint, [*TEXTS, "change background title alert message"])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tokenizer.model", b"\xff\xfe garbage", "not a SentencePiece model"),
        ("tokenizer.model", b"", "not a SentencePiece model"),
        ("tokenizer.json", b"{", "is not JSON"),
        ("tokenizer.json", json.dumps({"model": {}}).encode(), "holds no vocabulary"),
    ],
)
def test_a_broken_file_is_a_sentence(checkpoint, name, content, sentence):
    (checkpoint / name).write_bytes(content)
    with pytest.raises(ExportError, match=sentence):
        tokenizer.sentencepiece_model(checkpoint, TEXTS)


def test_without_any_tokenizer_nothing_is_made(tmp_path):
    with pytest.raises(ExportError, match="neither tokenizer.model nor tokenizer.json"):
        tokenizer.sentencepiece_model(tmp_path, TEXTS)
