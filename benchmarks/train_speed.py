"""Full fine-tuning of the 270M shape, in examples per second: prefix-sharing packs against TRL.

    .venv/bin/python benchmarks/train_speed.py [--quick] [--rounds N] [--minutes N] [--sides SIDE ...] [--json FILE]

    ours                PrefixSharingTrainer as `python -m pipeline train` sets it: 32 x 1, gradient checkpointing
    ours_uncheckpointed the same with --gradient-checkpointing false
    strongest           trl.SFTTrainer at its best here: sdpa, no checkpointing, its fused head on learned positions only
    cookbook            trl.SFTTrainer as Google's FunctionGemma notebook sets it: eager attention, 4 x 8, checkpointing, weights and
                        AdamW's moments in bfloat16, where most steps of 1e-5 are rounded away: half the state, and another training
    cookbook_float32    the same with float32 weights under bfloat16 autocast, which all other sides train

All take the same 32 rows a step: a shared prefix, a user turn of 25 tokens, a completion of 30 that is learned. On a CPU TRL's head scores
every position unless told that there is Triton; it is told so. On a GPU it needs no telling, and the strongest is 32 x 1. Rows are equally
long, so padding-free batches and packing would gain nothing (and on a CPU would attend across all rows); Liger needs a GPU, and TRL
1.16 uses its layer kernels only.

A round runs each side once, one after another, each in a process of its own that is alone in memory; rounds repeat, figures are medians,
memory the largest. Ratios of speed are ours over theirs; so are those of memory, where less is better.
--quick leaves the two variants out, and times one batch of a peer's step instead of all (--batches), taking the others to be as long: they
are the same work on other random tokens. The optimiser is timed whole. It does not know whether the machine was quiet: compare CPU seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

from parts import command, measure, shape, work

STEP = 32  # examples of an optimiser step
USER, COMPLETION = 25, 30  # tokens
LEAD_IN = 30  # prefix of the rows that are not timed
TARGETS = {"cpu": {"cookbook": {300: 18, 600: 28, 900: 38}, "strongest": {300: 4, 600: 5.5, 900: 9}},
           "cuda": {"cookbook": {600: 8}, "strongest": {600: 2.5}}}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """How one side trains."""

    weights: str
    attention: str
    batch: int
    checkpointing: bool

    @property
    def batches(self) -> int:
        return STEP // self.batch


def sides(device: str, dtype: str) -> dict[str, Side]:
    return {
        "ours": Side("float32", "sdpa", STEP, True),
        "ours_uncheckpointed": Side("float32", "sdpa", STEP, False),
        "strongest": Side("float32", "sdpa", STEP if device == "cuda" else 4, False),
        "cookbook": Side(dtype, "eager", 4, True),
        "cookbook_float32": Side("float32", "eager", 4, True),
    }


QUICK = ("ours", "strongest", "cookbook")


def is_ours(name: str) -> bool:
    return name.startswith("ours")


# --------------------------------------------------------------------------------------------------------------- child


def child(job: dict[str, Any]) -> None:
    """Train one side on all prefixes, shortest first, and say what every timed step took."""
    import torch
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer
    from trl.trainer import utils as trl_utils

    from pipeline import model as models
    from pipeline.trainer import PrefixSharingTrainer, to_dataset

    models.quiet()
    torch.set_num_threads(models.cpu_threads())
    device, side, timed = job["device"], Side(**job["side"]), job["batches"]
    if job["name"] == "strongest":
        trl_utils._use_triton = lambda _: True
    # A step with fewer batches begins with one short one, so that gradients are in memory as they are in a whole step.
    lead = 1 if timed < side.batches else 0
    plan, rows = [0] + [prefix for prefix in job["prefixes"] for _ in range(job["repeats"])], []
    for n, prefix in enumerate(plan):
        short = side.batch * (lead if prefix else lead + timed)
        rows += shape.examples(short, LEAD_IN, USER, COMPLETION, seed=n)
        rows += shape.examples(timed * side.batch, prefix, USER, COMPLETION, seed=n) if prefix else []

    class Clock(TrainerCallback):
        """Steps are timed from end to end, so that collation and the optimiser are in; batches one by one."""

        def __init__(self) -> None:
            self.batches: list[tuple[float, float]] = []
            self.mark = (0.0, 0.0)

        def now(self) -> tuple[float, float]:
            measure.wait_for(device)
            return time.perf_counter(), time.process_time()

        def since(self, mark: tuple[float, float]) -> tuple[float, float]:
            wall, processor = self.now()
            return wall - mark[0], processor - mark[1]

        def on_step_end(self, args, state, control, **kwargs):
            taken, batches = self.since(self.mark), self.batches
            if prefix := plan[state.global_step - 1]:
                rest = [taken[i] - sum(b[i] for b in batches) for i in (0, 1)]
                mean = [statistics.mean(b[i] for b in batches[lead:]) for i in (0, 1)]
                step = [rest[i] + side.batches * mean[i] for i in (0, 1)]
                measure.say(
                    prefix=prefix, seconds=step[0], cpu_seconds=step[1], optimiser=rest[0], peak=measure.peak(device), measured=taken[0]
                )
            measure.reset_peak(device)
            self.batches, self.mark = [], self.now()

    clock = Clock()

    class Timed:
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            began = clock.now()
            loss = super().training_step(*args, **kwargs)
            clock.batches.append(clock.since(began))
            return loss

    kind = type("TimedTrainer", (Timed, PrefixSharingTrainer if is_ours(job["name"]) else SFTTrainer), {})
    with tempfile.TemporaryDirectory() as folder:
        args = SFTConfig(
            output_dir=folder, per_device_train_batch_size=side.batch, gradient_accumulation_steps=lead + timed, max_steps=len(plan),
            learning_rate=1e-5, lr_scheduler_type="cosine", optim="adamw_torch_fused", bf16=job["dtype"] == "bfloat16", fp16=False,
            use_cpu=device == "cpu", activation_checkpointing=side.checkpointing, activation_checkpointing_kwargs={"use_reentrant": False},
            max_length=None, packing=False, remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True},
            train_sampling_strategy="sequential", dataloader_pin_memory=False, save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = kind(
            model=shape.random_model(job["shape"], side.weights, side.attention), args=args, train_dataset=to_dataset(rows),
            processing_class=shape.tokenizer(), callbacks=[clock],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()


# -------------------------------------------------------------------------------------------------------------- parent


def measured(options: argparse.Namespace, device: str, dtype: str, found: dict[str, Any], progress: measure.Progress) -> None:
    """Run the rounds; `found` and the file grow with every step."""
    longest_round = 0.0
    for n in range(options.rounds):
        if n and options.minutes and progress.elapsed + longest_round > options.minutes * 60:
            progress(f"round {n + 1} would not end within {options.minutes:g} minutes and is left out")
            return
        began = progress.elapsed
        for name, side in sides(device, dtype).items():
            if name not in options.sides:
                continue
            batches = min(options.batches or side.batches, side.batches)
            job = {
                "name": name, "side": asdict(side), "batches": batches, "shape": options.shape, "prefixes": options.prefixes,
                "device": device, "dtype": dtype, "repeats": 1 if options.quick or not is_ours(name) else 2,
            }  # fmt: skip
            progress(f"round {n + 1}, {name}: {batches} of a step's {side.batches} batches of {side.batch} are timed")
            for line in measure.child(__file__, job):
                prefix = line.pop("prefix")
                found["runs"].append({"round": n + 1, "side": name, "prefix": prefix, **line})
                progress(
                    f"  prefix {prefix}: {line['seconds'] / STEP:7.3f} s an example, {line['cpu_seconds'] / STEP:7.3f} CPU s, "
                    f"optimiser {line['optimiser']:.2f} s a step, peak {line['peak'] / measure.GIB:.2f} GiB"
                )
                summarise(found)
                measure.save(options.json, found)
        longest_round = max(longest_round, progress.elapsed - began)
        found["rounds"] = n + 1


def summarise(found: dict[str, Any]) -> None:
    """Medians over the runs so far, and ratios wherever both sides have been measured."""
    prefixes = sorted({run["prefix"] for run in found["runs"]})
    for name in found["configuration"]:
        for prefix in prefixes:
            runs = [run for run in found["runs"] if run["side"] == name and run["prefix"] == prefix]
            if runs:
                wall, cpu = (statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds"))
                found["sides"].setdefault(name, {})[str(prefix)] = {
                    "examples_per_second": STEP / wall, "examples_per_cpu_second": STEP / cpu, "steps": len(runs),
                    "seconds_per_step": wall, "cpu_seconds_per_step": cpu,
                    "optimiser_seconds": statistics.median(run["optimiser"] for run in runs),
                    "peak_bytes": max(run["peak"] for run in runs),
                }  # fmt: skip
    for peer in [name for name in found["configuration"] if name != "ours"]:
        for key, column in (("ratio", "examples_per_second"), ("cpu_ratio", "examples_per_cpu_second"), ("memory_ratio", "peak_bytes")):
            ours, theirs = found["sides"].get("ours", {}), found["sides"].get(peer, {})
            found[f"{key}_{peer}"] = {p: ours[p][column] / theirs[p][column] for p in ours if p in theirs}


def counted(options: argparse.Namespace, device: str, dtype: str) -> dict[str, Any]:
    """Operations of a step of each side, and what its optimiser moves."""
    model, length = work.Model.of(shape.config(options.shape)), USER + COMPLETION
    found: dict[str, Any] = {}
    for name, side in sides(device, dtype).items():
        width = 4 if side.weights == "float32" else 2
        found[name] = {"optimiser_bytes": work.optimiser_bytes(model, width), "state_bytes": 4 * width * model.weights}
        for prefix in options.prefixes:
            if is_ours(name):
                found[name][str(prefix)] = work.packed_step(model, STEP, prefix, length, COMPLETION, side.checkpointing)
            else:
                every = device == "cpu" and name != "strongest"
                scored = prefix + length - 1 if every else COMPLETION
                found[name][str(prefix)] = work.plain_step(model, STEP, prefix + length, scored, side.checkpointing)
    return found


def report(found: dict[str, Any], targets: dict[str, dict[int, float]]) -> None:
    host, measured_sides = found["machine"], found["sides"]
    lines = [(str(p), name, side[str(p)]) for p in found["prefixes"] for name, side in measured_sides.items() if str(p) in side]
    print(f"\n{host['device']}, {host['threads']} threads, {host['dtype']}; {found['rounds']} rounds; medians; {STEP} examples a step")
    print("prefix side               examples/s CPU s/ex. peak GiB   ratio  by CPU  memory  target")
    for prefix, name, figures in lines:
        line = f"{prefix:>6} {name:18}{figures['examples_per_second']:11.3f}{1 / figures['examples_per_cpu_second']:10.3f}"
        line += f"{figures['peak_bytes'] / measure.GIB:9.2f}"
        if name != "ours" and prefix in found[f"ratio_{name}"]:
            line += "".join(f"{found[f'{key}_{name}'][prefix]:7.2f}x" for key in ("ratio", "cpu_ratio", "memory_ratio"))
            if target := targets.get(name, {}).get(int(prefix)):
                line += f"{target:7g}x"
        print(line)
    print(f"\nWhat bounds a step: one GEMM does {host['gemm_tflops']:.2f} TFLOP/s here, copying {host['copy_gb_per_second']:.0f} GB/s.")
    print("TFLOP:                      layers attention   head     all  at GEMM speed    optimiser by copy (measured)  whole step  TFLOP/s")
    for prefix, name, figures in lines:
        parts = [value / 1e12 for value in found["work"][name][prefix].values()]
        ideal = sum(parts) / host["gemm_tflops"]
        moved = found["work"][name]["optimiser_bytes"] / 1e9 / host["copy_gb_per_second"]
        print(
            f"{prefix:>6} {name:18}{parts[0]:9.2f}{parts[1]:10.2f}{parts[2]:7.2f}{sum(parts):8.2f}{ideal:13.1f} s"
            f"{moved:23.2f} s ({figures['optimiser_seconds']:6.2f} s){figures['seconds_per_step']:10.1f} s"
            f"{sum(parts) / figures['seconds_per_step']:9.2f}"
        )
    for name, counts in found["work"].items():
        print(f"{name}: weights, gradients and AdamW's moments take {counts['state_bytes'] / measure.GIB:.2f} GiB")


def main() -> None:
    parser = command.parser(
        "Training speed of prefix-sharing packs against TRL, on the 270M shape.",
        "one batch of the peers' steps, no variants; 8 minutes on 2 cores",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is run (default: 3)")
    parser.add_argument("--minutes", type=float, help="start no round that would end later (default: 7.8 with --quick, else none)")
    parser.add_argument("--batches", type=int, help="batches of a peer's step that are timed (default: 1 with --quick, else all)")
    parser.add_argument("--sides", nargs="+", choices=tuple(sides("cpu", "float32")), help="default: all, with --quick three")
    parser.add_argument("--prefixes", type=int, nargs="+", default=[300, 600, 900], help="shared tokens (default: 300 600 900)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="default: the faster one here")
    if (options := command.given(parser, child)) is None:
        return
    if options.rounds < 1 or min(options.prefixes) < 1 or (options.batches or 1) < 1:
        parser.error("--rounds, --prefixes and --batches must be at least 1")
    from pipeline import model as models

    options.prefixes.sort()
    if options.quick:
        options.minutes, options.batches = options.minutes or 7.8, options.batches or 1
    options.sides = options.sides or (QUICK if options.quick else tuple(sides("cpu", "float32")))
    device = options.device or models.choose_device()
    dtype = options.dtype or models.choose_dtype(device)
    found: dict[str, Any] = {
        "what": "training, examples per second", "machine": measure.machine(device, dtype), "quick": options.quick, "rounds": 0,
        "prefixes": options.prefixes, "user": USER, "completion": COMPLETION, "examples_per_step": STEP,
        "configuration": {name: asdict(side) for name, side in sides(device, dtype).items() if name in options.sides},
        "work": counted(options, device, dtype), "sides": {}, "runs": [],
    }  # fmt: skip
    progress = measure.Progress()
    try:
        measured(options, device, dtype, found, progress)
    except KeyboardInterrupt:
        print("stopped; what was measured so far:", file=sys.stderr)
    measure.save(options.json, found)
    report(found, TARGETS[device])


if __name__ == "__main__":
    main()
