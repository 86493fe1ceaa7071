"""Let a model, or an exported file in its own runtime, answer the held-out rows of a run, and keep what its answers are worth.

The base, the tuned model and the files answer the same prompts, greedily, and are judged by the same rules (scores.py), so their reports
can be compared row by row. This file knows neither how text is generated nor what makes an answer right.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from pipeline import model as models
from pipeline.config import EvalConfig
from pipeline.errors import ConfigError, RunError
from pipeline.files import write_atomic
from pipeline.functiongemma import render_example
from pipeline.runs import Run
from pipeline.scores import Comparison, EvalReport, RowResult, compare, judge, mcnemar, wilson

__all__ = ["Comparison", "EvalReport", "RowResult", "compare", "evaluate", "load_report", "mcnemar", "model_path", "wilson"]

SPARE = 64  # tokens that an answer may be longer than the longest expected one: room for a refusal in words
LOADING = 0.1  # share of the progress bar


def evaluate(
    run: Run | str | os.PathLike[str], on: str = "tuned", split: str = "test", progress: Callable[[float, str], None] | None = None,
    max_new_tokens: int | None = None, limit: int | None = None, artifact: str | os.PathLike[str] | None = None,
) -> EvalReport:  # fmt: skip
    """The report of `on` ("base", "tuned", or the format of an exported file) on the rows of `split`, also saved as eval/<on>-<split>.json.

    Answers are cut after `max_new_tokens`; None allows SPARE more than the longest expected one has. `limit` takes the first so many
    rows only, and saves nothing. `artifact` is the file to run; None takes the newest of its format that the run was exported to.
    Raises ConfigError, RunError, ModelError and ExportError.
    """
    EvalConfig(on=on, split=split, max_new_tokens=max_new_tokens, limit=limit).check()
    run = run if isinstance(run, Run) else Run(run)
    report_progress = progress or (lambda fraction, message: None)
    dataset = run.dataset()
    rows = [(number, example) for number, example in enumerate(dataset.examples, start=1) if example.split == split][:limit]
    if not rows:
        raise RunError(f"{run.path} has no rows in the {split} split, so there is nothing to evaluate; split its dataset and train again.")
    texts = [render_example([*e.prompt, e.completion], dataset.tools_of(e)) for _, e in rows]
    prompts = [prompt for prompt, _ in texts]
    if on in ("base", "tuned"):
        source, name = model_path(run, on), run.base["label"] if on == "base" else run.title
        report_progress(0.0, f"Loading the {on} model")
        loaded = models.load(source)
        longest = max(len(loaded.tokenizer.encode(text, add_special_tokens=False)) for _, text in texts)
        began = time.perf_counter()
        made = models.generate(loaded, prompts, max_new_tokens or longest + SPARE, _after_loading(report_progress))
        answers, tokens = [answer.text for answer in made], sum(len(answer.token_ids) for answer in made)
    else:
        from pipeline import runtimes

        file = Path(artifact) if artifact else _artifact(run, on)
        tokenizer = models.load_tokenizer(model_path(run, "tuned"))
        longest, name = max(len(tokenizer.encode(text, add_special_tokens=False)) for _, text in texts), file.name
        report_progress(0.0, f"Opening {name}")
        began = time.perf_counter()
        wanted, tokens = max_new_tokens or longest + SPARE, None
        answers = runtimes.answers(file, prompts, wanted, _after_loading(report_progress), model_path(run, "tuned"))
    seconds = time.perf_counter() - began
    results = [judge(number, e, dataset.tools_of(e), answer) for (number, e), answer in zip(rows, answers, strict=True)]
    report = EvalReport.of(
        results, on=on, split=split, model=name, seconds=round(seconds, 3), tokens=tokens, dataset_sha256=run.info["dataset_sha256"]
    )
    if limit is None:
        write_atomic(run.evaluation_path(on, split), json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    report_progress(1.0, f"{report.exact_match:.0%} exact")
    return report


def load_report(run: Run, on: str, split: str = "test") -> EvalReport | None:
    """The saved report, None if there is none yet. Raises RunError if it cannot be read."""
    saved = run.evaluations().get(f"{on}-{split}")
    return EvalReport.from_json(saved) if saved is not None else None


def model_path(run: Run, on: str) -> str:
    """The folder of the run's base ("base") or of what was made of it ("tuned"). Raises RunError, ModelError, ConfigError."""
    if on == "base":
        return models.recorded(run.base).path
    if on != "tuned":
        raise ConfigError(f"Expected base or tuned, found {on!r}.")
    if not run.model_path.is_dir():
        raise RunError(f"{run.path} has no tuned model yet: its training is {run.status}; train it to the end first.")
    return str(run.model_path)


def _artifact(run: Run, format: str) -> Path:
    from pipeline.export import newest

    found = newest(run, format)
    if found is None:
        raise RunError(
            f"{run.path} has no .{format} file in its artifacts yet; export it first (export --format {format}), or name one with --file."
        )
    return Path(found.path)


def _after_loading(progress: Callable[[float, str], None]) -> Callable[[float, str], None]:
    return lambda fraction, message: progress(LOADING + (1 - LOADING) * fraction, message)
