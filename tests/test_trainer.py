"""PrefixSharingTrainer trains as SFTTrainer does, and a training that was interrupted ends with the weights of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from pipeline.packing import tokenized
from pipeline.trainer import PackCollator, PrefixSharingTrainer, to_dataset
from tests.small_world import random_examples, tiny_model, tiny_tokenizer

torch.set_num_threads(1)  # the models are tiny: threads only wait for one another

TRAIN = [*random_examples(1, count=14), *random_examples(2, count=9, prefix=90), *random_examples(3, count=1)]
HELD_OUT = random_examples(4, count=7)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def options(folder, **changes) -> SFTConfig:
    values = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "per_device_eval_batch_size": 3,
        "gradient_accumulation_steps": 2, "max_steps": 8, "learning_rate": 1e-2, "warmup_steps": 2, "weight_decay": 0.1,
        "save_strategy": "no", "logging_steps": 1, "bf16": False, "use_cpu": True, "report_to": [], "disable_tqdm": True,
        "max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}, "activation_checkpointing": False, "seed": 7,
    }  # fmt: skip
    return SFTConfig(**values | changes)


def trainer(folder, tokenizer, kind=PrefixSharingTrainer, lora=False, max_tokens=150, callbacks=(), **changes):
    own = {"max_tokens": max_tokens} if kind is PrefixSharingTrainer else {}
    return kind(
        model=tiny_model(sliding_window=16), args=options(folder, **changes), train_dataset=to_dataset(TRAIN),
        eval_dataset=to_dataset(HELD_OUT), processing_class=tokenizer, callbacks=list(callbacks),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None, **own,
    )  # fmt: skip


def weights(trained) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trained.model.state_dict().items()}


def losses(trained) -> list[float]:
    return [entry["loss"] for entry in trained.state.log_history if "loss" in entry]


def tokens(trained) -> list[float]:
    return [entry["num_tokens"] for entry in trained.state.log_history if "num_tokens" in entry]


class StopAt(TrainerCallback):
    """Ends the training after a step, as a slot of time does; the schedule stays that of the whole training."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = control.should_save = state.global_step >= self.step


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_it_trains_as_sft_trainer_does(tmp_path, tokenizer, lora, accumulation):
    """Same rows in the same order, so the same losses and gradient norms; float32 apart, step after step."""
    changes = {"gradient_accumulation_steps": accumulation, "max_steps": 4, "optim": "sgd", "warmup_steps": 0}
    ours = trainer(tmp_path / "ours", tokenizer, lora=lora, **changes)
    theirs = trainer(tmp_path / "theirs", tokenizer, SFTTrainer, lora=lora, **changes)
    ours.train()
    theirs.train()
    figures = [
        [[entry[key] for entry in t.state.log_history if "grad_norm" in entry] for key in ("loss", "grad_norm", "mean_token_accuracy")]
        for t in (ours, theirs)
    ]
    torch.testing.assert_close(torch.tensor(figures[0]), torch.tensor(figures[1]), rtol=1e-4, atol=1e-6)
    found, expected = weights(ours), weights(theirs)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_interrupted_equals_uninterrupted(tmp_path, tokenizer, lora, checkpointing):
    changes = {"activation_checkpointing": checkpointing}
    whole = trainer(tmp_path / "whole", tokenizer, lora=lora, **changes)
    whole.train()
    for step in (3, 7):  # the end of the first epoch; amid the third
        part = trainer(tmp_path / "parts", tokenizer, lora=lora, callbacks=[StopAt(step)], **changes)
        part.train(resume_from_checkpoint=step > 3)
        assert part.state.global_step == step
    last = trainer(tmp_path / "parts", tokenizer, lora=lora, **changes)
    last.train(resume_from_checkpoint=True)
    assert losses(last) == losses(whole) and len(losses(whole)) == 8
    assert tokens(last) == tokens(whole) == sorted(set(tokens(whole))), "the count goes on, too"
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(last).items())


class Rows(PackCollator):
    """Remembers which rows each batch was made of."""

    def __init__(self, plain: PackCollator):
        super().__init__(plain.max_tokens, plain.share)
        self.seen: list[list[int]] = []

    def __call__(self, rows):
        self.seen.append([TRAIN_ROWS[tuple(row["input_ids"])] for row in rows])
        return super().__call__(rows)


TRAIN_ROWS = {tuple(e.input_ids): i for i, e in enumerate(TRAIN)}


def batches(folder, tokenizer, resume=False, **changes) -> list[list[int]]:
    run = trainer(folder, tokenizer, gradient_accumulation_steps=1, max_steps=12, save_steps=4, **changes)
    run.data_collator = Rows(run.data_collator)
    run.train(resume_from_checkpoint=str(folder / "checkpoint-4") if resume else None)
    return run.data_collator.seen


def test_every_epoch_takes_every_row_once_in_a_new_order_that_only_the_seed_decides(tmp_path, tokenizer):
    seen = batches(tmp_path / "a", tokenizer, save_strategy="steps")
    epochs = [sum(seen[:6], []), sum(seen[6:12], [])]
    assert [sorted(epoch) for epoch in epochs] == [list(range(len(TRAIN)))] * 2
    assert epochs[0] != epochs[1]
    partners = [{frozenset(batch) for batch in seen[:6]}, {frozenset(batch) for batch in seen[6:12]}]
    assert partners[0] != partners[1]
    assert batches(tmp_path / "a", tokenizer, resume=True) == seen[4:12]
    assert batches(tmp_path / "b", tokenizer) == seen[:12]
    assert batches(tmp_path / "c", tokenizer, seed=8) != seen[:12]


def test_evaluation_loss_is_the_mean_over_learned_tokens(tmp_path, tokenizer):
    run = trainer(tmp_path, tokenizer)
    found = run.evaluate()["eval_loss"]
    model, summed, learned = tiny_model(sliding_window=16), 0.0, 0
    for e in HELD_OUT:
        count = sum(label != -100 for label in e.labels[1:])
        loss = model(input_ids=torch.tensor([e.input_ids]), labels=torch.tensor([e.labels])).loss
        summed, learned = summed + loss.item() * count, learned + count
    assert found == pytest.approx(summed / learned, rel=1e-5)


def test_evaluating_between_steps_changes_nothing(tmp_path, tokenizer):
    quiet = trainer(tmp_path / "quiet", tokenizer, max_steps=4)
    quiet.train()
    watched = trainer(tmp_path / "watched", tokenizer, max_steps=4, eval_strategy="steps", eval_steps=1)
    watched.train()
    expected = weights(quiet)
    assert all(torch.equal(value, expected[name]) for name, value in weights(watched).items())
    assert sum("eval_loss" in entry for entry in watched.state.log_history) == 4


def test_mixed_precision_trains(tmp_path, tokenizer):
    exact, mixed = (trainer(tmp_path / str(bf16), tokenizer, bf16=bf16) for bf16 in (False, True))
    exact.train()
    mixed.train()
    assert losses(mixed) == pytest.approx(losses(exact), rel=0.03)
    assert {p.dtype for p in mixed.model.parameters()} == {torch.float32}


def test_the_token_budget_bounds_every_pack():
    rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in TRAIN]
    few, many = PackCollator(8192)(rows)["packs"], PackCollator(200)(rows)["packs"]
    assert len(few) == 3 and len(many) > len(few)
    for pack in many:
        assert pack["prefix_length"] + len(pack["suffix_lengths"]) * max(pack["suffix_lengths"]) <= 200
    apart = PackCollator(8192, share=False)(rows)["packs"]
    assert {pack["prefix_length"] for pack in apart} == {0}
    assert sum(pack["input_ids"].numel() for pack in apart) == sum(len(e.input_ids) for e in TRAIN)


def test_nothing_is_lost_in_arrow():
    back = [tokenized(row["input_ids"], row["labels"]) for row in to_dataset(TRAIN)]
    assert back == TRAIN
    assert to_dataset(TRAIN).column_names == ["input_ids", "labels"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"packing": True, "packing_strategy": "wrapped", "max_length": 64}, "packing must be off"),
        ({"padding_free": True}, "padding-free"),
        ({"loss_type": "dft"}, "only the plain cross-entropy"),
    ],
)
def test_options_that_packs_cannot_represent_are_refused(tmp_path, tokenizer, changes, reason):
    with pytest.raises(ValueError, match=reason):
        trainer(tmp_path, tokenizer, **changes)


def test_lora_dropout_is_refused_where_a_prefix_is_shared(tmp_path, tokenizer):
    dropout = LoraConfig(r=4, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    given = {"args": options(tmp_path), "train_dataset": to_dataset(TRAIN), "processing_class": tokenizer, "peft_config": dropout}
    with pytest.raises(ValueError, match="lora_dropout must be 0"):
        PrefixSharingTrainer(model=tiny_model(), **given)
    PrefixSharingTrainer(model=tiny_model(), share_prefix=False, **given)


TWO_PROCESSES = {"optim": "sgd", "max_tokens": 60, "gradient_accumulation_steps": 2, "max_steps": 4, "activation_checkpointing": True}

SCRIPT = """
import os, sys, torch
from pathlib import Path
from tests.small_world import tiny_tokenizer
from tests.test_trainer import TWO_PROCESSES, losses, trainer, weights
folder = Path(sys.argv[1])
run = trainer(folder, tiny_tokenizer(folder / f"tokenizer-{os.environ['RANK']}"), per_device_train_batch_size=2, **TWO_PROCESSES)
run.train()
held_out = run.evaluate()["eval_loss"]  # 7 rows, 3 at a time in each of two processes
if run.is_world_process_zero():
    found = {"weights": weights(run), "losses": losses(run), "processes": run.accelerator.num_processes, "eval_loss": held_out}
    torch.save(found, folder / "result.pt")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_as_one(tmp_path, root, tokenizer):
    """Two processes with 2 rows each take the gradient of one with 4, although they have different numbers of packs."""
    (tmp_path / "train.py").write_text(SCRIPT, "utf-8")
    # For CPUs accelerate launches by MPI only; its launcher for several devices does as well, since the script asks for CPU.
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes=2 --num_machines=1 --main_process_port=0".split()
    launch += ["--mixed_precision=no", "--dynamo_backend=no"]
    ran = subprocess.run(
        [sys.executable, *launch, str(tmp_path / "train.py"), str(tmp_path)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}, timeout=800,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    two = torch.load(tmp_path / "result.pt", weights_only=True)
    one = trainer(tmp_path / "one", tokenizer, per_device_train_batch_size=4, **TWO_PROCESSES)
    one.train()
    assert two["processes"] == 2
    assert two["losses"] == pytest.approx(losses(one), rel=1e-4)
    assert two["eval_loss"] == pytest.approx(one.evaluate()["eval_loss"], rel=1e-4), "no row counts twice"
    for name, expected in weights(one).items():
        torch.testing.assert_close(two["weights"][name], expected, rtol=1e-4, atol=1e-5)
