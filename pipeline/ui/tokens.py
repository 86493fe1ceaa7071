"""A text cut into the tokens that a model reads, for showing and counting. Uses the tokenizer's file alone: no torch, no transformers.

It knows nothing about HTML (widgets.token_text paints the pieces) nor about training (pipeline.packing makes the integers).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline import functiongemma
from pipeline.dataset import Example
from pipeline.model import EMBEDDED
from pipeline.tools import CONTROL_TOKENS, ToolSpec

_CONTROL = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))

Piece = tuple[str, bool, bool]
"""Text of one token, whether it is a control token, whether it is learned."""


@lru_cache(maxsize=4)
def tokenizer(folder: Path = EMBEDDED) -> Any:
    """The tokenizer of a model's folder (`tokenizers.Tokenizer`)."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def count(text: str, folder: Path = EMBEDDED) -> int:
    """How many tokens `text` is."""
    return len(tokenizer(folder).encode(text, add_special_tokens=False).ids)


def pieces(text: str, learned: bool = False, folder: Path = EMBEDDED) -> list[Piece]:
    """`text` as its tokens. A character that takes several tokens (bytes) is one piece, so that it can be read."""
    found: list[Piece] = []
    end = 0
    for _, stop in tokenizer(folder).encode(text, add_special_tokens=False).offsets:
        if stop > end:  # tokens of one character share their offsets
            piece = text[end:stop]
            found.append((piece, bool(_CONTROL.fullmatch(piece)), learned))
            end = stop
    return [*found, (text[end:], False, learned)] if end < len(text) else found


def of_example(example: Example, tools: Sequence[ToolSpec], folder: Path = EMBEDDED) -> list[Piece]:
    """An example as the model is trained on it: the prompt as context, the completion learned. PipelineError if it cannot be rendered."""
    prompt, completion = functiongemma.render_example(list(example.messages), [tool.to_json() for tool in tools])
    return [*pieces(prompt, False, folder), *pieces(completion, True, folder)]


@lru_cache(maxsize=512)
def _cost(declaration: str) -> int:
    return count(declaration)


def cost(tool: ToolSpec) -> int:
    """Tokens that a tool's declaration takes in every prompt."""
    text = functiongemma.render_prompt([{"role": "user", "content": ""}], [tool.to_json()])
    start, end = text.index("<start_function_declaration>"), text.rindex("<end_function_declaration>")
    return _cost(text[start : end + len("<end_function_declaration>")])
