"""Attention over a pack, and the loss on completion tokens only: the gradients of the padded batch for less work.

A pack is `[prefix][suffix 1]...[suffix n]` in one row (`pipeline.packing`). The prefix attends causally to itself, each
suffix to the prefix and causally to itself, and sliding windows count logical positions (suffix i continues at P). No
N x N mask is ever built: one causal block for the prefix, one rectangular block for all suffixes against shared keys.
The output layer, 63% of the weights of the 270M model, is applied only to positions whose next token is learned.

It hangs into Hugging Face models through their own interfaces: an attention implementation named `shared_prefix`, and a
`Geometry` handed over in the place of the attention mask. Anything without a geometry (generation, plain batches)
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

CHUNK = 256
"""Positions whose exponentials are kept at a time: with 262,144 tokens, 0.25 GiB in float32; 1,024 are no faster on a CPU."""

BLOCK_CPU, BLOCK_GPU = 2**20, 2**27
"""Logits at a time. 4 MB of float32 stay in a CPU's cache: in bfloat16 1.8 times as fast as all 2**28 at once, in float32 1.15
times. A GPU gains nothing by that and pays for every launch."""


# ---------------------------------------------------------------------------------------------------------- geometry


class Geometry:
    """What a layer attends to, handed through Hugging Face's model in the place of its attention mask."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query (rows, heads, L, D), key and value (rows, kv heads, L, D) of this layer -> (rows, L, heads, D)."""
        raise NotImplementedError


@dataclass(frozen=True)
class PackGeometry(Geometry):
    """The shape of one pack for one type of layer.

    P prefix tokens, n suffixes, the longest S tokens; `first_key` is the first prefix key that any suffix sees.
    """

    prefix_length: int
    first_key: int
    count: int
    longest: int
    to_rectangle: Tensor | None  # (n*S,) token of the suffix part for each cell; None: all suffixes are S long
    to_row: Tensor | None  # (suffix tokens,) cell of each token
    prefix_mask: Tensor | None  # (P, P) bool, where a sliding window cuts; None: plain causal
    suffix_mask: Tensor  # (1, S, P - first_key + S) bool

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prefix, first = self.prefix_length, self.first_key
        out = self.attend_suffixes(
            *(x[:, :, prefix:] for x in (query, key, value)), *(x[:, :, first:prefix] for x in (key, value)), scale
        )
        if prefix:
            group = query.shape[1] // key.shape[1]
            key, value = (x[:, :, :prefix].repeat_interleave(group, 1) for x in (key, value))
            mask = self.prefix_mask
            head = F.scaled_dot_product_attention(
                query[:, :, :prefix], key, value, attn_mask=mask, is_causal=mask is None, scale=scale
            )
            out = torch.cat([head.transpose(1, 2), out], 1)
        return out

    def attend_suffixes(self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, scale: float) -> Tensor:
        """q (1, heads, suffix tokens, D), k and v likewise, kp and vp (1, kv heads, visible prefix, D) -> (1, tokens, heads, D)."""
        heads, dim, kv_heads, n, longest = q.shape[1], q.shape[3], k.shape[1], self.count, self.longest
        rows = heads // kv_heads * longest  # the query heads of one kv head fold into rows, so that its keys are read once
        # Two GEMMs keep n x rows x keys weights for the backward pass, SDPA a copy of the prefix's keys and values for each
        # suffix. The smaller is also the faster: of 270M's shape up to 128 tokens, of the embedded base's up to 32.
        form = attend_gemm if kp.shape[2] and rows <= 2 * dim else _attend_sdpa
        q = self.rectangle(q).reshape(n, kv_heads, rows, dim)
        out = form(q, self.rectangle(k), self.rectangle(v), kp, vp, self.suffix_mask, scale)
        out = out.reshape(n, heads, longest, dim).transpose(1, 2).reshape(n * longest, heads, dim)
        return (out if self.to_row is None else out.index_select(0, self.to_row))[None]

    def rectangle(self, x: Tensor) -> Tensor:
        """(1, heads, suffix tokens, D) -> (n, heads, S, D)"""
        x = x[0] if self.to_rectangle is None else x[0].index_select(1, self.to_rectangle)
        return x.reshape(x.shape[0], self.count, self.longest, x.shape[2]).transpose(0, 1)


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
    suffix_mask = suffix_mask[None].to(device)
    return PackGeometry(prefix_length, first_key, count, longest, to_rectangle, to_row, prefix_mask, suffix_mask)


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
    attention_mask: Geometry | Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Hugging Face's attention function; shapes as in `Geometry.attend`."""
    if not isinstance(attention_mask, Geometry):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    return attention_mask.attend(module.layer_idx, query, key, value, scale), None


def _attend_sdpa(q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Shapes and result as `attend_gemm`; every row gets its own copy of the prefix's keys and values."""
    n, group = q.shape[0], q.shape[2] // mask.shape[1]
    k = torch.cat([kp.expand(n, -1, -1, -1), k], 2)
    v = torch.cat([vp.expand(n, -1, -1, -1), v], 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.repeat(1, group, 1)[:, None], scale=scale)


def attend_gemm(q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of n rows to one prefix and to their own keys: one GEMM of all rows against the prefix, small ones for the rest.

    q (n, kv, G*S, D) with G query heads per kv head, own k and v (n, kv, T, D), prefix kp and vp (1, kv, p, D), mask
    (n or 1, S, p + T), True where a query sees a key -> (n, kv, G*S, D).
    """
    n, kv, rows, dim = q.shape
    p, group = kp.shape[2], rows // mask.shape[1]
    q = q * scale
    shared = torch.bmm(q.transpose(0, 1).reshape(kv, n * rows, dim), kp[0].transpose(1, 2))
    score = torch.cat([shared.view(kv, n, rows, p).transpose(0, 1), torch.matmul(q, k.transpose(2, 3))], -1)
    score = score.masked_fill(~mask.repeat(1, group, 1)[:, None], float("-inf"))
    weight = torch.softmax(score, -1, dtype=torch.promote_types(score.dtype, torch.float32)).to(q.dtype)
    out = torch.bmm(weight[..., :p].transpose(0, 1).reshape(kv, n * rows, p), vp[0])
    return out.view(kv, n, rows, dim).transpose(0, 1) + torch.matmul(weight[..., p:], v)


def register() -> None:
    """Make `shared_prefix` known to Hugging Face; to do so again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


# -------------------------------------------------------------------------------------------------------------- loss


class _SummedCrossEntropy(torch.autograd.Function):
    """sum of CE(hidden @ weight.T, targets), its gradients made in the forward pass.

    The vocabulary goes by in blocks that stay in the processor's cache: logits, their peak, exponentials, the sum of these; kept is
    exp(logit - peak of the row in the block). What turns that into a probability is one factor per row and block, known at the
    end, and is applied to the (T, H) sides of the two gradients' GEMMs. So three GEMMs, one exponential, and no pass over logits
    in memory. The target's probability minus one is added apart: rounded with the rest to bfloat16 it would be lost where the
    model is sure. The weight's gradient adds up in the weight's own dtype, which is float32 in mixed precision.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, chunk, with_grad, rest):
        precise = torch.promote_types(hidden.dtype, torch.float32)
        grad_hidden = torch.zeros_like(hidden, dtype=precise) if with_grad and ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if with_grad and ctx.needs_input_grad[1] else None
        loss = torch.zeros((), dtype=precise, device=hidden.device)
        hits = torch.zeros((), dtype=torch.long, device=hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            h, t = hidden[start : start + chunk], targets[start : start + chunk, None]
            size = max(1, (BLOCK_CPU if h.device.type == "cpu" else BLOCK_GPU) // h.shape[0])
            blocks = [slice(low, min(low + size, weight.shape[0])) for low in range(0, weight.shape[0], size)]
            peaks, sums, kept, right = [], [], [], torch.zeros(t.shape, dtype=precise, device=h.device)
            for block in blocks:
                z = (h @ weight[block].to(h.dtype).t()).to(precise)
                here, place = (t >= block.start) & (t < block.stop), (t - block.start).clamp_(0, block.stop - block.start - 1)
                right = torch.where(here, z.gather(1, place), right)
                peaks.append(z.amax(1, keepdim=True))
                z.sub_(peaks[-1]).exp_()
                sums.append(z.sum(1, keepdim=True))
                if with_grad:
                    kept.append(z.scatter_(1, place, z.gather(1, place).masked_fill_(here, 0)).to(h.dtype))
            peak = torch.cat(peaks, 1)
            normaliser = (peak + torch.cat(sums, 1).log_()).logsumexp(1, keepdim=True)
            loss += (normaliser - right).sum()
            hits += (right == peak.amax(1, keepdim=True)).sum()
            if not with_grad:
                continue
            factor, missing = (peak - normaliser).exp_(), (right - normaliser).exp_() - 1
            for block, e, f in zip(blocks, kept, factor.split(1, 1), strict=True):
                if grad_hidden is not None:
                    grad_hidden[start : start + chunk] += (e @ weight[block].to(h.dtype)) * f
                if grad_weight is not None and grad_weight.dtype == h.dtype:
                    grad_weight[block].addmm_(e.t(), (h * f).to(h.dtype))
                elif grad_weight is not None:
                    grad_weight[block] += e.t() @ (h * f).to(h.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] += missing * weight[t[:, 0]]
            if grad_weight is not None:
                grad_weight.index_add_(0, t[:, 0], (missing * h).to(weight.dtype))
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtype, ctx.rest = hidden.dtype, rest
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    def backward(ctx, grad, _):
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden.mul_(grad).to(ctx.dtype)
        if grad_weight is not None:  # in place: it has the size of the largest matrix of the model
            grad_weight = grad_weight.mul_(grad)
        if ctx.rest is not None:
            ctx.rest.append(grad_weight)
            grad_weight = None
        return grad_hidden, grad_weight, None, None, None, None


class _TiedEmbedding(torch.autograd.Function):
    """Rows of a weight that the output layer also uses: its backward pass, which comes last, adds its few rows to the gradient
    that the output layer left in `rest`. Autograd would add two matrices of the weight's size, at the moment when all other
    gradients are in memory too."""

    @staticmethod
    def forward(ctx, ids, weight, padding, rest):
        ctx.save_for_backward(ids)
        ctx.padding, ctx.rest = padding, rest
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx, grad):
        (ids,), whole = ctx.saved_tensors, ctx.rest.pop()
        if ctx.padding is not None:
            grad = grad.masked_fill((ids == ctx.padding)[..., None], 0)
        return None, whole.index_add_(0, ids.flatten(), grad.flatten(0, -2).to(whole.dtype)), None, None


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = CHUNK, rest: list[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """hidden (T, H), weight (V, H), targets (T,) -> the summed cross-entropy in nats, and how many top-1 guesses are right.

    With `rest`, the weight's gradient is left there, for `_TiedEmbedding` to add its own and hand it on.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _SummedCrossEntropy.apply(hidden, weight, targets, chunk, torch.is_grad_enabled(), rest)


def _without_cast_cache(device: str) -> torch.autocast:
    """Autocast as it is, but without keeping the 16-bit copy of every weight to the end of the forward pass: each is used once, and
    for the 270M model they are 0.19 GiB."""
    return torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False)


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
    switch(causal_lm)
    if isinstance(pack, Pack):
        pack = pack_tensors(pack, causal_lm.device)
    embedding, weight, rest = causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings().weight, None
    inputs = {"input_ids": pack["input_ids"]}
    if embedding.weight is weight and weight.requires_grad and torch.is_grad_enabled():
        rest = []
        rows = _TiedEmbedding.apply(pack["input_ids"], weight, embedding.padding_idx, rest)
        inputs = {"inputs_embeds": rows * embedding.embed_scale.to(weight.dtype)}
    device = pack["input_ids"].device
    shapes = geometries(causal_lm.config, pack["prefix_length"], pack["suffix_lengths"], device)
    with _without_cast_cache(device.type):
        hidden = causal_lm.get_decoder()(**inputs, position_ids=pack["position_ids"], attention_mask=shapes, use_cache=False)
    hidden = hidden.last_hidden_state[0].index_select(0, pack["predicting"])
    loss, hits = summed_cross_entropy(hidden, weight, pack["targets"], chunk, rest)
    return loss, hits, pack["targets"].numel()


def switch(causal_lm: nn.Module) -> None:
    """Give the model the `shared_prefix` attention; raises ValueError if its config asks for what that does not have."""
    if causal_lm.config._attn_implementation == NAME:
        return
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
    switch(causal_lm)
    plain = causal_lm.forward

    def forward(self, *args, packed=None, **kwargs):
        return plain(*args, **kwargs) if packed is None else packed_loss(self, packed)

    causal_lm.forward = types.MethodType(forward, causal_lm)
