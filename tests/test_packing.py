"""Packs hold exactly the examples they were made of, share only what may be shared, and keep within their budget."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packing import (
    IGNORE,
    TokenizedExample,
    common_prefix_length,
    make_packs,
    pack,
    plan_groups,
    tokenize,
    tokenized,
)
from tests.small_world import random_examples, tiny_tokenizer


@st.composite
def an_example(draw):
    """Rows over three tokens, so that prefixes of all lengths come up; learned from some position on, or not at all."""
    input_ids = draw(st.lists(st.integers(0, 2), min_size=1, max_size=9))
    first = draw(st.integers(0, len(input_ids)))
    return tokenized(input_ids, [IGNORE] * first + input_ids[first:])


examples_ = st.lists(an_example(), min_size=1, max_size=9)


def unpacked(packed) -> list[tuple[list[int], list[int], list[int]]]:
    """(input_ids, positions, shifted labels) of every example in a pack, the prefix put back in front of its suffix."""
    p, at, rows = packed.prefix_length, packed.prefix_length, []
    for length in packed.suffix_lengths:
        rows.append(
            tuple(
                column[:p] + column[at : at + length]
                for column in (packed.input_ids, packed.position_ids, packed.shift_labels)
            )
        )
        at += length
    assert at == len(packed.input_ids) == len(packed.position_ids) == len(packed.shift_labels)
    return rows


def plain(example) -> tuple[list[int], list[int], list[int]]:
    return example.input_ids, list(range(len(example.input_ids))), [*example.labels[1:], IGNORE]


@given(examples_)
def test_a_pack_holds_its_examples_and_nothing_else(examples):
    assert unpacked(pack(examples)) == [plain(example) for example in examples]


@given(examples_)
def test_whatever_predicts_a_learned_token_is_in_a_suffix(examples):
    packed = pack(examples)
    assert set(packed.shift_labels[: packed.prefix_length]) <= {IGNORE}
    assert min(packed.suffix_lengths) >= 1


@given(examples_, st.integers(1, 40), st.booleans())
def test_packs_hold_every_example_once_within_the_budget(examples, max_tokens, share):
    packs = make_packs(examples, max_tokens, share)
    assert sorted(row for p in packs for row in unpacked(p)) == sorted(map(plain, examples))
    for p in packs:
        cost = p.prefix_length + len(p.suffix_lengths) * max(p.suffix_lengths)
        assert cost <= max_tokens or len(p.suffix_lengths) == 1
        assert share or p.prefix_length == 0
    assert packs == make_packs(examples, max_tokens, share)


@given(examples_, st.integers(0, 6))
def test_groups_take_every_example_once_and_each_saves_more_than_it_costs(examples, overhead):
    groups = plan_groups(examples, overhead)
    assert sorted(i for _, members in groups for i in members) == list(range(len(examples)))
    for prefix_length, members in groups:
        rows = [examples[i].input_ids for i in members]
        if prefix_length:
            assert prefix_length <= min(common_prefix_length(rows), *(examples[i].prefix_length for i in members))
            assert prefix_length * (len(members) - 1) > overhead
    assert [prefix_length for prefix_length, _ in groups].count(0) <= 1


@given(st.lists(an_example(), min_size=2, max_size=6))
def test_grouping_saves_at_least_what_one_common_group_would(examples):
    everything = min(common_prefix_length([e.input_ids for e in examples]), *(e.prefix_length for e in examples))
    saved = sum(prefix_length * (len(members) - 1) for prefix_length, members in plan_groups(examples, overhead=0))
    assert saved >= everything * (len(examples) - 1)


def test_each_tool_set_becomes_a_group_and_strangers_stay_unshared():
    first, second = random_examples(1, count=4, prefix=100), random_examples(2, count=3, prefix=150)
    stranger = random_examples(3, count=1)
    mixed = [first[0], second[0], stranger[0], first[1], second[1], first[2], second[2], first[3]]
    groups = {tuple(members): prefix_length for prefix_length, members in plan_groups(mixed)}
    assert set(groups) == {(0, 3, 5, 7), (1, 4, 6), (2,)}
    assert groups[(0, 3, 5, 7)] >= 100 and groups[(1, 4, 6)] >= 150 and groups[(2,)] == 0


def test_tool_sets_that_begin_alike_still_get_their_own_longer_prefixes():
    common = list(range(1000, 1050))
    a, b = [*common, *range(2000, 2200)], [*common, *range(3000, 3200)]
    rows = [[*a, 1, 5], [*b, 1, 6], [*a, 2, 5], [*b, 2, 6], [*common, 9, 9]]
    examples = [tokenized(row, [IGNORE] * (len(row) - 1) + row[-1:]) for row in rows]
    assert sorted(plan_groups(examples)) == [(0, [4]), (250, [0, 2]), (250, [1, 3])]


def test_a_date_before_the_declarations_leaves_nothing_to_share():
    draw = random.Random(0)
    declarations = list(range(500, 800))
    rows = [[2, 105, draw.randrange(200, 400), *declarations, i, 7] for i in range(8)]
    examples = [tokenized(row, [IGNORE] * (len(row) - 1) + row[-1:]) for row in rows]
    assert [prefix_length for prefix_length, _ in plan_groups(examples)] == [0]


def test_ten_thousand_rows_are_grouped_in_seconds_however_deep_their_prefixes_nest():
    examples = [e for seed in range(5) for e in random_examples(seed, count=1800, prefix=400)]
    chain = list(range(1000, 2000))
    examples += [tokenized(chain[:n], [IGNORE] * (n - 1) + chain[n - 1 : n]) for n in range(1, 1000)]
    start = time.thread_time()
    groups = plan_groups(examples)
    assert time.thread_time() - start < 30  # measured: 1 s; the bound only tells linear from quadratic
    assert sum(prefix_length >= 400 and len(members) == 1800 for prefix_length, members in groups) == 5


def test_a_prefix_that_is_not_common_is_refused():
    examples = random_examples(0, count=3, prefix=10)
    longest = pack(examples).prefix_length
    with pytest.raises(ValueError, match=f"at most {longest} tokens, not {longest + 1}"):
        pack(examples, longest + 1)
    assert pack(examples, 4).prefix_length == 4


def test_rows_and_labels_must_fit():
    with pytest.raises(ValueError, match="as many labels as input_ids"):
        tokenized([1, 2], [1])
    with pytest.raises(ValueError, match="at least one"):
        tokenized([], [])


def test_prefix_length_stops_one_short_of_the_position_that_predicts():
    assert tokenized([5, 6, 7, 8], [-100, -100, 7, 8]).prefix_length == 1
    assert tokenized([5, 6], [5, 6]).prefix_length == 0
    assert tokenized([5, 6], [-100, -100]) == TokenizedExample([5, 6], [-100, -100], 1)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "description": "Set the light.",
            "parameters": {"type": "object", "properties": {"color": {"type": "string", "description": "The colour."}}},
        },
    }
]


def conversation(request: str, color: str) -> list[dict]:
    call = {"type": "function", "function": {"name": "set_light", "arguments": {"color": color}}}
    return [{"role": "user", "content": request}, {"role": "assistant", "tool_calls": [call]}]


def test_the_completion_and_its_stop_token_are_learned_and_nothing_else(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    example = tokenize(conversation("make it red", "red"), TOOLS, tokenizer)
    learned = [token for token, label in zip(example.input_ids, example.labels, strict=True) if label != IGNORE]
    call = "<start_function_call>call:set_light{color:<escape>red<escape>}<end_function_call><start_function_response>"
    assert tokenizer.decode(learned) == call
    assert [label for label in example.labels if label != IGNORE] == learned
    assert tokenizer.decode(example.input_ids).endswith("make it red<end_of_turn>\n<start_of_turn>model\n" + call)
    assert example.input_ids.count(tokenizer.bos_token_id) == 1 and example.input_ids[0] == tokenizer.bos_token_id


def test_conversations_over_the_same_tools_share_the_declarations(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    examples = [tokenize(conversation(f"make it {c}", c), TOOLS, tokenizer) for c in ("red", "green", "blue")]
    packed = pack(examples)
    shared = tokenizer.decode(packed.input_ids[: packed.prefix_length])
    assert "<end_function_declaration>" in shared and shared.endswith("user\nmake it ")
