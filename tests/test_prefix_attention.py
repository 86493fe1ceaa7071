"""A pack's loss and gradients are those of the plain padded batch through the unmodified Hugging Face model.

The reference is Hugging Face's own forward, in float32 with the eager attention that Gemma's guides ask for, and in float64 with sdpa,
once Hugging Face's casts to float32 inside RMSNorm and the loss are out of the way. Window 8 is shorter than most prefixes here, 64
longer than all rows.
"""

from __future__ import annotations

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.models.gemma3 import modeling_gemma3

from pipeline import prefix_attention
from pipeline.packing import make_packs, pack, tokenized
from pipeline.prefix_attention import NAME, geometry, install, pack_tensors, packed_loss, summed_cross_entropy
from tests.small_world import padded_batch, random_examples, random_tokens, tiny_model

torch.set_num_threads(1)  # the models are tiny: threads only wait for one another

BOUND = {torch.float32: 1e-5, torch.float64: 1e-9}


def reference(model, examples) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Mean loss over learned tokens and every gradient of the plain padded batch; the model is left as it was."""
    model = copy.deepcopy(model)
    batch = padded_batch(examples)
    if next(model.parameters()).dtype == torch.float32:
        loss = model(**batch).loss
    else:  # Hugging Face's loss casts the logits to float32
        labels = batch.pop("labels")
        loss = F.cross_entropy(model(**batch).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    loss.backward()
    return loss.detach(), gradients(model)


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def packed(model, packs) -> torch.Tensor:
    """The mean loss over learned tokens of several packs, backward pack by pack."""
    learned = sum(label != -100 for p in packs for label in p.shift_labels)
    total = torch.zeros(())
    for p in packs:
        loss = packed_loss(model, p)[0] / learned
        loss.backward()
        total = total + loss.detach()
    return total


def assert_same(model, packs, expected_loss, expected, bound) -> None:
    loss = packed(bare(model), packs)
    found = gradients(model)
    assert found.keys() == expected.keys()
    assert abs(loss - expected_loss) <= bound * abs(expected_loss)
    whole = torch.stack([g.norm() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        # A gradient that is nothing but the rounding of larger ones (a query that sees one key) has no digits to compare.
        scale = max(gradient.norm(), 1e-3 * whole)
        assert (found[name] - gradient).norm() <= bound * scale, name


@pytest.fixture
def float64_throughout(monkeypatch):
    """RMSNorm without its cast to float32."""

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1.0 + self.weight)

    monkeypatch.setattr(modeling_gemma3.Gemma3RMSNorm, "forward", forward)


def a_model(dtype, window=8, kv_heads=1, lora=False, checkpointing=False, seed=0, head_dim=8, **overrides):
    attention = "eager" if dtype == torch.float32 else "sdpa"  # eager casts its softmax to float32
    model = tiny_model(seed, attention, sliding_window=window, num_key_value_heads=kv_heads, head_dim=head_dim, **overrides).to(dtype)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, and so would be the gradients of lora_A
                parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype) * 0.1
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train()


def bare(model):
    return model.get_base_model() if hasattr(model, "peft_config") else model


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("window", [8, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_loss_and_gradients_are_those_of_the_padded_batch(dtype, window, kv_heads, lora, checkpointing, request):
    if dtype == torch.float64:
        request.getfixturevalue("float64_throughout")
    # Of the two forms of attention, heads of 64 take the GEMMs here, heads of 8 SDPA.
    model = a_model(dtype, window, kv_heads, lora, checkpointing, head_dim=64 if kv_heads == 1 else 8)
    examples = random_examples(seed=window + kv_heads, count=5, prefix=20)
    loss, expected = reference(model, examples)
    assert_same(model, [pack(examples)], loss, expected, BOUND[dtype])


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_gets_its_gradient_and_padding_none(tied, float64_throughout):
    model = a_model(torch.float64, tie_word_embeddings=tied)
    padding = model.config.pad_token_id
    examples = random_examples(seed=5, count=3, prefix=12)
    for each in examples:
        each.input_ids[4] = padding  # within the shared prefix; a token like any other, but its row of the embedding does not learn
    loss, expected = reference(model, examples)
    assert ("lm_head.weight" in expected) is not tied
    assert tied or not expected["model.embed_tokens.weight"][padding].any()
    assert_same(model, [pack(examples)], loss, expected, 1e-9)


@pytest.mark.parametrize("max_tokens", [10, 40, 60, 1000])
def test_one_batch_cut_into_packs_is_still_one_batch(max_tokens, float64_throughout):
    model = a_model(torch.float64)
    examples = [*random_examples(1, count=4, prefix=70), *random_examples(2, count=3, prefix=80), *random_examples(3, count=1)]
    packs = make_packs(examples, max_tokens)
    assert len(packs) == {10: 8, 40: 8, 60: 8, 1000: 3}[max_tokens]
    loss, expected = reference(model, examples)
    assert_same(model, packs, loss, expected, 1e-9)


@st.composite
def a_batch(draw):
    """Ragged rows that share a prefix of any length, also none; contexts and completions down to a single token."""
    tokens = random.Random(draw(st.integers(0, 10**6)))
    shared = random_tokens(tokens, draw(st.integers(0, 14)))
    rows = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12)), min_size=1, max_size=5))
    return [
        tokenized(shared + (row := random_tokens(tokens, before + after)), [-100] * (len(shared) + before) + row[before:])
        for before, after in rows
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a_batch(), st.integers(1, 20), st.integers(1, 2), st.integers(12, 60), st.sampled_from([8, 32]), st.integers(0, 99))
def test_any_batch_any_window_any_cut(float64_throughout, examples, window, kv_heads, max_tokens, head_dim, seed):
    model = a_model(torch.float64, window, kv_heads, seed=seed, head_dim=head_dim)
    loss, expected = reference(model, examples)
    assert_same(model, make_packs(examples, max_tokens), loss, expected, 1e-9)


def test_mixed_precision_stays_close_and_keeps_float32_gradients():
    model = a_model(torch.float32, window=64)
    examples = random_examples(5, count=6)
    loss, expected = reference(model, examples)
    with torch.autocast("cpu", torch.bfloat16):
        found = packed(model, [pack(examples)])
    assert abs(found - loss) < 0.01 * loss
    for name, gradient in gradients(model).items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.1 * expected[name].norm(), name


def test_evaluation_gives_the_same_figures_without_a_graph():
    model = tiny_model()
    one = pack(random_examples(4))
    loss, hits, learned = packed_loss(model, one)
    with torch.no_grad():
        again, hits_again, learned_again = packed_loss(model.eval(), one)
    assert loss.requires_grad and not again.requires_grad
    assert (again, hits_again, learned_again) == (loss, hits, learned)


def test_hits_count_right_first_guesses():
    model = tiny_model()
    examples = random_examples(6, count=3)
    batch = padded_batch(examples)
    guesses = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].argmax(-1)
    for e, guess in zip(examples, guesses, strict=True):  # make every other learned token what the model says
        for i, label in enumerate(e.labels):
            if label != -100 and i % 2:
                e.labels[i] = int(guess[i - 1])
    expected = int((guesses == padded_batch(examples)["labels"][:, 1:]).sum())
    assert expected > 0
    assert int(packed_loss(model, pack(examples))[1]) == expected


@pytest.mark.parametrize("block", [1, 100, 10_000])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("trained_head", [True, False])
def test_chunked_cross_entropy_is_cross_entropy(chunk, block, trained_head, monkeypatch):
    monkeypatch.setattr(prefix_attention, "BLOCK_CPU", block)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 16, generator=generator, dtype=torch.float64).requires_grad_() for n in (23, 50))
    weight.requires_grad_(trained_head)
    targets = torch.randint(0, 50, (23,), generator=generator)
    expected = F.cross_entropy(hidden @ weight.T * 3, targets, reduction="sum")
    inputs = [hidden, weight] if trained_head else [hidden]
    expected_gradients = torch.autograd.grad(expected, inputs)
    loss, _ = summed_cross_entropy(hidden * 3, weight, targets, chunk)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), expected_gradients, rtol=1e-10, atol=1e-12)


def test_cross_entropy_survives_extreme_logits_and_keeps_what_a_sure_model_still_has_to_learn():
    hidden = torch.tensor([[300.0, -300.0], [6.0, 0.0]]).requires_grad_()
    weight = torch.eye(2).requires_grad_()
    targets = torch.tensor([1, 0])
    loss, hits = summed_cross_entropy(hidden, weight, targets)
    loss.backward()
    assert (loss.item(), hits.item()) == (pytest.approx(600.0025, abs=1e-3), 1)
    left = 1 / (1 + torch.tensor(6.0).exp())  # 0.0025: in bfloat16, a probability of 0.9975 is 1
    torch.testing.assert_close(hidden.grad, torch.tensor([[1.0, -1.0], [-left, left]]))
    sure = torch.tensor([[6.0, 0.0]], dtype=torch.bfloat16).requires_grad_()
    summed_cross_entropy(sure, torch.eye(2, dtype=torch.bfloat16), targets[1:])[0].backward()
    torch.testing.assert_close(sure.grad.float(), hidden.grad[1:], rtol=0.01, atol=0)


def test_rows_without_a_learned_token_cost_nothing():
    model = tiny_model()
    example = random_examples(0, count=1)[0]
    example.labels[:] = [-100] * len(example.labels)
    loss, hits, learned = packed_loss(model, pack([example]))
    loss.backward()
    assert (loss.item(), hits.item(), learned) == (0, 0, 0)


def test_everything_else_the_model_does_stays_as_it_was():
    plain, installed = tiny_model(), tiny_model()
    install(installed)
    batch = padded_batch(random_examples(7))
    torch.testing.assert_close(installed(**batch).logits, plain(**batch).logits, rtol=0, atol=0)
    ids = batch["input_ids"][:1, :25]
    assert torch.equal(installed.generate(ids, max_new_tokens=8), plain.generate(ids, max_new_tokens=8))
    one = pack(random_examples(7))
    assert installed(packed=pack_tensors(one))[0] == packed_loss(installed, one)[0]


def test_a_saved_model_does_not_ask_for_our_attention(tmp_path):
    model = tiny_model()
    install(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text("utf-8")


@pytest.mark.parametrize("asks", [{"attention_dropout": 0.1}, {"attn_logit_softcapping": 50.0}, {"final_logit_softcapping": 30.0}])
def test_what_packs_cannot_represent_is_refused(asks):
    with pytest.raises(ValueError, match="dropout|soft-capping"):
        install(tiny_model(**asks))


def test_sliding_layers_read_only_the_keys_their_window_reaches():
    shape = geometry(prefix_length=100, suffix_lengths=[3, 5], window=8)
    assert shape.first_key == 93  # the first suffix token stands at 100 and sees 93..100
    assert shape.suffix_mask.shape == (1, 5, 7 + 5)
    assert [int(row.sum()) for row in shape.suffix_mask[0]] == [8, 8, 8, 8, 8]
