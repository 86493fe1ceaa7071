"""Floating-point operations of a training step, counted from shapes.

A product of (m, k) and (k, n) is 2mkn operations; its two gradients are as much each. Attention is counted dense, as the CPU kernels
compute it. Norms, activations and the softmax are left out: few operations, but each a pass over memory, which is part of what lies
between the counted time and a measured one. Knows no hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Model:
    """The sizes that decide."""

    layers: int
    hidden: int
    body: int  # weights of all layers' matrices
    head: int  # weights of the output layer, which are the embedding's
    attention: int  # heads x head dimension
    key_width: int  # key-value heads x head dimension

    @classmethod
    def of(cls, config: Any) -> Model:
        """`config` is a Gemma3TextConfig, or the mapping of a config.json."""
        config = SimpleNamespace(**config) if isinstance(config, Mapping) else config
        q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        layer = config.hidden_size * (2 * q + 2 * kv + 3 * config.intermediate_size)
        return cls(
            config.num_hidden_layers, config.hidden_size, config.num_hidden_layers * layer, config.vocab_size * config.hidden_size, q, kv,
        )  # fmt: skip

    @property
    def weights(self) -> int:
        return self.body + self.head


def packed_step(
    model: Model, rows: float, prefix: float, suffix: float, scored: float, checkpointing: bool = False
) -> dict[str, float]:
    """Operations of a step over `rows` rows whose common prefix is computed once, with logits at `scored` positions of each, once.

    Checkpointing computes the layers' forward pass twice.
    """
    passes = 4 if checkpointing else 3
    pairs = prefix**2 + rows * suffix * (prefix + suffix)
    return {
        "layers": passes * 2 * model.body * (prefix + rows * suffix),
        "attention": passes * 4 * model.layers * model.attention * pairs,
        "head": 3 * 2 * model.head * rows * scored,
    }
