"""`evaluate` and `chat`: what a model answers, to the held-out rows or to one request.

How answers are made, parsed and compared is decided in pipeline.model, functiongemma and evaluate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipeline import evaluate as evaluations
from pipeline import functiongemma
from pipeline import model as models
from pipeline.cli import parser
from pipeline.cli.console import Console, table
from pipeline.cli.result import Result
from pipeline.cli.training import bring_base
from pipeline.config import EvalConfig
from pipeline.errors import ConfigError, DataError
from pipeline.evaluate import EvalReport
from pipeline.examples import conversation
from pipeline.runs import Run
from pipeline.runtimes import RUNS
from pipeline.sources import tools_from
from pipeline.tools import ToolCall


def evaluate(args: argparse.Namespace, console: Console) -> Result:
    """Score a model, or an exported file, on held-out rows: the right tool, the exact call."""
    options = parser.given(args, EvalConfig)
    run = Run(args.run)
    if args.file is not None:
        kind = args.file.suffix.removeprefix(".")
        if kind not in RUNS or options.setdefault("on", kind) != kind:
            raise ConfigError(f"--file must name a file of the kind that --on names (--on litertlm: .litertlm), found {args.file}.")
    if options.get("on") == "base":
        bring_base(run)
    report = evaluations.evaluate(run, progress=console.progress, artifact=args.file, **options)
    json = report.to_json()
    del json["results"]
    saved = None if "limit" in options else run.evaluation_path(report.on, report.split)
    return Result({**json, "report": str(saved) if saved else None}, _table(report, saved))


def chat(args: argparse.Namespace, console: Console) -> Result:
    """Answer one request: the raw text with its control tokens, and the calls parsed from it."""
    run = Run(args.run)
    if not args.request.strip():
        raise DataError("The request is empty; say what a user of your app might say.")
    if warning := functiongemma.spelled_tokens(args.request):
        console.say(warning)
    dataset = run.dataset()
    tools = [tool.to_json() for tool in (tools_from(args.tools) if args.tools else dataset.tools)]
    prompt = functiongemma.render_prompt(conversation(args.request, dataset), tools, add_generation_prompt=True)
    console.progress(0.1, f"loading the {args.on} model")
    if args.on == "base":
        bring_base(run)
    loaded = models.load(evaluations.model_path(run, args.on))
    length, context = len(loaded.tokenizer.encode(prompt, add_special_tokens=False)), loaded.model.config.max_position_embeddings
    if length > context:
        raise DataError(f"The request and the declarations have {length} tokens, and the model reads {context}; shorten the request.")
    console.progress(0.6, "answering")
    began = time.perf_counter()
    (answer,) = models.generate(loaded, [prompt], parser.given(args, EvalConfig).get("max_new_tokens", 128))
    seconds = time.perf_counter() - began
    console.progress(1, "done")
    reply = functiongemma.parse(answer.text, tools)
    calls = [{"name": call.name, "arguments": call.arguments, "status": call.status} for call in reply.calls]
    problems = [f"  {d.code}: {d.detail}" for d in reply.diagnostics]
    lines = [answer.text, "", *[ToolCall(call.name, call.arguments).display() for call in reply.calls]]
    lines += [] if reply.calls else [f"no call; the words are: {reply.text!r}"]
    return Result(
        {
            "on": args.on, "request": args.request, "raw": answer.text, "text": reply.text, "calls": calls,
            "diagnostics": [{"code": d.code, "detail": d.detail, "raw": d.raw} for d in reply.diagnostics],
            "stopped": answer.stopped, "tokens": len(answer.token_ids), "seconds": round(seconds, 3), "prompt": prompt,
        },
        "\n".join(lines + problems),
    )  # fmt: skip


def _table(report: EvalReport, saved: Path | None) -> str:
    scores = [
        (label, f"{getattr(report, name):.1%}", f"{report.intervals[name][0]:.0%} to {report.intervals[name][1]:.0%}")
        for label, name in (("right tool", "tool_accuracy"), ("exact match", "exact_match"), ("tolerant match", "tolerant_match"))
    ]
    by_tool = [(name, of["rows"], f"{of['tool_accuracy']:.0%}", f"{of['exact_match']:.0%}") for name, of in report.by_tool.items()]
    verdicts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.verdicts.items() if count)
    return "\n".join([
        f"{report.on} ({report.model}) on {report.rows} {report.split} rows: {verdicts}", "",
        table(("", "share", "95% interval"), scores), "",
        table(("expected tool", "rows", "right tool", "exact match"), by_tool),
        *([f"every row's answer: {saved}"] if saved else []),
    ])  # fmt: skip
