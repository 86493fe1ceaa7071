"""Attention over a pack, and the loss on completion tokens only: the gradients of the padded batch for less work.

A pack is `[prefix][suffix 1]...[suffix n]` in one row (`pipeline.packing`). The prefix attends causally to itself, each
suffix to the prefix and causally to itself, and sliding windows count logical positions (suffix i continues at P). No
N x N mask is ever built: one causal block for the prefix, one rectangular block for all suffixes against shared keys.
The output layer, 63% of the weights of the 270M model, is applied only to positions whose next token is learned.

It hangs into Hugging Face models through their own interfaces: an attention implementation named `shared_prefix`, and a
`PackGeometry` handed over in the place of the attention mask. Anything without a geometry (generation, plain batches)
runs through Hugging Face's sdpa unchanged.

This module knows nothing about trainers, optimisers or text.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.packing import IGNORE, Pack

NAME = "shared_prefix"
"""The name of the attention implementation in Hugging Face's registry."""

CHUNK = 1024
"""Positions per chunk of the output layer: 1,024 x 262,144 logits are 1 GiB in float32, and one GEMM is already full."""


# ---------------------------------------------------------------------------------------------------------- geometry


@dataclass(frozen=True)
class PackGeometry:
    """The shape of one pack for one type of layer; travels through Hugging Face's model as its attention mask.

    P prefix tokens, n suffixes, the longest S tokens; `first_key` is the first prefix key that any suffix sees.
    """

    prefix_length: int
    first_key: int
    count: int
    longest: int
    to_rectangle: Tensor | None  # (n*S,) token of the suffix part for each cell; None: all suffixes are S long
    to_row: Tensor | None  # (suffix tokens,) cell of each token
    prefix_mask: Tensor | None  # (P, P) bool, where a sliding window cuts; None: plain causal
    suffix_mask: Tensor  # (S, P - first_key + S) bool


def geometry(prefix_length: int, suffix_lengths: list[int], window: int | None, device: Any = "cpu") -> PackGeometry:
    """The geometry of a pack under a sliding window of `window` tokens (None: full attention)."""
    count, longest = len(suffix_lengths), max(suffix_lengths)
    to_rectangle = to_row = None
    if min(suffix_lengths) != longest:
        lengths = torch.tensor(suffix_lengths)
        start = torch.cumsum(lengths, 0) - lengths
        column = torch.arange(longest)
        # A cell past the end of its suffix repeats the last token; nothing real attends to it and it is not read back.
        to_rectangle = (start[:, None] + torch.minimum(column[None], lengths[:, None] - 1)).reshape(-1).to(device)
        to_row = (column[None] < lengths[:, None]).reshape(-1).nonzero().squeeze(1).to(device)
    first_key, prefix_mask = 0, None
    if window is not None:
        first_key = max(0, prefix_length - window + 1)
        if prefix_length > window:
            position = torch.arange(prefix_length)
            distance = position[:, None] - position[None]
            prefix_mask = ((distance >= 0) & (distance < window)).to(device)
    query = prefix_length + torch.arange(longest)
    key = torch.cat([torch.arange(first_key, prefix_length), query])
    distance = query[:, None] - key[None]
    suffix_mask = distance >= 0
    if window is not None:
        suffix_mask &= distance < window
    return PackGeometry(
        prefix_length, first_key, count, longest, to_rectangle, to_row, prefix_mask, suffix_mask.to(device)
    )


def geometries(config: Any, prefix_length: int, suffix_lengths: list[int], device: Any) -> dict[str, PackGeometry]:
    """One geometry for each type of layer of a Hugging Face config, under the names its attention masks have."""
    return {
        kind: geometry(
            prefix_length, suffix_lengths, config.sliding_window if kind == "sliding_attention" else None, device
        )
        for kind in sorted(set(config.layer_types))
    }


# --------------------------------------------------------------------------------------------------------- attention


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: PackGeometry | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Hugging Face's attention function: query (1, heads, L, D), key and value (1, kv heads, L, D) -> (1, L, heads, D)."""
    shape = attention_mask
    if not isinstance(shape, PackGeometry):
        return sdpa_attention_forward(module, query, key, value, shape, dropout=dropout, scaling=scaling, **kwargs)
    heads, dim, kv_heads = query.shape[1], query.shape[3], key.shape[1]
    group, prefix, n, longest = heads // kv_heads, shape.prefix_length, shape.count, shape.longest

    def rectangle(x: Tensor) -> Tensor:
        x = x[0, :, prefix:]
        if shape.to_rectangle is not None:
            x = x.index_select(1, shape.to_rectangle)
        return x.reshape(x.shape[0], n, longest, dim).transpose(0, 1)  # (n, heads, S, D)

    # The query heads of one kv head fold into rows, so that its keys are read once.
    out = _suffixes(
        rectangle(query).reshape(n, kv_heads, group * longest, dim),
        rectangle(key),
        rectangle(value),
        key[:, :, shape.first_key : prefix],
        value[:, :, shape.first_key : prefix],
        shape.suffix_mask,
        scaling if scaling is not None else dim**-0.5,
    )
    out = out.reshape(n, heads, longest, dim).permute(0, 2, 1, 3).reshape(n * longest, heads, dim)
    if shape.to_row is not None:
        out = out.index_select(0, shape.to_row)
    if prefix:
        key, value = (x[:, :, :prefix].repeat_interleave(group, 1) for x in (key, value))
        mask = shape.prefix_mask
        head = F.scaled_dot_product_attention(
            query[:, :, :prefix], key, value, attn_mask=mask, is_causal=mask is None, scale=scaling
        )
        out = torch.cat([head[0].transpose(0, 1), out])
    return out[None], None


def _suffixes(q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, mask: Tensor, scale: float) -> Tensor:
    """q (n, kv, G*S, D), own k and v (n, kv, S, D), prefix kp and vp (1, kv, p, D), mask (S, p+S) -> (n, kv, G*S, D)."""
    n, group = q.shape[0], q.shape[2] // mask.shape[0]
    k = torch.cat([kp.expand(n, -1, -1, -1), k], 2)
    v = torch.cat([vp.expand(n, -1, -1, -1), v], 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.repeat(group, 1), scale=scale)


def _suffixes_gemm(q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Shapes as in `_suffixes`. One GEMM of all suffixes against the one prefix, a small one against their own keys."""
    n, kv, rows, dim = q.shape
    p, group = kp.shape[2], rows // mask.shape[0]
    q = q * scale
    score = torch.matmul(q, k.transpose(2, 3))
    if p:
        folded = q.transpose(0, 1).reshape(kv, n * rows, dim)
        shared = torch.bmm(folded, kp[0].transpose(1, 2)).view(kv, n, rows, p).transpose(0, 1)
        score = torch.cat([shared, score], -1)
    bias = torch.zeros(mask.shape, dtype=score.dtype, device=score.device).masked_fill_(~mask, float("-inf"))
    weight = torch.softmax(score + bias.repeat(group, 1), -1)
    out = torch.matmul(weight[..., p:], v)
    if p:
        folded = weight[..., :p].transpose(0, 1).reshape(kv, n * rows, p)
        out = out + torch.bmm(folded, vp[0]).view(kv, n, rows, dim).transpose(0, 1)
    return out


def register() -> None:
    """Make `shared_prefix` known to Hugging Face; to do so again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


# -------------------------------------------------------------------------------------------------------------- loss


class _SummedCrossEntropy(torch.autograd.Function):
    """sum of CE(hidden @ weight.T, targets), its gradients made in the forward pass, chunk by chunk.

    Three GEMMs, nothing computed twice, and never more than one chunk of logits in memory. The weight's gradient adds up
    in the weight's own dtype, which is float32 in mixed precision.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, chunk, with_grad):
        grad_hidden = torch.empty_like(hidden) if with_grad and ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if with_grad and ctx.needs_input_grad[1] else None
        matrix = weight.to(hidden.dtype)
        precise = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        loss = torch.zeros((), dtype=precise, device=hidden.device)
        hits = torch.zeros((), dtype=torch.long, device=hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            h, t = hidden[start : start + chunk], targets[start : start + chunk, None]
            z = (h @ matrix.t()).to(precise)
            hits += (z.argmax(-1, keepdim=True) == t).sum()
            normaliser = torch.logsumexp(z, -1, keepdim=True)
            loss += (normaliser - z.gather(1, t)).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            z.sub_(normaliser).exp_().scatter_add_(1, t, torch.full_like(t, -1, dtype=precise))  # softmax - one-hot
            z = z.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] = z @ matrix
            if grad_weight is not None and grad_weight.dtype == z.dtype:
                grad_weight.addmm_(z.t(), h)
            elif grad_weight is not None:
                grad_weight += z.t() @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    def backward(ctx, grad, _):
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight * grad.to(grad_weight.dtype)
        return grad_hidden, grad_weight, None, None, None


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """hidden (T, H), weight (V, H), targets (T,) -> the summed cross-entropy in nats, and how many top-1 guesses are right."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _SummedCrossEntropy.apply(hidden, weight, targets, chunk, torch.is_grad_enabled())


def pack_tensors(pack: Pack, device: Any = None) -> dict[str, Any]:
    """A pack as a plain dict, which accelerate moves between devices: (1, L) tokens and positions, (T,) the positions
    that predict a learned token and their targets, and the geometry's integers."""
    learned = [i for i, label in enumerate(pack.shift_labels) if label != IGNORE]
    return {
        "input_ids": torch.tensor([pack.input_ids], device=device),
        "position_ids": torch.tensor([pack.position_ids], device=device),
        "predicting": torch.tensor(learned, dtype=torch.long, device=device),
        "targets": torch.tensor([pack.shift_labels[i] for i in learned], dtype=torch.long, device=device),
        "prefix_length": pack.prefix_length,
        "suffix_lengths": list(pack.suffix_lengths),
    }


def packed_loss(causal_lm: nn.Module, pack: Pack | dict[str, Any], chunk: int = CHUNK) -> tuple[Tensor, Tensor, int]:
    """(summed loss in nats, right top-1 guesses, learned tokens) of one pack under a Hugging Face causal language model.

    Divide by the learned tokens of the whole optimiser step and call `backward()`: the gradients are those of the plain
    padded batch. The model is switched to the `shared_prefix` attention the first time.
    """
    if causal_lm.config._attn_implementation != NAME:
        _switch(causal_lm)
    if isinstance(pack, Pack):
        pack = pack_tensors(pack, causal_lm.device)
    hidden = (
        causal_lm.get_decoder()(
            input_ids=pack["input_ids"],
            position_ids=pack["position_ids"],
            attention_mask=geometries(
                causal_lm.config, pack["prefix_length"], pack["suffix_lengths"], pack["input_ids"].device
            ),
            use_cache=False,
        )
        .last_hidden_state[0]
        .index_select(0, pack["predicting"])
    )
    loss, hits = summed_cross_entropy(hidden, causal_lm.get_output_embeddings().weight, pack["targets"], chunk)
    return loss, hits, pack["targets"].numel()


def _switch(causal_lm: nn.Module) -> None:
    config, head = causal_lm.config, causal_lm.get_output_embeddings()
    if getattr(config, "attention_dropout", 0) or getattr(config, "attn_logit_softcapping", None):
        raise ValueError("shared-prefix attention has neither dropout nor soft-capping; the model's config asks for one")
    if getattr(config, "final_logit_softcapping", None) or type(head) is not nn.Linear or head.bias is not None:
        raise ValueError(f"the output layer must be a plain linear layer without bias or soft-capping, found {head}")
    register()
    causal_lm.set_attn_implementation(NAME)


def install(causal_lm: nn.Module) -> None:
    """Let the model's own `forward` take a pack: `model(packed=pack_tensors(pack))` returns what `packed_loss` does.

    Wrappers around the model (peft, autocast, DistributedDataParallel) then apply as to any call. Everything else that
    `forward` takes works as before. Raises ValueError for a model that the packed loss cannot represent.
    """
    _switch(causal_lm)
    plain = causal_lm.forward

    def forward(self, *args, packed=None, **kwargs):
        return plain(*args, **kwargs) if packed is None else packed_loss(self, packed)

    causal_lm.forward = types.MethodType(forward, causal_lm)
