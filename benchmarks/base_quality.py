"""What the embedded base can do: zero-shot on tool sets it never saw, and after a fine-tune on real and on sample data.

    .venv/bin/python benchmarks/base_quality.py [--base embedded|FOLDER] [--data FOLDER] [--seeds 5] [--sets 200] [--json FILE]

Zero-shot: one request each to tool sets of three whose (verb, noun) pairs were kept from pretraining, once in the plain mix of
requests and once in the wide one, which also says what few people would. Fine-tuned: the dataset of
--data (two files, *.jsonl and *_tools.json; left out, that part is skipped) and the sample project, each trained with the defaults of
`python -m pipeline train` on a split of its own for every seed and scored on the held-out tenth. It does not know what is good enough.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from parts import ROOT

from pipeline import importers, model, samples, scores
from pipeline.base.synthetic import PLAIN, WIDE, Mix, World
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset
from pipeline.evaluate import evaluate
from pipeline.examples import Example
from pipeline.functiongemma import TRIGGER, render_example
from pipeline.sources import tools_from
from pipeline.tools import ToolSpec
from pipeline.train import prepare, train

UNSEEN_SEED = 20_000_003  # any seed: held_out=True keeps these worlds' tools apart from those of pretraining


def unseen(sets: int, mix: Mix) -> list[tuple[Example, tuple[ToolSpec, ...]]]:
    """One request to each of `sets` tool sets of three, none of whose tools were in pretraining."""
    world, rows = World(UNSEEN_SEED, mix, held_out=True), []
    for _ in range(sets):
        tools = world.tool_set(3)
        row = world.row(tools)
        messages = ({"role": "developer", "content": TRIGGER}, {"role": "user", "content": row.request}, row.completion())
        rows.append((Example(messages), tuple(ToolSpec.from_json(tool.spec) for tool in tools)))
    return rows


def zero_shot(base: model.BaseModel, sets: int, mix: Mix) -> dict[str, Any]:
    rows = unseen(sets, mix)
    prompts = [render_example(example.messages, tools)[0] for example, tools in rows]
    answers = model.generate(model.load(base), prompts, 160)
    results = [scores.judge(n, e, tools, a.text) for n, ((e, tools), a) in enumerate(zip(rows, answers, strict=True), start=1)]
    for r in results:
        if r.verdict != "correct":
            print(f"  {r.verdict}: {r.request} -> {r.raw}", file=sys.stderr)
    return summarise([results])


def fine_tuned(dataset: ToolDataset, base: model.BaseModel, seeds: int) -> dict[str, Any]:
    """Prepare, train and evaluate once for each seed, as the command line does."""
    reports, seconds, processor = [], [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = prepare(dataset, TrainConfig(seed=seed, split_seed=seed), Path(folder) / "run", base)
            began, used = time.perf_counter(), time.process_time()
            train(run)
            seconds.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
            report = evaluate(run)
            reports.append(report.results)
            scored = f"tool {report.tool_accuracy:.1%}, exact {report.exact_match:.1%}"
            print(f"  seed {seed}: {scored}, trained in {seconds[-1]:.0f} s", file=sys.stderr)
    return summarise(reports) | {"seconds": statistics.mean(seconds), "cpu_seconds": statistics.mean(processor)}


def summarise(reports: list[list[scores.RowResult]]) -> dict[str, Any]:
    """Mean and range over `reports`; shares by kind are over all rows of all reports."""
    def share(rows: list[scores.RowResult], attribute: str) -> float:
        return sum(r.tool if attribute == "tool" else r.verdict == "correct" for r in rows) / len(rows)

    everything = [r for report in reports for r in report]
    kinds = sorted({r.kind for r in everything})
    tool, exact = [share(r, "tool") for r in reports], [share(r, "exact") for r in reports]
    return {
        "reports": len(reports), "rows": len(everything), "tool_accuracy": statistics.mean(tool), "tool_range": [min(tool), max(tool)],
        "exact_match": statistics.mean(exact), "exact_range": [min(exact), max(exact)],
        "exact_by_kind": {k: share([r for r in everything if r.kind == k], "exact") for k in kinds},
        "rows_by_kind": {k: sum(r.kind == k for r in everything) for k in kinds},
    }  # fmt: skip


def real_dataset(folder: Path) -> ToolDataset:
    tools = tools_from(next(folder.glob("*_tools.json")))
    dataset, _ = importers.read(next(folder.glob("*.jsonl")), tools)
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model.quiet()
    base = model.find_base(options.base)
    found: dict[str, Any] = {"cores": os.cpu_count()}
    for name, mix in (("zero_shot", PLAIN), ("zero_shot_wide", WIDE)):
        found[name] = zero_shot(base, options.sets, mix)
    if options.seeds and options.data.is_dir():
        found["real_rows"] = fine_tuned(real_dataset(options.data), base, options.seeds)
    if options.seeds:
        found["sample_project"] = fine_tuned(samples.load(), base, options.seeds)
    print(f"{'':16}{'rows':>6}{'right tool':>12}{'exact':>8}{'range':>16}{'train':>9}   exact by kind")
    for name, part in found.items():
        if name == "cores":
            continue
        low, high = part["exact_range"]
        kinds = ", ".join(f"{kind} {value:.0%} of {part['rows_by_kind'][kind]}" for kind, value in part["exact_by_kind"].items())
        seconds = f"{part['seconds']:.0f} s" if "seconds" in part else ""
        scored = f"{part['tool_accuracy']:>12.1%}{part['exact_match']:>8.1%}{f'{low:.0%} to {high:.0%}':>16}"
        print(f"{name:16}{part['rows']:>6}{scored}{seconds:>9}   {kinds}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
