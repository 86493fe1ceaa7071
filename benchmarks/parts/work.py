"""Floating-point operations and bytes of a training step or of generation, counted from shapes.

A product of (m, k) and (k, n) is 2mkn operations; its two gradients are as much each. Attention is counted dense, as the CPU kernels
compute it. Norms, activations and the softmax are left out: few operations, but each a pass over memory, which is what is between the
counted time and the measured one.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        layer = config.hidden_size * (2 * q + 2 * kv + 3 * config.intermediate_size)
        return cls(
            config.num_hidden_layers, config.hidden_size, config.num_hidden_layers * layer, config.vocab_size * config.hidden_size, q, kv,
        )  # fmt: skip

    @property
    def weights(self) -> int:
        return self.body + self.head


def plain_step(model: Model, rows: int, length: int, scored: int, checkpointing: bool) -> dict[str, float]:
    """Operations of a step over `rows` full rows, with the output layer at `scored` positions of each, by TRL's fused head.

    Checkpointing computes the layers' forward pass twice; the fused head computes its logits twice.
    """
    passes = 4 if checkpointing else 3
    return {
        "layers": passes * 2 * model.body * rows * length,
        "attention": passes * 4 * model.layers * model.attention * rows * length**2,
        "head": 4 * 2 * model.head * rows * scored,
    }


def packed_step(model: Model, rows: int, prefix: int, suffix: int, scored: int, checkpointing: bool = False) -> dict[str, float]:
    """Operations of the same step when the prefix is computed once, and logits once."""
    passes = 4 if checkpointing else 3
    pairs = prefix**2 + rows * suffix * (prefix + suffix)
    return {
        "layers": passes * 2 * model.body * (prefix + rows * suffix),
        "attention": passes * 4 * model.layers * model.attention * pairs,
        "head": 3 * 2 * model.head * rows * scored,
    }


def optimiser_bytes(model: Model, width: int) -> int:
    """AdamW reads weights, gradients and two moments and writes all but the gradients; clipping reads the gradients and scales them."""
    return (7 + 3) * width * model.weights
