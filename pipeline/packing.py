"""Tokenised examples that share a prefix, laid out as packs: integers only, so nothing is lost in Arrow or JSON.

    [prefix, P tokens, once][suffix 1][suffix 2]...[suffix n]        one row, no padding
     0 .. P-1                P ..      P ..         P ..             positions: every suffix continues the prefix

All examples of a dataset begin with the same developer turn and declarations. A pack holds that beginning once; what
attends to what is `prefix_attention`'s business. Rows that share nothing are packed behind an empty prefix.

This module knows nothing about tensors, models or attention; of the tokenizer it knows `encode` only, of the wire format only
where to ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import functiongemma

IGNORE = -100
"""The label of a token that is not learned (PyTorch's and Hugging Face's `ignore_index`)."""

GROUP_OVERHEAD = 64
"""What one more group costs, in tokens: a pack of its own has a prefix block and launches of its own."""


@dataclass(frozen=True)
class TokenizedExample:
    """One example as tokens.

    `labels` equals `input_ids` where a token is learned and is -100 on the context. `prefix_length` is how many leading
    tokens may be shared with other examples: at most the first learned position minus one, because the position that
    predicts the first learned token must stay in a suffix.
    """

    input_ids: list[int]
    labels: list[int]
    prefix_length: int


@dataclass(frozen=True)
class Pack:
    """One row of tokens that holds a shared prefix and n suffixes; all lists are as long as the row.

    `shift_labels[i]` is the token that position i must predict, or -100: labels are shifted here, suffix by suffix,
    since the next token in the row may belong to another example.
    """

    input_ids: list[int]
    position_ids: list[int]
    shift_labels: list[int]
    prefix_length: int
    suffix_lengths: list[int]


def tokenize(messages: Sequence[dict], tools: Sequence[Any] | None, tokenizer: Any) -> TokenizedExample:
    """Tokenise one conversation for training: the last assistant message is learned, everything before it is context.

    Prompt and completion are encoded apart, as at inference: the model continues exactly the prompt's own tokens.
    `tokenizer` is anything with `encode(text, add_special_tokens=False) -> list[int]`.
    """
    prompt_text, completion_text = functiongemma.render_example(messages, tools)
    prompt = list(tokenizer.encode(prompt_text, add_special_tokens=False))
    completion = list(tokenizer.encode(completion_text, add_special_tokens=False))
    return TokenizedExample(prompt + completion, [IGNORE] * len(prompt) + completion, max(len(prompt) - 1, 0))


def tokenized(input_ids: Sequence[int], labels: Sequence[int]) -> TokenizedExample:
    """A `TokenizedExample` from two columns of a dataset; raises ValueError if they do not fit each other."""
    if not input_ids or len(input_ids) != len(labels):
        raise ValueError(f"expected as many labels as input_ids and at least one, got {len(labels)} and {len(input_ids)}")
    first_learned = next((i for i, label in enumerate(labels) if label != IGNORE), len(labels))
    return TokenizedExample(list(input_ids), list(labels), max(first_learned - 1, 0))


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Length of the longest common beginning of token rows (0 for no rows)."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)  # in lexicographic order the extremes differ earliest
    length = min(len(first), len(last))
    return next((i for i in range(length) if first[i] != last[i]), length)


def pack(examples: Sequence[TokenizedExample], prefix_length: int | None = None) -> Pack:
    """Lay out examples behind their common prefix.

    `prefix_length` is how much of it is shared; None takes the longest that every example allows. Raises ValueError if
    it is longer than that.
    """
    rows = [example.input_ids for example in examples]
    longest = min(common_prefix_length(rows), *(example.prefix_length for example in examples))
    if prefix_length is None:
        prefix_length = longest
    if not 0 <= prefix_length <= longest:
        raise ValueError(f"these {len(rows)} examples can share at most {longest} tokens, not {prefix_length}")
    input_ids, position_ids = list(rows[0][:prefix_length]), list(range(prefix_length))
    shift_labels, suffix_lengths = [IGNORE] * prefix_length, []
    for example in examples:
        suffix = example.input_ids[prefix_length:]
        input_ids += suffix
        position_ids += range(prefix_length, prefix_length + len(suffix))
        shift_labels += [*example.labels[prefix_length + 1 :], IGNORE]
        suffix_lengths.append(len(suffix))
    return Pack(input_ids, position_ids, shift_labels, prefix_length, suffix_lengths)


def plan_groups(examples: Sequence[TokenizedExample], overhead: int = GROUP_OVERHEAD) -> list[tuple[int, list[int]]]:
    """Which examples share which prefix: [(prefix length, [indices])], every index once.

    Greedy and bottom-up on the tree of longest common prefixes (the sorted rows' LCP intervals): a node either shares
    its own prefix among all members, or keeps its children's groups and takes in only what they left over, whichever
    saves more tokens. Each group must save more than `overhead` tokens. What remains comes last, with prefix 0.
    """
    if not examples:
        return []
    rows = [example.input_ids for example in examples]
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    closed = (0, [], [order[0]])  # a subtree: (tokens saved, its groups, indices in no group)
    open_nodes: list[tuple[int, list]] = []  # (prefix length, closed children), prefix lengths rising
    for here, following in zip(order, [*order[1:], None], strict=True):
        shared = -1 if following is None else _shared(examples[here], examples[following])
        while open_nodes and open_nodes[-1][0] > shared:
            prefix_length, children = open_nodes.pop()
            closed = _close(prefix_length, [*children, closed], overhead)
        if following is None:
            break
        if open_nodes and open_nodes[-1][0] == shared:
            open_nodes[-1][1].append(closed)
        else:
            open_nodes.append((shared, [closed]))
        closed = (0, [], [following])
    _, groups, alone = closed
    return groups + ([(0, sorted(alone))] if alone else [])


def _shared(a: TokenizedExample, b: TokenizedExample) -> int:
    length = min(a.prefix_length, b.prefix_length)
    if a.input_ids[:length] == b.input_ids[:length]:
        return length
    return next(i for i in range(length) if a.input_ids[i] != b.input_ids[i])


def _close(prefix_length: int, children: list[tuple], overhead: int) -> tuple:
    saved, groups, alone = 0, [], []
    for child_saved, child_groups, child_alone in children:
        grouped = sum(len(members) for _, members in child_groups)
        if child_saved > grouped * prefix_length:
            saved += child_saved
            groups += child_groups
            alone += child_alone
        else:  # sharing only this node's shorter prefix, but with more of its kin, saves at least as much
            alone += [i for _, members in child_groups for i in members] + child_alone
    gain = (len(alone) - 1) * prefix_length - overhead
    if gain > 0:
        return saved + gain, [*groups, (prefix_length, sorted(alone))], []
    return saved, groups, alone


def make_packs(examples: Sequence[TokenizedExample], max_tokens: int, share: bool = True) -> list[Pack]:
    """Group examples by common prefix and cut the groups into packs.

    A pack costs prefix + number of suffixes x longest suffix, in tokens, and stays within `max_tokens`; an example that
    alone is longer gets a pack of its own. `share=False` packs everything behind an empty prefix. The packs hold every
    example exactly once; their order depends on nothing but the examples and their order.
    """
    groups = plan_groups(examples) if share else [(0, list(range(len(examples))))]
    packs = []
    for prefix_length, members in groups:
        members = sorted(members, key=lambda i: (len(examples[i].input_ids), i))  # equal lengths together: little padding
        current: list[TokenizedExample] = []
        for i in members:
            longest_suffix = len(examples[i].input_ids) - prefix_length
            if current and prefix_length + longest_suffix * (len(current) + 1) > max_tokens:
                packs.append(pack(current, prefix_length))
                current = []
            current.append(examples[i])
        if current:
            packs.append(pack(current, prefix_length))
    return packs
