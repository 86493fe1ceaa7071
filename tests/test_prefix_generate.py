"""Decoding with shared prefixes gives, token for token, what plain greedy decoding gives."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prefix_generate import PrefixCache, generate_batch
from tests.small_world import STOP_IDS, padded_batch, random_examples, random_tokens, tiny_model

torch.set_num_threads(1)  # the models are tiny: threads only wait for one another


def plain(model, prompts, max_new_tokens, stop_ids) -> list[list[int]]:
    """Hugging Face's own greedy decoding, one prompt at a time: no padding, nothing shared."""
    return [
        model.generate(
            torch.tensor([prompt]), max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=list(stop_ids), pad_token_id=0
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]  # fmt: skip


def prompts_of(seed: int, count: int, prefix: int) -> list[list[int]]:
    return [e.input_ids for e in random_examples(seed, count=count, prefix=prefix, context=(1, 9))]


def stops_that_come(model, prompts, max_new_tokens) -> list[int]:
    """Two tokens that the model does write, so that some rows stop early and others go on."""
    written = [token for row in plain(model, prompts, max_new_tokens, STOP_IDS) for token in row[2:]]
    return random.Random(0).sample(sorted(set(written)), 2)


@pytest.mark.parametrize("window", [8, 30, 500])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_it_writes_what_plain_decoding_writes(window, kv_heads):
    model = tiny_model(sliding_window=window, num_key_value_heads=kv_heads)
    prompts = [*prompts_of(1, 6, 75), *prompts_of(2, 3, 90), *prompts_of(3, 1, 10)]
    random.Random(1).shuffle(prompts)
    stops = stops_that_come(model, prompts, 12)
    expected = plain(model, prompts, 12, stops)
    lengths = {len(row) for row in expected}
    assert len(lengths) > 1 and max(lengths) == 12
    assert generate_batch(model, prompts, 12, stops) == expected
    assert generate_batch(model, prompts, 12, stops, batch_size=2) == expected


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 100), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(2, 20), st.integers(1, 6))
def test_any_prefix_any_window(seed, prefix, lengths, window, max_new_tokens):
    """From a window of 2 on: with 1, Hugging Face's own cache keeps every key ([-window + 1:] is [0:]), and plain decoding is off."""
    model = tiny_model(seed, sliding_window=window)
    draw = random.Random(seed)
    shared = random_tokens(draw, prefix)
    prompts = [shared + random_tokens(draw, n) for n in lengths]
    expected = plain(model, prompts, max_new_tokens, STOP_IDS)
    assert generate_batch(model, prompts, max_new_tokens, STOP_IDS) == expected


def test_one_request_after_another_reuses_the_declarations():
    model = tiny_model()
    prompts = prompts_of(1, 4, 75)
    cache = PrefixCache()
    for prompt, expected in zip(prompts, plain(model, prompts, 6, STOP_IDS), strict=True):
        assert generate_batch(model, [prompt], 6, STOP_IDS, cache=cache) == [expected]
    assert cache.reused >= 3 * 75
    assert cache.computed < 75 + 4 * 25
    other = prompts_of(2, 1, 90)
    assert generate_batch(model, other, 6, STOP_IDS, cache=cache) == plain(model, other, 6, STOP_IDS)
    assert generate_batch(model, prompts, 6, STOP_IDS, cache=cache) == plain(model, prompts, 6, STOP_IDS)


def test_the_cache_holds_no_more_than_it_may():
    model, cache = tiny_model(), PrefixCache(capacity=2)
    for seed in range(4):
        generate_batch(model, prompts_of(seed, 1, 70), 1, STOP_IDS, cache=cache)
    assert len(cache.kept) == 2
    first, second = prompts_of(3, 2, 70)
    generate_batch(model, [[*first[:70], *second]], 1, STOP_IDS, cache=cache)  # goes on from a part of what is kept
    assert len(cache.kept) == 2


def test_tokens_are_told_as_they_come():
    model = tiny_model()
    prompts, told = prompts_of(5, 3, 80), []
    answers = generate_batch(model, prompts, 5, STOP_IDS, on_token=lambda index, token: told.append((index, token)))
    assert [[token for i, token in told if i == index] for index in range(3)] == answers


def test_a_stop_token_ends_its_row_and_stands_at_its_end():
    model = tiny_model()
    prompts = prompts_of(6, 5, 80)
    stops = stops_that_come(model, prompts, 10)
    for row in generate_batch(model, prompts, 10, stops):
        assert not set(row[:-1]) & set(stops)
        assert row[-1] in stops or len(row) == 10


def test_small_requests():
    model = tiny_model()
    assert generate_batch(model, [], 5, STOP_IDS) == []
    assert generate_batch(model, [[2, 105]], 0, STOP_IDS) == [[]]
    assert generate_batch(model, [[2]], 3, STOP_IDS) == plain(model, [[2]], 3, STOP_IDS)
    same = [prompts_of(7, 1, 80)[0]] * 3
    assert generate_batch(model, same, 4, STOP_IDS) == plain(model, same, 4, STOP_IDS)
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        generate_batch(model, [[2], []], 5, STOP_IDS)


def test_the_model_still_does_everything_else():
    used, untouched = tiny_model(), tiny_model()
    generate_batch(used, prompts_of(8, 3, 80), 4, STOP_IDS)
    batch = padded_batch(random_examples(8))
    torch.testing.assert_close(used(**batch).logits, untouched(**batch).logits, rtol=0, atol=0)
