"""FunctionGemma 270M's shape with random weights, and rows of random tokens of exactly known lengths.

Speed and memory depend on shapes, not on what a model has learned. Nothing here knows how long anything takes.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from pipeline.packing import IGNORE, TokenizedExample

SHAPES: dict[str, dict[str, Any]] = {
    # config.json of google/functiongemma-270m-it
    "270m": {
        "vocab_size": 262_144, "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 512, "max_position_embeddings": 32_768,
    },
    "small": {  # only shows that a benchmark works
        "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32, "max_position_embeddings": 4096,
    },
}  # fmt: skip
FIRST, LAST = 300, 2048
"""Range of the random tokens: no control token of any tokenizer here, and all within the small shape's vocabulary."""


def config(shape: str) -> Any:
    """The Gemma3TextConfig of a shape: five sliding layers, then one full."""
    from transformers import Gemma3TextConfig

    values = SHAPES[shape]
    kinds = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(values["num_hidden_layers"])]
    return Gemma3TextConfig(**values, layer_types=kinds, pad_token_id=0, eos_token_id=1, bos_token_id=2)


def random_model(shape: str, dtype: str = "float32", attention: str = "sdpa", seed: int = 0) -> Any:
    """A Gemma3ForCausalLM as Hugging Face initialises it, the same for the same seed."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config(shape), dtype=getattr(torch, dtype), attn_implementation=attention)


def tokenizer() -> Any:
    """The embedded base's tokenizer. The trainers want one for its padding token; no text is tokenised with it."""
    from pipeline.model import EMBEDDED, load_tokenizer

    return load_tokenizer(EMBEDDED)


def tokens(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(FIRST, LAST) for _ in range(count)]


def examples(count: int, prefix: int, user: int, completion: int, seed: int = 0) -> list[TokenizedExample]:
    """`count` rows of a shared prefix, a user turn and a learned completion of exactly so many tokens."""
    draw = random.Random(f"{prefix} {seed}")
    shared, made = tokens(draw, prefix), []
    for _ in range(count):
        context, answer = shared + tokens(draw, user), tokens(draw, completion)
        made.append(TokenizedExample(context + answer, [IGNORE] * len(context) + answer, prefix + user - 1))
    return made


def checkpoint(folder: Path, shape: str, certain: bool = False) -> None:
    """A random model in bfloat16, as FunctionGemma's is stored, with the embedded base's tokenizer: 2,048 pieces for 262,144 rows.

    A `certain` one repeats the last token for ever, whatever number format its weights are stored in: the layers hardly change what the
    embedding says, which is nearest to itself, and rows without a piece are short. It costs what any other costs, and can be verified.
    """
    import torch

    from pipeline.hub.access import TOKENIZER_FILES
    from pipeline.model import EMBEDDED, load_tokenizer

    model = random_model(shape, "bfloat16")
    for file in TOKENIZER_FILES:
        if (EMBEDDED / file).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(EMBEDDED / file, folder / file)
    if certain:
        with torch.no_grad():
            model.model.embed_tokens.weight[len(load_tokenizer(folder)) :] *= 0.1
            for layer in model.model.layers:
                for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
                    norm.weight.fill_(-0.99)  # Gemma multiplies by 1 + weight
    model.save_pretrained(folder)
