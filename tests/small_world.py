"""A small world to test in: tiny Gemma3 models with random weights, a tiny tokenizer, token rows that share prefixes.

The tokenizer's control tokens are single tokens with FunctionGemma's ids (46-52, 105, 106; stops 1, 50, 106). Everything is made from
a seed in well under a second and needs no network. What this knows of the project is the vocabulary's layout and `TokenizedExample`.
"""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.base.tokenizer import BOS, EOS, PAD, STOP_IDS, UNK, user_defined_symbols, write_tokenizer
from pipeline.packing import TokenizedExample, tokenized

VOCABULARY_SIZE = 512

#: What the tiny tokenizer is trained on; everything else is spelled in bytes.
TEXT = """You are a model that can do function calling with the following functions developer user model
declaration call response description parameters properties required type STRING OBJECT INTEGER NUMBER BOOLEAN ARRAY
set get turn open close start stop create show the a to in on off light color colour red green blue yellow kitchen room
change background title alert message name value number temperature degrees please make it what is app bar new hello world"""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@cache
def tokenizer_model() -> bytes:
    """The tiny SentencePiece model: 512 pieces, byte fallback."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    out = io.BytesIO()
    words = [*TEXT.split(), *"{}[]:,.!?'\"_-#/", *"0123456789"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 3), model_writer=out, model_type="bpe", vocab_size=VOCABULARY_SIZE - 1,
        pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=UNK, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols=user_defined_symbols(), byte_fallback=True, split_digits=True, character_coverage=1.0,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    proto.pieces.add(piece="\u2581", score=proto.pieces[-1].score - 1, type=proto.SentencePiece.NORMAL)
    proto.trainer_spec.vocab_size = VOCABULARY_SIZE
    return proto.SerializeToString()


def tiny_tokenizer(folder: Path) -> Any:
    """The tiny tokenizer, written to `folder` (tokenizer.model, tokenizer.json, ...) and loaded as transformers loads it."""
    from transformers import AutoTokenizer

    write_tokenizer(tokenizer_model(), Path(folder), CHAT_TEMPLATE)
    return AutoTokenizer.from_pretrained(folder)


def tiny_config(**overrides: Any) -> Any:
    """A Gemma3TextConfig: 3 layers (sliding, full, sliding), 32 wide, 4 heads of 8, 1 key-value head, window 8, 512 tokens."""
    from transformers import Gemma3TextConfig

    values = {
        "vocab_size": VOCABULARY_SIZE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8,
        "max_position_embeddings": 4096, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS,
    } | overrides  # fmt: skip
    kinds = ("sliding_attention", "full_attention")
    values.setdefault("layer_types", [kinds[i % 2] for i in range(values["num_hidden_layers"])])
    return Gemma3TextConfig(**values)


def tiny_model(seed: int = 0, attention: str = "sdpa", **overrides: Any) -> Any:
    """A Gemma3ForCausalLM with random float32 weights, norms included, that depend on `seed` and the shape only."""
    import torch
    from transformers import Gemma3ForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(tiny_config(**overrides, attn_implementation=attention))
        with torch.no_grad():
            for parameter in model.parameters():  # Hugging Face's 0.02 makes every model nearly the uniform one
                parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5))
    model.generation_config.eos_token_id = STOP_IDS
    model.generation_config.pad_token_id = PAD
    return model.eval()


def tiny_checkpoint(folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """A whole base model on disk: weights, config, generation config and tokenizer, as a Hub repository holds them."""
    tiny_model(seed, **overrides).save_pretrained(folder)
    tiny_tokenizer(folder)
    return Path(folder)


def random_tokens(draw: random.Random, count: int, vocabulary: int = VOCABULARY_SIZE) -> list[int]:
    """Ordinary tokens (no control token, so nothing stops or pads by chance)."""
    return [draw.randrange(110, vocabulary) for _ in range(count)]


def random_examples(
    seed: int, count: int = 5, prefix: int = 20, context: tuple[int, int] = (2, 9), completion: tuple[int, int] = (1, 14)
) -> list[TokenizedExample]:
    """Examples that share their first `prefix` tokens; then context and learned completion of random lengths (inclusive)."""
    draw = random.Random(seed)
    shared = random_tokens(draw, prefix)
    examples = []
    for _ in range(count):
        before, after = (random_tokens(draw, draw.randint(*bounds)) for bounds in (context, completion))
        examples.append(tokenized(shared + before + after, [-100] * (prefix + len(before)) + after))
    return examples


def padded_batch(examples: list[TokenizedExample]) -> dict[str, Any]:
    """The plain right-padded batch: (n, longest) input_ids, labels, attention_mask."""
    import torch

    longest = max(len(e.input_ids) for e in examples)

    def padded(rows: list[list[int]], filler: int) -> Any:
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([e.input_ids for e in examples], PAD),
        "labels": padded([e.labels for e in examples], -100),
        "attention_mask": padded([[1] * len(e.input_ids) for e in examples], 0),
    }
