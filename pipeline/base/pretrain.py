"""Make the embedded base model from nothing: a tokenizer, then a few million parameters that copy, then that call.

    python -m pipeline.base.pretrain --out DIR --steps 3600          about 90 minutes on 1 to 2 cores; run again to go on after a crash

A model of this size learns to call tools only if it first learns to copy. So a first stage repeats random tokens after a separator,
until it is right 97 times in 100; the second draws tool sets and requests (synthetic.py), a few sets a step, the requests of a set
in one pack behind their shared declarations. The loss is on completions only. Matrices are trained by Muon, the embedding and the
norms by AdamW (after 125 steps of copying the loss was 5.7 nats, with AdamW alone 6.5); weights and gradients are bfloat16 with float32
masters, 1.5 times the speed of float32 on a CPU that has AVX512-BF16.

Every step draws its data from its own seed, so a run that was stopped goes on as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import sentencepiece
import torch
from torch.nn import functional as F
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from pipeline import functiongemma, packing, prefix_attention

from . import tokenizer as T
from .synthetic import PLAIN, WIDE, World

#: 4.76 million parameters, 9.5 MB in bfloat16. Heads and key-value heads are as many as in FunctionGemma 270M.
SHAPE = {
    "vocab_size": T.VOCABULARY_SIZE, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 512, "max_position_embeddings": 4096,
    "layer_types": ["sliding_attention", "full_attention"] * 3, "tie_word_embeddings": True,
    "pad_token_id": T.PAD, "bos_token_id": T.BOS, "eos_token_id": T.EOS,
}  # fmt: skip
MUON_LR, ADAM_LR = 4e-3, 2e-3
WARMUP, DECAY = 50, 0.4  # steps; the share of the steps over which the learning rate falls to nothing
TOOL_SETS, REQUESTS = 3, 16  # a step
WIDE_STEPS = 1067  # steps on the wide mix of requests; the plain one follows
COPY_ROWS, COPIED, COPY_GOAL = 32, (8, 12, 16, 24), 0.97
CHECKPOINT_SECONDS = 120
DEVELOPER = (
    *[functiongemma.TRIGGER] * 9,
    "You are a helpful assistant.",
    "Current date and time: 2026-0{d}-1{d}T0{d}:30:00\n" + functiongemma.TRIGGER,
)


class Pretraining:
    """The state of a pretraining run: model, float32 masters, optimisers, stage and step; saved and loaded as one file."""

    def __init__(self, out: Path):
        torch.manual_seed(0)
        self.path = out / "pretraining.pt"
        self.model = Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE)).to(torch.bfloat16)
        self.masters = [p.detach().float().clone().requires_grad_() for p in self.model.parameters()]
        named = list(zip([n for n, _ in self.model.named_parameters()], self.masters, strict=True))
        matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in named if p.ndim != 2 or "embed" in n]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.stage, self.step, self.seconds = "copy", 0, 0.0

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        for master, value in zip(self.masters, state["masters"], strict=True):
            master.data.copy_(value)
        for optimizer, value in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(value)
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self._publish()

    def save(self) -> None:
        state = {"masters": [m.detach() for m in self.masters], "optimizers": [o.state_dict() for o in self.optimizers],
                 "stage": self.stage, "step": self.step, "seconds": self.seconds}  # fmt: skip
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def update(self, factor: float) -> None:
        """One optimiser step on the gradients that stand in the model, at `factor` times the full learning rate."""
        for master, parameter in zip(self.masters, self.model.parameters(), strict=True):
            master.grad, parameter.grad = parameter.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        for optimizer, rate in zip(self.optimizers, (MUON_LR, ADAM_LR), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        self._publish()
        self.step += 1

    def _publish(self) -> None:
        with torch.no_grad():
            for master, parameter in zip(self.masters, self.model.parameters(), strict=True):
                parameter.copy_(master)


def copy_step(run: Pretraining) -> float:
    """One step of the copying task, `<bos> A <mask> A`; returns the share of copied tokens that were right."""
    generator = torch.Generator().manual_seed(run.step)
    length = COPIED[run.step % len(COPIED)]
    a = torch.randint(300, T.VOCABULARY_SIZE, (COPY_ROWS, length), generator=generator)
    ids = torch.cat([torch.full((COPY_ROWS, 1), T.BOS), a, torch.full((COPY_ROWS, 1), 4), a], 1)
    hidden = run.model.model(input_ids=ids, use_cache=False).last_hidden_state[:, length + 1 : -1]
    logits = run.model.lm_head(hidden).float()
    F.cross_entropy(logits.flatten(0, 1), a.flatten()).backward()
    run.update(min(1.0, (run.step + 1) / WARMUP))
    return (logits.argmax(-1) == a).float().mean().item()


def call_packs(step: int, encode) -> list[packing.Pack]:
    """The packs of one step: a few tool sets, each with its requests behind its declarations."""
    world = World(step, WIDE if step < WIDE_STEPS else PLAIN)
    packs = []
    for _ in range(TOOL_SETS):
        tools = world.tool_set(world.random.choices((1, 2, 3, 4, 5), (10, 20, 40, 20, 10))[0])
        specs = [tool.spec for tool in tools]
        text = world.random.choice(DEVELOPER).replace("{d}", str(world.random.randint(1, 9)))
        developer = {"role": "developer", "content": text}
        rows = [world.row(tools) for _ in range(REQUESTS)]
        conversations = [[developer, {"role": "user", "content": r.request}, r.completion()] for r in rows]
        packs.append(packing.pack([packing.tokenize(c, specs, encode) for c in conversations]))
    return packs


def call_step(run: Pretraining, steps: int, encode) -> tuple[float, float]:
    """One step on calls; returns (mean loss in nats, share of completion tokens that were right)."""
    packs = call_packs(run.step, encode)
    learned = sum(label != packing.IGNORE for p in packs for label in p.shift_labels)
    total = hits = 0.0
    for p in packs:
        loss, right, _ = prefix_attention.packed_loss(run.model, p)
        (loss / learned).backward()
        total, hits = total + loss.item(), hits + right.item()
    left = (steps - run.step) / (steps * DECAY)
    run.update(min(1.0, (run.step + 1) / WARMUP, left))
    return total / learned, hits / learned


class Encoder:
    """SentencePiece behind the one method that packing.tokenize needs."""

    def __init__(self, model: bytes):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        bos = [T.BOS] if text.startswith("<bos>") else []
        return bos + self.processor.encode(text.removeprefix("<bos>"))


def tokenizer_texts(sets: int = 6000):
    """Prompts and completions for the tokenizer to be trained on."""
    world = World(-1, WIDE)
    for _ in range(sets):
        tools = world.tool_set(3)
        specs = [tool.spec for tool in tools]
        developer = {"role": "developer", "content": functiongemma.TRIGGER}
        yield functiongemma.render_prompt([developer], specs)
        for row in (world.row(tools) for _ in range(8)):
            yield row.request
            yield functiongemma.render_prompt([row.completion()], None)


def write_checkpoint(model: Gemma3ForCausalLM, folder: Path, tokenizer_model: bytes) -> None:
    """Write the folder that ships: configuration, bfloat16 weights, tokenizer in both forms, stops, chat template."""
    template = (Path(__file__).parent / "checkpoint" / "chat_template.jinja").read_text(encoding="utf-8")
    model.config._attn_implementation = "sdpa"
    model.generation_config.update(bos_token_id=T.BOS, pad_token_id=T.PAD, eos_token_id=T.STOP_IDS, do_sample=False)
    model.save_pretrained(folder)
    T.write_tokenizer(tokenizer_model, folder, template)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the state of the run and the finished checkpoint/")
    parser.add_argument("--steps", type=int, default=3600, help="steps of the second stage")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer_path = options.out / "tokenizer.model"
    if not tokenizer_path.exists():
        tokenizer_path.write_bytes(T.train_sentencepiece(tokenizer_texts()))
    tokenizer_model = tokenizer_path.read_bytes()
    encode = Encoder(tokenizer_model)
    run = Pretraining(options.out)
    if run.path.exists():
        run.load()
    started, saved = time.time() - run.seconds, time.time()
    mean = {"right": 0.0, "loss": 0.0}
    while run.stage == "copy" or run.step < options.steps:
        if run.stage == "copy":
            right, loss = copy_step(run), 0.0
        else:
            loss, right = call_step(run, options.steps, encode)
        run.seconds = time.time() - started
        for key, value in (("right", right), ("loss", loss)):
            mean[key] = value if not mean[key] else 0.95 * mean[key] + 0.05 * value
        if run.step % 25 == 0:
            line = {"stage": run.stage, "step": run.step, **{k: round(v, 4) for k, v in mean.items()}, "seconds": round(run.seconds)}
            print(json.dumps(line), file=sys.stderr, flush=True)
        if run.stage == "copy" and mean["right"] > COPY_GOAL:
            run.stage, run.step, mean = "calls", 0, {"right": 0.0, "loss": 0.0}
        if time.time() - saved > CHECKPOINT_SECONDS:
            run.save()
            saved = time.time()
    run.save()
    write_checkpoint(run.model, options.out / "checkpoint", tokenizer_model)


if __name__ == "__main__":
    main()
