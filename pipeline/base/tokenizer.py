"""The embedded base's tokenizer: SentencePiece BPE, 2,048 pieces, made from the synthetic calls' own text.

Two choices make copying easy for a very small model, and are the difference to Gemma's own tokenizer:

- A piece is a run of letters, a run of punctuation or one digit, never a mixture, and a space is a piece of its own. So a word is
  the same pieces in a request, in a tool's name and behind `<escape>`, and an argument is copied piece for piece.
- The control tokens stand at the ids they have in FunctionGemma (46-52, 105, 106), so that stop ids, masks and exported metadata
  are the same numbers.

Knows nothing of the model or of training.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

VOCABULARY_SIZE = 2048
PAD, EOS, BOS, UNK = 0, 1, 2, 3
#: id -> text of the tokens that FunctionGemma has at the same place (shared facts: special_tokens of the model's tokenizer).
CONTROL_TOKENS = {
    46: "<start_function_declaration>",
    47: "<end_function_declaration>",
    48: "<start_function_call>",
    49: "<end_function_call>",
    50: "<start_function_response>",
    51: "<end_function_response>",
    52: "<escape>",
    105: "<start_of_turn>",
    106: "<end_of_turn>",
}
#: The stops of google/functiongemma-270m-it: <eos>, <start_function_response>, <end_of_turn>.
STOP_IDS = [1, 50, 106]
_NEWLINE_ID = 107

#: What may grow into one piece while the tokenizer is trained: a word with its capital, capitals alone, a run of punctuation.
#: Digits stay single.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\w\s]+|_|\d")
_ANY_CONTROL = re.compile("|".join(map(re.escape, CONTROL_TOKENS.values())))


def user_defined_symbols() -> list[str]:
    """The pieces from id 4 to 107 in order: unused ones between the control tokens, then the newline."""
    names = {4: "<mask>", _NEWLINE_ID: "\n", **CONTROL_TOKENS}
    unused = iter(range(200))
    return [names.get(i) or f"<unused{next(unused)}>" for i in range(4, _NEWLINE_ID + 1)]


def train_sentencepiece(texts: Iterable[str]) -> bytes:
    """Train the SentencePiece model on rendered prompts and completions; returns the serialised `tokenizer.model`.

    The trainer sees one word or one run of punctuation per line, with the frequency it has in `texts`: what it never sees
    together it never merges. It never sees a space, so that piece is added at the end.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    words = (w for text in texts for part in _ANY_CONTROL.split(text) for w in _WORD.findall(part))
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=words, model_writer=out, model_type="bpe", vocab_size=VOCABULARY_SIZE - 1,
        pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=UNK, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols=user_defined_symbols(), byte_fallback=True, split_digits=True, character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False, remove_extra_whitespaces=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    proto.pieces.add(piece="\u2581", score=proto.pieces[-1].score - 1, type=proto.SentencePiece.NORMAL)
    proto.trainer_spec.vocab_size = VOCABULARY_SIZE
    return proto.SerializeToString()


def write_tokenizer(model: bytes, folder: Path, chat_template: str) -> None:
    """Write `tokenizer.model`, `tokenizer.json` (the same pieces and merges, for transformers) and `tokenizer_config.json`."""
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    normal = [p.piece for p in proto.pieces if p.type == p.NORMAL]
    # SentencePiece scores a BPE piece by the order it was merged in, so every way to cut it into two pieces is a merge of that rank.
    merges = [(p[:k], p[k:]) for p in normal for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [AddedToken(t, special=True, normalized=False) for t in ("<pad>", "<eos>", "<bos>", "<unk>")]
    tokenizer.add_special_tokens(special + [AddedToken(CONTROL_TOKENS[i], special=True, normalized=False) for i in (50, 105, 106)])
    plain = [s for s in user_defined_symbols() if s not in (CONTROL_TOKENS[50], CONTROL_TOKENS[105], CONTROL_TOKENS[106])]
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
        "unk_token": "<unk>", "clean_up_tokenization_spaces": False, "padding_side": "left", "model_max_length": 4096,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
