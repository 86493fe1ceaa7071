"""Batched greedy decoding that computes what prompts share once: the keys and values of their common prefix.

    prefill   prefix [0 .. P-1] once, then every rest of a prompt as one row of suffixes behind it (a pack, without its prefix)
    decode    one token for every prompt; its query meets the one prefix in a single GEMM, and the prompt's own keys beside it

Nothing is padded on the left and no key is copied per prompt, so sliding windows count logical positions by themselves. (Left-padded
suffixes behind Hugging Face's cached prefix do not: there, windows count physical places, and half of the answers came out wrong.)
In float32 the tokens are those of plain `model.generate(do_sample=False)`.

This module knows token ids only: no text, no tools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.packing import TokenizedExample, common_prefix_length, plan_groups
from pipeline.prefix_attention import Geometry, PackGeometry, attend_gemm, geometries, switch

BATCH_SIZE = 64

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, each (rows, kv heads, tokens, D)."""


@dataclass
class PrefixCache:
    """Keys and values of prompts seen lately, so that the next request over the same tools starts behind its declarations.

    A key depends on the tokens up to its own only: any common beginning of a new prompt and a kept one can be reused. Belongs to
    one model with unchanged weights; holds `capacity` beginnings, 22 MB each for 600 tokens of the 270M model in float32.
    """

    capacity: int = 4
    kept: list[tuple[list[int], Layers]] = field(default_factory=list)  # the latest last
    computed: int = 0  # tokens whose keys were computed, and
    reused: int = 0  # tokens whose keys were taken from here

    def longest(self, ids: Sequence[int]) -> tuple[int, Layers]:
        """How many leading tokens of `ids` are kept, and their layers."""
        found = max(self.kept, key=lambda entry: common_prefix_length([entry[0], ids]), default=([], []))
        length = common_prefix_length([found[0], ids])
        return length, [(k[:, :, :length], v[:, :, :length]) for k, v in found[1]]

    def keep(self, ids: Sequence[int], layers: Layers) -> None:
        """Keep the layers of a prefix; what it makes superfluous goes, then the oldest."""
        others = [entry for entry in self.kept if common_prefix_length([entry[0], ids]) < len(entry[0])]
        self.kept = [*others, (list(ids), layers)][-self.capacity :]


@torch.inference_mode()
def generate_batch(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Sequence[int],
    batch_size: int = BATCH_SIZE,
    cache: PrefixCache | None = None,
    on_token: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """The greedy continuation of each prompt, in the order of `prompts`, up to and including the first of `stop_ids`.

    `model` is a Hugging Face causal language model; prompts are grouped by their common prefixes. `cache` carries prefixes over to
    the next call. `on_token(prompt's index, token)` is told every token as it is made. Raises ValueError for an empty prompt and
    for models that shared-prefix attention cannot represent.
    """
    if not all(prompts):
        raise ValueError(f"every prompt needs at least one token; prompt {[bool(p) for p in prompts].index(False)} is empty")
    if max_new_tokens < 1:
        return [[] for _ in prompts]
    switch(model)
    answers: list[list[int]] = [[] for _ in prompts]

    def emit(index: int, token: int) -> bool:
        answers[index].append(token)
        if on_token:
            on_token(index, token)
        return token in stop_ids or len(answers[index]) == max_new_tokens

    rows = [TokenizedExample(list(prompt), [], len(prompt) - 1) for prompt in prompts]
    for length, members in plan_groups(rows):
        if len(members) == 1:  # alone here, but the next call may go on from it
            length = len(prompts[members[0]]) - 1 if cache is not None else 0
        prefix = _prefix(model, list(prompts[members[0]][:length]), PrefixCache() if cache is None else cache)
        members = sorted(members, key=lambda i: len(prompts[i]))  # equal lengths together: little padding
        for start in range(0, len(members), batch_size):
            chosen = members[start : start + batch_size]
            _decode(model, prefix, [list(prompts[i][length:]) for i in chosen], chosen, max_new_tokens, emit)
    return answers


# ----------------------------------------------------------------------------------------------------------- prefill


@dataclass(frozen=True)
class _Behind(Geometry):
    """Suffixes behind a prefix whose keys and values are there already; keeps the suffixes' own in `seen`."""

    shape: PackGeometry
    prefix: Layers
    seen: Layers

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        self.seen.append((self.shape.rectangle(key), self.shape.rectangle(value)))
        kp, vp = (x[:, :, self.shape.first_key :] for x in self.prefix[layer])
        return self.shape.attend_suffixes(query, key, value, kp, vp, scale)


def _prefill(model: nn.Module, prefix: Layers, suffixes: list[list[int]]) -> tuple[Tensor, Layers]:
    """The last hidden state of every suffix, (n, H), and the suffixes' own keys and values, (n, kv heads, S, D)."""
    length = prefix[0][0].shape[2]
    lengths = [len(suffix) for suffix in suffixes]
    shapes = geometries(model.config, length, lengths, model.device)
    seen: Layers = []
    hidden = model.get_decoder()(
        input_ids=torch.tensor([[token for suffix in suffixes for token in suffix]], device=model.device),
        position_ids=torch.tensor([[length + i for n in lengths for i in range(n)]], device=model.device),
        attention_mask={kind: _Behind(shape, prefix, seen) for kind, shape in shapes.items()},
        use_cache=False,
    ).last_hidden_state[0]
    return hidden[torch.tensor(lengths, device=model.device).cumsum(0) - 1], seen


def _prefix(model: nn.Module, ids: list[int], cache: PrefixCache) -> Layers:
    """The layers of a prefix: what `cache` has of it, and the rest computed behind that."""
    length, layers = cache.longest(ids)
    if not layers:
        config = model.config
        nothing = torch.empty(1, config.num_key_value_heads, 0, config.head_dim, dtype=model.dtype, device=model.device)
        layers = [(nothing, nothing)] * config.num_hidden_layers
    if length < len(ids):
        _, rest = _prefill(model, layers, [ids[length:]])
        layers = [(torch.cat([k, k2], 2), torch.cat([v, v2], 2)) for (k, v), (k2, v2) in zip(layers, rest, strict=True)]
        cache.keep(ids, layers)
    cache.computed += len(ids) - length
    cache.reused += length
    return layers


# ------------------------------------------------------------------------------------------------------------ decode


@dataclass(frozen=True)
class _Step(Geometry):
    """One new token per row, behind the shared prefix and the row's own tokens."""

    prefix: Layers
    own: Layers  # (n, kv heads, room, D), the new token's keys written into place
    first_key: int
    place: Tensor  # (n,) where in `own` the new token of each row goes
    used: int  # places of `own` that any row uses, the new one included
    mask: Tensor  # (n, 1, visible prefix + used)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        n, heads, _, dim = query.shape
        row = torch.arange(n, device=query.device)
        for kept, new in zip(self.own[layer], (key, value), strict=True):
            kept[row, :, self.place] = new[:, :, 0]
        k, v = (x[:, :, : self.used] for x in self.own[layer])
        kp, vp = (x[:, :, self.first_key :] for x in self.prefix[layer])
        out = attend_gemm(query.reshape(n, key.shape[1], -1, dim), k, v, kp, vp, self.mask, scale)
        return out.reshape(n, 1, heads, dim)


def _steps(config: Any, prefix: Layers, own: Layers, place: Tensor) -> dict[str, _Step]:
    """The geometry of the next token for each type of layer: row i's new token stands at position P + place[i]."""
    length, used = prefix[0][0].shape[2], int(place.max()) + 1
    first_query = length + int(place.min())
    steps = {}
    for kind in sorted(set(config.layer_types)):
        window = config.sliding_window if kind == "sliding_attention" else None
        first_key = 0 if window is None else min(length, max(0, first_query - window + 1))
        distance = (length + place)[:, None] - torch.arange(first_key, length + used, device=place.device)
        mask = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
        steps[kind] = _Step(prefix, own, first_key, place, used, mask[:, None])
    return steps


def _decode(
    model: nn.Module,
    prefix: Layers,
    suffixes: list[list[int]],
    names: list[int],
    max_new_tokens: int,
    emit: Callable[[int, int], bool],
) -> None:
    """Continue every suffix until `emit(its name, token)` says that it is done."""
    hidden, own = _prefill(model, prefix, suffixes)
    own = [tuple(nn.functional.pad(x, (0, 0, 0, max_new_tokens)) for x in layer) for layer in own]
    place = torch.tensor([len(suffix) for suffix in suffixes], device=model.device)
    head, decoder, length = model.get_output_embeddings(), model.get_decoder(), prefix[0][0].shape[2]
    while True:
        tokens = head(hidden).float().argmax(-1)
        going = [row for row, token in enumerate(tokens.tolist()) if not emit(names[row], token)]
        if not going:
            return
        if len(going) < len(names):
            left = torch.tensor(going, device=model.device)
            names, tokens, place = [names[row] for row in going], tokens[left], place[left]
            own = [tuple(x[left] for x in layer) for layer in own]
        hidden = decoder(
            input_ids=tokens[:, None],
            position_ids=length + place[:, None],
            attention_mask=_steps(model.config, prefix, own, place),
            use_cache=False,
        ).last_hidden_state[:, 0]
        place = place + 1
