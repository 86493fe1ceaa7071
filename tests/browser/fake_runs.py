"""Runs of the sample project as a finished, stopped or failed training, an evaluation or an export leaves them on disk.

They let the browser tests see every state of the page within a second. Nothing in them is trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import Page

from pipeline import dataset
from pipeline.config import TrainConfig, resolve
from pipeline.examples import ToolDataset
from pipeline.export import FOLDERS
from pipeline.files import write_atomic
from pipeline.functiongemma import render_example
from pipeline.runs import Project, Run, Sample, StepLog
from pipeline.scores import EvalReport, judge
from pipeline.ui import jobs

EVIL = '<img src=x onerror="document.title=1"> & <b>bold</b>'
TOTAL = 90
LENGTHS = "The longest prompt has 480 tokens and the longest answer 40: prompts are read 256 tokens at a time (2 pieces), and 1024 fit into it."


def shown(page: Page, step: str) -> None:
    """A step as it is on disk now."""
    page.get_by_role("tab", name=re.compile("^Dataset")).click()
    page.get_by_role("tab", name=re.compile(f"^{step}")).click()


def project_of(page: Page, workspace: Path) -> Project:
    """The project that is open in a browser page, by the id in its address."""
    page.wait_for_url("**project=*")
    (id,) = parse_qs(urlparse(page.url).query)["project"]
    (folder,) = workspace.glob(f"*/{id}")
    return Project(folder)


def completion(data: ToolDataset, example) -> str:
    return render_example([*example.prompt, example.completion], data.tools_of(example))[1]


def make_run(
    project: Project, title: str = "Run 1", status: str = "done", steps: int = TOTAL, error: str | None = None, method: str = "full",
) -> Run:  # fmt: skip
    """A run after `steps` of TOTAL steps; one that is done has something in its model folder, and with LoRA in its adapter folder."""
    data = dataset.split(dataset.load(project.dataset_path))
    base = {"id": "embedded", "label": "embedded demo model", "revision": None, "path": "", "embedded": True}
    run = Run.create(
        project.new_run_path(), title=title, config=resolve(TrainConfig(method=method), True, 4096), base=base, dataset_sha256=dataset.sha256(data),
        versions={}, total_steps=TOTAL,
    )  # fmt: skip
    dataset.save(data, run.path / "dataset")
    held_out = [example for example in data.examples if example.split == "test"][:5]
    for step in range(1, steps + 1):
        loss = 2.5 * math.exp(-step / 20) + 0.05
        entry = StepLog(step, TOTAL, loss=loss, examples_per_second=31.5, seconds=0.9 * step, eta=0.9 * (TOTAL - step), memory=1_430_000_000)
        run.append_log(entry)
        if step % 9 == 0:
            run.append_log(StepLog(step, TOTAL, eval_loss=loss + 0.1))
            for number, example in enumerate(held_out):
                wanted = completion(data, example)
                answer = wanted if step > 9 * (number + 2) else EVIL
                run.append_sample(Sample(step, step / 9, example.request, wanted, answer))
    run.update(status=status, steps=steps, seconds=0.9 * steps, error=error, final_loss=0.09 if status == "done" else None)
    if error:
        run.failure_log.write_text(f"Traceback (most recent call last):\n  {EVIL}\nMemoryError\n", "utf-8")
    if status == "done":
        run.model_path.mkdir()
        (run.model_path / "config.json").write_text('{"dtype": "float32"}', "utf-8")
        (run.model_path / "model.safetensors").write_bytes(b"\0" * 9_500_000)
        if method == "lora":
            write_atomic(run.adapter_path / "adapter_model.safetensors", b"\0" * 600_000)
            write_atomic(run.adapter_path / "adapter_config.json", "{}")
    return run


def add_checkpoint(run: Run, step: int) -> None:
    write_atomic(run.checkpoints_path / f"checkpoint-{step}" / "complete.json", f'{{"step": {step}}}')


def add_report(run: Run, on: str, share: float, model: str | None = None) -> EvalReport:
    """An evaluation in which `share` of the held-out rows are right and the others wrong in every way there is."""
    data, chance = run.dataset(), random.Random(on)
    results = []
    for number, example in enumerate(data.examples, start=1):
        if example.split == "test":
            right = completion(data, example)
            other = "<start_function_call>call:find_phone{}<end_function_call><start_function_response>"
            wrong = chance.choice([EVIL, other, right.replace("<escape>", "<escape>Q", 1), right[:30]])
            results.append(judge(number, example, data.tools_of(example), right if chance.random() < share else wrong))
    report = EvalReport.of(
        results, on=on, split="test", model=model or on, seconds=3.0, tokens=100, dataset_sha256=run.info["dataset_sha256"]
    )  # fmt: skip
    write_atomic(run.evaluation_path(on, "test"), json.dumps(report.to_json()))
    return report


def add_artifact(run: Run, format: str = "litertlm", quantize: str = "int8", identical: int = 20) -> Path:
    """A file (or the folder of an adapter or merged model) that has passed its check, in the run's artifacts."""
    file = whole = run.artifacts_path / (f"sample-{format}" if format in FOLDERS else f"sample-{quantize}.{format}")
    if format in FOLDERS:
        file = whole / "SHA256SUMS"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(f"{format} {quantize} ".encode() * 1000)
    differing = {"request": EVIL, "model": "Yes.<end_of_turn>", "file": "<start_function_call>call:find_phone{}", "ratio": 0.7}
    comparison = {
        "total": 20, "identical": identical, "undecided": 20 - identical, "different": 0, "model_correct": 18,
        "file_correct": identical - 2, "differences": [differing] * (20 - identical),
    }  # fmt: skip
    kept = json.loads((run.artifacts_path / "artifacts.json").read_text()) if (run.artifacts_path / "artifacts.json").exists() else {}
    entry = {
        "format": format, "path": whole.name, "size": 9_100_000, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "verified": True,
        "answers_identical": identical, "answers_total": 20, "seconds": 40.0,
        "details": {"quantize": quantize, "comparison": comparison, "lengths": LENGTHS, "cache_length": 1024, "longest_prompt": 480,
                    "stop_tokens": ["<end_of_turn>", "<start_function_response>"], "checked_with": "LiteRT-LM 0.18.1 on Linux"},
    }  # fmt: skip
    write_atomic(run.artifacts_path / "artifacts.json", json.dumps({"artifacts": [*kept.get("artifacts", []), entry]}))
    return whole


def add_failed_job(run: Run, kind: str, args: list[str], error: str) -> None:
    """A job of this run that has failed."""
    add_job(run, kind, args, jobs.FAILED, error=error)


def add_job(run: Run, kind: str, args: list[str], status: str, **more: Any) -> None:
    """A job of this run that is over."""
    folder = run.path / "jobs" / f"20260101-000000-{kind}-{args[-1]}"
    job = jobs.Job(
        id=folder.name, kind=kind, session="x", run=str(run.path.resolve()), args=tuple(args), title=f"The {kind}", status=status,
        created=1.0, started=time.time() - 3700, ended=time.time() - 3600, **more,
    )  # fmt: skip
    write_atomic(folder / "job.json", json.dumps(dataclasses.asdict(job)))
