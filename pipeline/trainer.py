"""PrefixSharingTrainer: TRL's SFTTrainer with two things replaced, how rows become a batch and how a batch becomes a loss.

The collator lays the rows of a device's batch out as packs (`pipeline.packing`), `compute_loss` runs them one after another
(`pipeline.prefix_attention`). Sampling, shuffling, optimiser, schedule, accumulation, mixed precision, peft, checkpoints and
resuming are TRL's and Hugging Face's. Which rows meet in an optimiser step is drawn from the whole dataset, anew each epoch, from
`args.seed`: prefixes are shared among rows that met by chance, never are rows chosen because they share.

This module knows nothing about tools, prompts or run folders: its rows are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput
from trl import SFTTrainer

from pipeline import prefix_attention
from pipeline.packing import IGNORE, TokenizedExample, make_packs, tokenized

MAX_TOKENS = 8192
"""Default token budget of a pack: 32 examples of 55 tokens behind a prefix of 900 are 2,700."""


def to_dataset(examples: Sequence[TokenizedExample]) -> Dataset:
    """Two columns of integers, `input_ids` and `labels`, as `PrefixSharingTrainer` takes them."""
    columns = {"input_ids": [e.input_ids for e in examples], "labels": [e.labels for e in examples]}
    return Dataset.from_dict(columns, features=Features({name: List(Value("int32")) for name in columns}))


class PackCollator:
    """Rows of `input_ids` and `labels` -> {"packs": [tensors of a pack, ...], and flat tensors for the trainer's books}.

    Transformers counts the learned tokens of an optimiser step in `shift_labels`, but only where there are `labels` too, and
    counts floating-point operations by `input_ids`.
    """

    def __init__(self, max_tokens: int = MAX_TOKENS, share: bool = True):
        self.max_tokens, self.share = max_tokens, share

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        packs = make_packs([tokenized(row["input_ids"], row["labels"]) for row in rows], self.max_tokens, self.share)
        labels = torch.tensor([[label for pack in packs for label in pack.shift_labels]])
        return {
            "packs": [prefix_attention.pack_tensors(pack) for pack in packs],
            "labels": labels,
            "shift_labels": labels,
            "input_ids": torch.tensor([[token for pack in packs for token in pack.input_ids]]),
        }


class _CountOn(TrainerCallback):
    """After a resume the logged `num_tokens` goes on from the last one in the log; TRL would begin anew."""

    def __init__(self, trainer: PrefixSharingTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logged = (entry["num_tokens"] for entry in reversed(state.log_history) if "num_tokens" in entry)
        self.trainer._total_train_tokens = int(next(logged, 0))


class PrefixSharingTrainer(SFTTrainer):
    """SFTTrainer whose batches share prefixes; takes what SFTTrainer takes, and the token budget of a pack.

    `max_tokens` bounds memory: a batch that needs more is cut into several packs, each with its own backward pass; loss and
    gradients stay those of the whole batch. `share_prefix=False` computes every row in full, still without padding and with
    the loss on learned tokens only.

    Raises ValueError for a model or option that packs cannot represent: packing or padding-free collation (this replaces
    them), label smoothing and custom losses (the output layer is applied to learned positions only), attention dropout, an
    adapter or a bias on the output layer. LoRA dropout would be drawn once for a shared prefix, so it is refused as well.
    """

    def __init__(self, model: Any, *args: Any, max_tokens: int = MAX_TOKENS, share_prefix: bool = True, **kwargs: Any):
        super().__init__(model, *args, data_collator=PackCollator(max_tokens, share_prefix), **kwargs)
        options = self.args
        if options.packing:
            raise ValueError("packing must be off: rows are laid out as prefix-sharing packs instead")
        if options.label_smoothing_factor or options.loss_type != "nll" or self.compute_loss_func is not None:
            raise ValueError("only the plain cross-entropy loss is available: no label_smoothing_factor, loss_type='dft' or own loss")
        adapters = getattr(self.model, "peft_config", {})
        if share_prefix and any(getattr(adapter, "lora_dropout", 0) for adapter in adapters.values()):
            raise ValueError("lora_dropout must be 0: dropout would be the same for every example that shares the prefix")
        prefix_attention.install(self.model.get_base_model() if adapters else self.model)
        self._evaluated = (0.0, 0)  # summed loss and learned tokens of the evaluation under way
        self.add_callback(_CountOn(self))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The batch's summed loss over `num_items_in_batch`, the learned tokens of the whole optimiser step.

        While training, the backward pass of every pack but the last happens here, so that one pack's activations are in
        memory at a time; the trainer then calls `backward` on what is returned, which carries the last pack's graph. Gradients
        are exchanged between processes with the last pack only, since other processes may have more packs or fewer.
        """
        if return_outputs:
            raise ValueError("a packed batch has no logits to return; evaluate with prediction_loss_only")
        training = self.model.training
        learned = inputs["shift_labels"].ne(-100).sum()
        scale = 1 / (learned if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            scale = scale * self.accelerator.num_processes  # DistributedDataParallel averages over the processes
        *earlier, last = inputs["packs"]
        done, hits = torch.zeros((), device=learned.device), torch.zeros((), dtype=torch.long, device=learned.device)
        for pack in earlier:
            with self.accelerator.no_sync(model):
                loss, right, _ = model(packed=pack)
                loss = loss * scale
                if training:
                    self.accelerator.backward(loss)
            done, hits = done + loss.detach(), hits + right
        loss, right, _ = model(packed=last)
        loss = loss * scale + done
        self._book(training, loss.detach() / scale, hits + right, learned, inputs["input_ids"].numel())
        return loss

    def _book(self, training: bool, summed: torch.Tensor, hits: torch.Tensor, learned: torch.Tensor, tokens: int) -> None:
        """Keep the figures that SFTTrainer logs, over all processes: token accuracy and tokens computed."""
        mine = torch.stack([x.double() for x in (summed, hits, learned, torch.full_like(summed, tokens))])
        summed_all, hits_all, learned_all, tokens_all = self.accelerator.gather(mine[None]).sum(0).tolist()
        metrics = self._metrics["train" if training else "eval"]
        metrics["mean_token_accuracy"].append(hits_all / max(learned_all, 1))
        if training:
            self._total_train_tokens += int(tokens_all)
        else:
            self._evaluated = (self._evaluated[0] + summed_all, self._evaluated[1] + int(learned_all))
        metrics["num_tokens"] = [self._total_train_tokens]

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """As Hugging Face's. With several processes rows without a learned token fill the last batches up: accelerate would repeat
        others, which would count twice."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        rows = self.eval_dataset[rows] if isinstance(rows, str) else rows
        missing = -len(rows) % (self.args.eval_batch_size * self.accelerator.num_processes)
        if missing and self.accelerator.num_processes > 1:
            nothing = TokenizedExample(rows[0]["input_ids"][:1], [IGNORE], 0)
            rows = concatenate_datasets([rows, to_dataset([nothing] * missing)])
        return super().get_eval_dataloader(rows)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """As Hugging Face's, but the loss is the mean over learned tokens, not over batches of unequal size."""
        self._evaluated = (0.0, 0)
        out = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        summed, learned = self._evaluated
        if learned:
            out.metrics[f"{metric_key_prefix}_loss"] = summed / learned
        return out
