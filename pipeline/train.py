"""Train a run: make its folder, start it, stop it, go on with it, finish it.

`prepare` checks everything that can be checked without training and makes the run folder; `train` trains from the last whole checkpoint
until finished, stopped or out of time. A laptop and a Job call it once, a ZeroGPU Space slot after slot: on one machine with one number
of threads a run made in pieces, or killed at any moment, ends with the same weights, bit for bit, as one made in one go. This file does
not know how a loss is computed (trainer.py) and decides no default (config.py). Under `accelerate launch` several processes train one run
together, and the first of them writes (ranks.py).
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from pipeline import dataset as datasets
from pipeline import model as models
from pipeline import ranks
from pipeline.config import TrainConfig, planned_steps, resolve
from pipeline.dataset import Example, ToolDataset
from pipeline.errors import DataError, ModelError, PipelineError, RunError
from pipeline.files import write_atomic
from pipeline.functiongemma import render_example
from pipeline.hub.access import REVISIONS, TEMPLATE, TOKENIZER_FILES
from pipeline.journal import read_object
from pipeline.model import BaseModel, find_base
from pipeline.packing import TokenizedExample, tokenize
from pipeline.runs import Checkpoint, Run, StepLog
from pipeline.tools import Issue, lint_tools, summary

SAMPLES = 5  # held-out requests whose answers are shown after every epoch
REMOTE = "remote.json"  # in the run folder: the Job that trains it somewhere else, if there is one (pipeline.hub.remote)
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers")


# ------------------------------------------------------------------------------------------------------------- prepare


def prepare(
    dataset: ToolDataset | str | os.PathLike[str], config: TrainConfig, path: str | os.PathLike[str],
    base: BaseModel | str = "embedded", title: str = "Run",
) -> Run:  # fmt: skip
    """Make the run folder `path` for fine-tuning `base` on `dataset` (or the folder of one); nothing is there before it is whole.

    Rows without a split are given one. Raises DataError with every problem that must be fixed, too long rows included, ConfigError,
    ModelError, and RunError if `path` is taken.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already; choose another folder for the new run, or delete it.")
    if not isinstance(dataset, ToolDataset):
        dataset = datasets.load(dataset)
    if not isinstance(base, BaseModel):
        base = find_base(base)
    config = resolve(config, base.embedded, base.context)
    problems = [issue for issue in [*lint_tools(dataset.tools), *datasets.validate(dataset)] if issue.severity == "error"]
    if problems:
        raise DataError(summary("The dataset cannot be trained on", problems), problems)
    frozen = datasets.split(dataset, config.test_fraction, config.split_seed)
    learned = sum(example.split == "train" for example in frozen.examples)
    if not learned:
        raise DataError("No example is left to train on: every row is in the test split; add some, or change their split.")
    _check_lengths(frozen, base, config.max_length)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        datasets.save(frozen, beside / "dataset")
        Run.create(
            beside, title=title, config=config, base=base.to_json(), dataset_sha256=datasets.sha256(dataset),
            versions={name: version(name) for name in LIBRARIES}, total_steps=planned_steps(config, learned),
        )  # fmt: skip
        os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Run(path)


class _Encoder:
    """A tokenizer.json without transformers, which takes seconds to import: enough to count tokens."""

    def __init__(self, path: str):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids


def _check_lengths(dataset: ToolDataset, base: BaseModel, max_length: int) -> None:
    """Raises DataError that names every row that is too long for the model: none is ever cut."""
    encoder, issues = _Encoder(base.path), []
    for row, example in enumerate(dataset.examples, start=1):
        length = len(_tokenized(dataset, example, encoder).input_ids)
        if length > max_length:
            fix = f"Shorten it or its tools, or raise --max-length (up to {base.context})."
            issues.append(Issue(row, "messages", "error", f"{length} tokens, more than the {max_length} allowed", fix))
    if issues:
        raise DataError(summary(f"{len(issues)} of {len(dataset.examples)} examples are too long", issues), issues)


def tokenized_rows(dataset: ToolDataset, path: str, most: int) -> list[TokenizedExample]:
    """The first so many rows to train on, as the tokenizer in the folder `path` reads them: for counting."""
    encoder, rows = _Encoder(path), [example for example in dataset.examples if example.split == "train"]
    return [_tokenized(dataset, example, encoder) for example in rows[:most]]


def _tokenized(dataset: ToolDataset, example: Example, tokenizer: Any) -> TokenizedExample:
    return tokenize([*example.prompt, example.completion], dataset.tools_of(example), tokenizer)


# --------------------------------------------------------------------------------------------------------------- train


def train(
    run: Run | str | os.PathLike[str], time_budget: float | None = None, on_step: Callable[[StepLog], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:  # fmt: skip
    """Train `run` from its last whole checkpoint until it is done, or paused: asked to stop, or `time_budget` seconds nearly over.

    `on_step` gets what is appended to the log; `should_stop` is asked after every step, like the run's stop flag. A stop flag older than
    this process is nobody's wish any more. A run that is done is returned as it is. Raises RunError, with the run marked failed and the
    traceback in its train.log, when training cannot go on; another call tries again from the last checkpoint.
    """
    models.quiet()
    from pipeline.callbacks import Slot

    run = run if isinstance(run, Run) else Run(run)
    if run.status == "done":
        return run
    with run.claim() if ranks.leads() else nullcontext():
        if is_away(run):  # asked while nobody can give it away
            raise RunError(f"{run.path} is being trained in a Hugging Face Job; fetch it when the Job is done, or cancel the Job first.")
        info = run.info
        slot = Slot(time_budget, info["seconds"])
        if not ranks.leads():  # computes with the others; what is written, the first process writes
            with _recorded(run, slot):
                _train(run, slot, None, None)
            return run
        flag = run.path / "stop"
        if flag.exists() and flag.stat().st_mtime < psutil.Process().create_time():
            run.clear_stop()
        run.update(status="training", started=info["started"] or time.time(), error=None)
        with _recorded(run, slot):
            if _train(run, slot, on_step, should_stop):
                run.update(status="done", finished=time.time(), seconds=slot.total, checkpoint=None)
                shutil.rmtree(run.checkpoints_path, ignore_errors=True)  # 3.2 GB each for the 270M model, and model/ is there now
            else:
                run.update(status="paused", seconds=slot.total)
        run.clear_stop()
    return run


def is_away(run: Run) -> bool:
    """Whether a Job elsewhere trains `run`, so that nobody may here."""
    return (run.path / REMOTE).is_file() and read_object(run.path / REMOTE).get("away") is True


@contextmanager
def _recorded(run: Run, slot: Any) -> Iterator[None]:
    """Whatever goes wrong inside stands in the run folder afterwards."""
    try:
        yield
    except Exception as error:
        sentence, told = _sentence(error, run), traceback.format_exc()
        if ranks.leads():
            _sweep(run)
        with suppress(OSError):  # on a full disk whoever called is told all the same
            write_atomic(run.failure_log, f"{time.ctime()}\n{told}")
            run.update(status="failed", error=sentence, seconds=slot.total)
        if isinstance(error, PipelineError):
            raise
        raise RunError(sentence) from error


def _sentence(error: Exception, run: Run) -> str:
    """What went wrong, for the user."""
    import torch

    if isinstance(error, PipelineError):
        return str(error)
    text = str(error).splitlines()[0] if str(error) else ""
    if _is_full(error, text):
        return "This disk is full: make room on it, then go on; what the last whole checkpoint has is kept."
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        return (
            "Memory ran out: lower --max-tokens (the result stays the same) or set --gradient-checkpointing true, in a new run; "
            f"this one used {run.config.max_tokens}."
        )
    return f"Training failed ({type(error).__name__}: {text[:200]}); the details are in {run.failure_log.name} of the run's folder."


def _is_full(error: Exception, text: str) -> bool:
    """Whether the disk was full; safetensors says so in words, torch's writer only that it did not get as far as it wrote."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in text or ("inline_container" in text and "unexpected pos" in text)


def _train(run: Run, slot: Any, on_step: Callable[[StepLog], None] | None, should_stop: Callable[[], bool] | None) -> bool:
    """One slot of training; whether the run is finished."""
    import torch
    from transformers import PrinterCallback, set_seed

    from pipeline.callbacks import SampleAnswers, Watch

    torch.set_num_threads(models.cpu_threads())
    device, base = models.choose_device(), models.recorded(run.base)
    config, dataset = run.config, run.dataset()
    if config.dtype == "auto":
        config = replace(config, dtype=models.suits(base.path, device))
        if ranks.leads():
            run.update(config=config.to_json())
    if ranks.leads():
        _sweep(run)
    last = run.last_checkpoint
    if last and last.step >= run.info["total_steps"]:  # killed, or out of time, when only finishing was left
        if ranks.leads():
            _finish(_trained(last, config, base), config, base, run)
        return True
    set_seed(config.seed)  # before the adapters are made
    tokenizer = models.load_tokenizer(base.path)
    trainer = _trainer(run, config, dataset, base, tokenizer, device)
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    at_once = min(batch * ranks.count(), len(trainer.train_dataset))
    watch = Watch(run, slot, device, at_once, trainable * 4 * 3, on_step, should_stop)  # weights and AdamW's two moments
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to --json
    trainer.add_callback(watch)
    if ranks.leads():
        trainer.add_callback(SampleAnswers(run, watch, tokenizer, device, _samples(dataset)))
    trainer.train(resume_from_checkpoint=str(last.path) if last else None)
    if watch.stopped or ranks.agreed(not slot.has(watch.save_seconds * 1.5)):
        return False
    if not ranks.leads():
        return True
    _finish(trainer.accelerator.unwrap_model(trainer.model), config, base, run)
    return True


def _trainer(run: Run, config: TrainConfig, dataset: ToolDataset, base: BaseModel, tokenizer: Any, device: str) -> Any:
    """TRL's trainer over the run's rows. Weights are float32 masters; bfloat16 is computed in under autocast.

    AdamW's steps on bfloat16 weights would mostly be rounded away: a step of 2e-5 is far below 1/256 of a weight.
    """
    from trl import SFTConfig

    from pipeline.trainer import PrefixSharingTrainer, to_dataset

    def rows(split: str) -> Any:
        chosen = [example for example in dataset.examples if example.split == split]
        return to_dataset([_tokenized(dataset, example, tokenizer) for example in chosen]) if chosen else None

    held_out = rows("test")
    args = SFTConfig(
        output_dir=str(run.checkpoints_path), num_train_epochs=config.num_train_epochs, max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate, lr_scheduler_type=config.lr_scheduler_type, warmup_steps=config.warmup_steps,
        per_device_train_batch_size=config.per_device_train_batch_size, per_device_eval_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps, weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm, seed=config.seed, bf16=config.dtype == "bfloat16", fp16=False, use_cpu=device == "cpu",
        activation_checkpointing=config.gradient_checkpointing, activation_checkpointing_kwargs={"use_reentrant": False},
        save_strategy="steps", save_steps=config.save_steps, eval_strategy="epoch" if held_out else "no", prediction_loss_only=True,
        logging_steps=1, logging_nan_inf_filter=False, max_length=None, packing=False, remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True}, dataloader_num_workers=0, dataloader_pin_memory=False,
        report_to="none", disable_tqdm=True,
    )  # fmt: skip
    return PrefixSharingTrainer(
        model=models.load_weights(base.path, "float32"), args=args, train_dataset=rows("train"), eval_dataset=held_out,
        processing_class=tokenizer, peft_config=_lora(config) if config.method == "lora" else None, max_tokens=config.max_tokens,
        share_prefix=config.method == "full" or config.lora_dropout == 0,
    )  # fmt: skip


def _lora(config: TrainConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip


def _sweep(run: Run) -> None:
    """Remove what a killed or failed process left half-written: it does not count and would only take up the disk."""
    whole = {checkpoint.path for checkpoint in run.checkpoints()}
    for folder in run.checkpoints_path.glob("checkpoint-*"):
        if folder not in whole:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (*run.path.glob(".model.*.partial"), *run.path.glob(".adapter.*.partial")):
        shutil.rmtree(folder, ignore_errors=True)


def _samples(dataset: ToolDataset) -> list[tuple[Example, str, str]]:
    """Held-out rows for the sample answers, of as many tools and kinds as fit, with prompt and completion as texts."""
    first: dict[tuple[str, ...], Example] = {}
    held_out = [example for example in dataset.examples if example.split == "test"]
    for example in held_out:
        first.setdefault((example.kind, *(call.name for call in example.calls)), example)
    chosen = [*first.values(), *(example for example in held_out if example not in first.values())][:SAMPLES]
    return [(e, *render_example([*e.prompt, e.completion], dataset.tools_of(e))) for e in chosen]


# -------------------------------------------------------------------------------------------------------------- finish


def _finish(model: Any, config: TrainConfig, base: BaseModel, run: Run) -> None:
    """Merge the adapters, check every weight, and put both into adapter/ and model/, which appear whole. Raises ModelError."""
    import torch

    adapter = None
    if config.method == "lora":
        adapter = run.path / f".adapter.{secrets.token_hex(4)}.partial"
        save_adapter(model, base, adapter)
        model = model.merge_and_unload()
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        if adapter:
            shutil.rmtree(adapter)
        raise ModelError(
            f"{len(broken)} of the trained weights are not finite ({broken[0]}, ...), so the model is not saved; "
            f"start over with a lower --learning-rate (it was {config.learning_rate:g})."
        )
    beside = run.path / f".model.{secrets.token_hex(4)}.partial"
    save_model(model, base, beside)
    for made, final in ((adapter, run.adapter_path), (beside, run.model_path)):
        if final.exists():  # of a slot that was killed between the rename and run.json
            shutil.rmtree(final)
        if made is not None:
            os.rename(made, final)
    losses = [entry.loss for entry in run.log() if entry.loss is not None]
    run.update(final_loss=losses[-1] if losses else None)


def _trained(checkpoint: Checkpoint, config: TrainConfig, base: BaseModel) -> Any:
    """The model as it stands in a checkpoint; with its adapters, for LoRA."""
    if config.method == "full":
        return models.load_weights(checkpoint.path, "float32")
    from peft import PeftModel

    return PeftModel.from_pretrained(models.load_weights(base.path, "float32"), checkpoint.path)


def save_adapter(model: Any, base: BaseModel, folder: Path) -> None:
    """The adapters of a peft `model`: adapter_model.safetensors, and adapter_config.json that names the base as others can find it."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's own card, a form to fill in; the exporter writes one
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    name = base.id if base.embedded or base.revision else Path(base.path).name  # where it lies on this disk is nobody's business
    settings |= {"base_model_name_or_path": name, "revision": base.revision, "target_modules": sorted(settings["target_modules"])}
    write_atomic(folder / "adapter_config.json", json.dumps(settings, indent=2, sort_keys=True))


def save_model(model: Any, base: BaseModel, folder: Path) -> None:
    """`model` as a checkpoint like `base`'s: its configuration and tokenizer files byte for byte, the three stops, its number format.

    Only a small model is kept in float32 even if its base came in bfloat16: rounding would undo some of what so few weights learned.
    """
    import torch

    settings = base.config
    dtype = settings.pop("dtype", None) or settings.pop("torch_dtype", None) or "float32"
    kept = "float32" if models.is_small(base.path) else dtype
    model.to(getattr(torch, kept)).save_pretrained(folder)
    shutil.copyfile(Path(base.path) / "config.json", folder / "config.json")
    copy_tokenizer(base, folder)
    if kept != dtype:
        write_atomic(folder / "config.json", json.dumps({**settings, "dtype": kept}, indent=1))
    tokenizer = models.load_tokenizer(folder)
    write_atomic(folder / "generation_config.json", json.dumps({
        "bos_token_id": tokenizer.convert_tokens_to_ids("<bos>"), "eos_token_id": models.stop_ids(tokenizer),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<pad>"), "do_sample": False,
    }, indent=1))  # fmt: skip


def copy_tokenizer(base: BaseModel, folder: Path) -> None:
    """The tokenizer files of `base`, byte for byte, into `folder`; a repository that is not on our list brings no template of its own."""
    for name in TOKENIZER_FILES:
        if (Path(base.path) / name).is_file():  # transformers 5 does not write tokenizer.model, which the phone formats need
            shutil.copyfile(Path(base.path) / name, folder / name)
    if base.revision and base.id not in REVISIONS:
        _put_own_template(folder)


def _put_own_template(folder: Path) -> None:
    """Our chat template in place of one that a repository of the Hub may bring: exporters and runtimes render what lies here."""
    shutil.copyfile(models.EMBEDDED / TEMPLATE, folder / TEMPLATE)
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        kept = {name: value for name, value in json.loads(settings.read_text("utf-8")).items() if name != "chat_template"}
        write_atomic(settings, json.dumps(kept, indent=1, ensure_ascii=False))
