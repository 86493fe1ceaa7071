"""The SentencePiece tokenizer that goes into a phone file, proved equal to the one the model was trained with.

Both phone runtimes read SentencePiece; training reads tokenizer.json, and transformers 5's `save_pretrained` writes only that.
So `tokenizer.model` is taken from the checkpoint where it is, rebuilt from tokenizer.json where it is not, given the added tokens
that tokenizer.json lays over it (Gemma's own file spells the function-calling tokens <unused40>...), and then proved on texts.
Knows nothing of bundles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError
from pipeline.functiongemma import (
    END_CALL,
    END_DECLARATION,
    END_OF_TURN,
    END_RESPONSE,
    ESCAPE,
    START_CALL,
    START_DECLARATION,
    START_OF_TURN,
    START_RESPONSE,
)

MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
"""Tokens that are written as ids only: text that spells them is not one of them (SentencePiece's CONTROL type)."""
WIRE_TOKENS = (
    START_DECLARATION, END_DECLARATION, START_CALL, END_CALL, START_RESPONSE, END_RESPONSE, ESCAPE, START_OF_TURN, END_OF_TURN,
)  # fmt: skip
"""Tokens of the wire format that must be one piece each, in prompts and in answers."""
MAX_PIECES = 1_000_000
"""Gemma's has 262,144."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def sentencepiece_model(checkpoint: str | Path, texts: Iterable[str]) -> bytes:
    """A serialised SentencePiece model that splits every one of `texts` (no leading <bos>) as the checkpoint's tokenizer.json does.

    Raises ExportError if it cannot be made, if a control token is not one piece, or for the first text that is split otherwise.
    """
    checkpoint = Path(checkpoint)
    table = _tokenizer_json(checkpoint)
    own = checkpoint / "tokenizer.model"
    if own.is_file():
        model = _parse(own.read_bytes(), own.name)
        if table is not None:
            _lay_over(model, _added(table))
    elif table is not None:
        model = _rebuild(table)
    else:
        raise ExportError(f"{checkpoint} has neither tokenizer.model nor tokenizer.json: a phone file needs one of them.")
    data = model.SerializeToString()
    prove(data, checkpoint, texts)
    return data


def prove(data: bytes, checkpoint: str | Path, texts: Iterable[str]) -> int:
    """How many texts the SentencePiece model `data` splits exactly as the checkpoint's tokenizer.json: all of them, or ExportError."""
    import sentencepiece
    from tokenizers import Tokenizer

    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise ExportError(f"The tokenizer cannot be read back ({error}): the file would not start on any phone.") from error
    for token in WIRE_TOKENS:
        if len(pieces := processor.encode(token)) != 1:
            raise ExportError(f"The tokenizer splits {token} into {len(pieces)} pieces, expected one; use the base model's own tokenizer.")
    file = Path(checkpoint) / "tokenizer.json"
    if not file.is_file():
        return 0
    trained = Tokenizer.from_file(str(file))
    count = 0
    for text in texts:
        expected, found = trained.encode(text, add_special_tokens=False).ids, processor.encode(text)
        if expected != found:
            at = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found)))
            near = processor.decode(found[max(0, at - 4) : at + 4])
            raise ExportError(
                f"The phone's tokenizer splits a text otherwise than the trained one, near {near!r}; put the base's tokenizer.model into "
                f"{checkpoint}."
            )
        count += 1
    return count


def token_ids(data: bytes, tokens: Iterable[str]) -> dict[str, int]:
    """The id of each token that is a piece of its own in the SentencePiece model `data`; others are left out.

    Raises ExportError if `data` is no SentencePiece model.
    """
    wanted = set(tokens)
    return {piece.piece: i for i, piece in enumerate(_parse(data, "the tokenizer").pieces) if piece.piece in wanted}


def describe(data: bytes) -> dict[str, Any]:
    """Pieces, model type and the control tokens (id, or None where it is not a piece). Raises ExportError for anything else."""
    model = _parse(data, "the tokenizer")
    ids = {piece.piece: i for i, piece in enumerate(model.pieces)}
    kinds = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
    return {
        "kind": "SentencePiece",
        "algorithm": kinds.get(model.trainer_spec.model_type, "unknown"),
        "pieces": len(model.pieces),
        "control_tokens": {token: ids.get(token) for token in (*MARKS, *WIRE_TOKENS)},
    }


def _parse(data: bytes, name: str) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ExportError(f"{name} is not a SentencePiece model: it cannot be parsed.") from error
    if not 0 < len(model.pieces) <= MAX_PIECES:
        raise ExportError(f"{name} is not a SentencePiece model: it has {len(model.pieces) or 'no'} pieces.")
    return model


def _tokenizer_json(checkpoint: Path) -> dict[str, Any] | None:
    file = checkpoint / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        table = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ExportError(f"{file} is not JSON ({error}); copy it from the base model again.") from error
    if not isinstance(table, dict) or not isinstance(table.get("model"), dict) or "vocab" not in table["model"]:
        raise ExportError(f"{file} holds no vocabulary; copy it from the base model again.")
    return table


def _added(table: Mapping[str, Any]) -> dict[int, str]:
    return {token["id"]: token["content"] for token in table.get("added_tokens", ())}


def _lay_over(model: Any, added: Mapping[int, str]) -> None:
    """Give the pieces the names of tokenizer.json's added tokens, as tokenizer.json itself does. Ids beyond the pieces have no row."""
    kinds = type(model).SentencePiece
    for i, content in added.items():
        if i >= len(model.pieces):
            continue
        piece = model.pieces[i]
        if piece.piece != content:
            piece.piece = content
            piece.type = kinds.USER_DEFINED
        if content in WIRE_TOKENS:
            piece.type = kinds.USER_DEFINED
    twice = len(model.pieces) - len({piece.piece for piece in model.pieces})
    if twice:
        raise ExportError(f"tokenizer.model and tokenizer.json do not belong together: {twice} pieces would have the name of another.")


def _rebuild(table: Mapping[str, Any]) -> Any:
    """A Gemma-style SentencePiece model (BPE, byte fallback, no normalisation) from tokenizer.json.

    Scores fall with the id, which is the order of the merges in a vocabulary that SentencePiece's BPE has made.
    """
    from sentencepiece import sentencepiece_model_pb2

    kind = table["model"].get("type")
    if kind != "BPE":
        raise ExportError(f"tokenizer.model is missing, and it cannot be made from a tokenizer.json of type {kind}, only from BPE.")
    added = _added(table)
    by_id = {i: piece for piece, i in table["model"]["vocab"].items()} | added
    count = max(by_id) + 1
    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    trainer = model.trainer_spec
    trainer.model_type, trainer.vocab_size, trainer.byte_fallback = 2, count, True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = (
        next((i for i, piece in by_id.items() if piece == mark), -1) for mark in MARKS
    )
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = MARKS
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.escape_whitespaces = "identity", True
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    model.denormalizer_spec.SetInParent()
    for i in range(count):
        piece = model.pieces.add()
        piece.piece, piece.score = by_id.get(i, f"<unused_{i}>"), 0.0
        if piece.piece == "<unk>":
            piece.type = kinds.UNKNOWN
        elif piece.piece in MARKS:
            piece.type = kinds.CONTROL
        elif _BYTE.fullmatch(piece.piece):
            piece.type = kinds.BYTE
        elif i in added or i not in by_id:
            piece.type = kinds.USER_DEFINED
        else:
            piece.type, piece.score = kinds.NORMAL, -float(i)
    return model
