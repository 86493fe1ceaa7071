"""A whole fine-tune of the 270M shape as `python -m pipeline train` does it: the 320 real rows x 3 epochs; time and memory.

    .venv/bin/python benchmarks/finetune_270m.py [--quick] [--data FOLDER] [--minutes N] [--json FILE]

The weights are random and the tokenizer is the embedded base's (2,048 pieces behind the 262,144 rows of the real output layer), since
FunctionGemma's own are not in this repository: rows are longer than with the real one, by how much is not known here; their
lengths are printed. Every setting is the default for FunctionGemma, checkpoints included; no row is held out. --quick trains one epoch. The
dataset is that of --data (two files, *.jsonl and *_tools.json), else the sample project's. What the model learns means nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from parts import ROOT, command, measure, shape, work

SHARED = ROOT.parent / "shared" / "data"
TARGETS = {"seconds": 360, "cpu_seconds": 720, "peak_bytes": 10e9}


def dataset(folder: Path) -> tuple[Any, str]:
    """The real rows, all of them to train on, and where they are from."""
    from pipeline import importers, samples
    from pipeline.dataset import ToolDataset
    from pipeline.sources import tools_from

    if folder.is_dir():
        tools = tools_from(next(folder.glob("*_tools.json")))
        found, _ = importers.read(next(folder.glob("*.jsonl")), tools)
        name = next(folder.glob("*.jsonl")).name
    else:
        found, name = samples.load(), "sample project"
    return ToolDataset(found.tools, tuple(replace(example, split="train") for example in found.examples)), name


def lengths(rows: Any, folder: Path) -> dict[str, float]:
    """What the rows are in tokens."""
    from pipeline import model as models
    from pipeline.packing import plan_groups, tokenize

    tokenizer = models.load_tokenizer(folder)
    made = [tokenize([*e.prompt, e.completion], rows.tools_of(e), tokenizer) for e in rows.examples]
    prefix, members = plan_groups(made)[0]
    learned = [sum(label >= 0 for label in e.labels) for e in made]
    return {
        "rows": len(made), "shared_prefix": prefix, "rows_that_share_it": len(members),
        "suffix_mean": statistics.mean(len(e.input_ids) for e in made) - prefix, "longest_row": max(len(e.input_ids) for e in made),
        "learned_mean": statistics.mean(learned),
    }  # fmt: skip


def child(job: dict[str, Any]) -> None:
    """Prepare a run, then train it; its peak memory is this process's."""
    from pipeline.config import TrainConfig
    from pipeline.model import find_base
    from pipeline.train import prepare, train

    base, (rows, _) = find_base(job["base"]), dataset(Path(job["data"]))
    run = prepare(rows, TrainConfig(num_train_epochs=job["epochs"]), Path(job["run"]), base)
    measure.say(config=run.config.to_json(), total_steps=run.info["total_steps"])
    measure.reset_peak(job["device"])
    began, used, marks = time.perf_counter(), time.process_time(), [time.perf_counter()]

    def tell(entry: Any) -> None:
        if entry.loss is not None:
            marks.append(time.perf_counter())
            measure.say(
                step=entry.step, of=entry.total, loss=entry.loss, step_seconds=marks[-1] - marks[-2], seconds=marks[-1] - began,
                cpu_seconds=time.process_time() - used, peak=measure.peak(job["device"]),
            )  # fmt: skip

    done = train(run, on_step=tell)
    measure.say(
        done=done.status, seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - used, peak=measure.peak(job["device"]),
        dtype=done.config.dtype,
    )  # fmt: skip


def main() -> None:
    parser = command.parser("Time and memory of a whole fine-tune of the 270M shape.", "one epoch instead of three")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with *.jsonl and *_tools.json")
    parser.add_argument("--work", type=Path, help="folder for the run's 7 GB of checkpoints (default: a temporary one)")
    if (options := command.given(parser, child)) is None:
        return
    from pipeline import model as models

    device, epochs, progress = models.choose_device(), 1 if options.quick else 3, measure.Progress()
    rows, source = dataset(options.data)
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        folder = Path(temporary)
        shape.checkpoint(folder / "base", options.shape)
        tokens = lengths(rows, folder / "base")
        found: dict[str, Any] = {
            "what": "a whole fine-tune", "machine": measure.machine(device, models.choose_dtype(device)), "source": source,
            "epochs": epochs, "tokens": tokens, "steps": [],
        }  # fmt: skip
        progress(f"{tokens['rows']} rows of {source}: {tokens['shared_prefix']} tokens shared, {tokens['suffix_mean']:.0f} own on average")
        job = {"base": str(folder / "base"), "run": str(folder / "run"), "data": str(options.data), "epochs": epochs, "device": device}
        for line in measure.child(__file__, job):
            if "step" in line:
                found["steps"].append(line)
                progress(f"step {line['step']} of {line['of']}: {line['step_seconds']:.1f} s, peak {line['peak'] / measure.GIB:.2f} GiB")
            elif "done" in line:
                found |= {key: line[key] for key in ("seconds", "cpu_seconds", "dtype")} | {"peak_bytes": line["peak"]}
            else:
                found |= line
            measure.save(options.json, found)
    report(found, work.Model.of(shape.config(options.shape)))


def report(found: dict[str, Any], model: work.Model) -> None:
    host, tokens, steps = found["machine"], found["tokens"], found["steps"]
    print(f"\n{host['device']}, {host['threads']} threads, {found['dtype']}")
    print(f"{tokens['rows']} rows x {found['epochs']} epochs, {len(steps)} steps")
    print(f"tokens: prefix {tokens['shared_prefix']}, suffix {tokens['suffix_mean']:.1f}, of these learned {tokens['learned_mean']:.1f}")
    for key, name, unit, divisor in (
        ("seconds", "wall", "s", 1), ("cpu_seconds", "processor", "CPU s", 1), ("peak_bytes", "peak memory", "GB", 1e9),
    ):  # fmt: skip
        target = f" (target for 3 epochs: {TARGETS[key] / divisor:g})" if found["epochs"] == 3 else ""
        print(f"{name}: {found[key] / divisor:.1f} {unit}{target}")
    batch = found["config"]["per_device_train_batch_size"]
    lengths = (tokens["shared_prefix"], round(tokens["suffix_mean"]), round(tokens["learned_mean"]))
    counted = work.packed_step(model, batch, *lengths, found["config"]["gradient_checkpointing"])
    total, usual = sum(counted.values()) / 1e12, statistics.median(step["step_seconds"] for step in steps)
    print(
        f"a step: {total:.2f} TFLOP ({', '.join(f'{name} {value / 1e12:.2f}' for name, value in counted.items())}), "
        f"{total / host['gemm_tflops']:.1f} s at GEMM speed ({host['gemm_tflops']:.2f} TFLOP/s); measured {usual:.1f} s; "
        f"between steps and at the end {found['seconds'] - usual * len(steps):.0f} s in all (loading, checkpoints, saving)"
    )


if __name__ == "__main__":
    main()
