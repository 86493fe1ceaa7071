"""`export` and `inspect`: files for phones, made, run and looked into. How, is decided in pipeline.export."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path

from pipeline import export as exports
from pipeline.cli import parser
from pipeline.cli.console import Console
from pipeline.cli.result import Result
from pipeline.config import ExportConfig
from pipeline.errors import ExportError
from pipeline.export import FOLDERS, appkit, compatibility
from pipeline.runs import Run


def export(args: argparse.Namespace, console: Console) -> Result:
    """Make a file for phones from a trained run, run it, and compare its answers with the model's."""
    options = parser.given(args, ExportConfig)
    config = ExportConfig(**options)
    config.check()
    run = Run(args.run)
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise ExportError(f"--out must be a folder, and {args.out} is a file; name another one.")
    if config.format == "appkit":
        return _app_kit(run, args.out, sorted(set(options) - {"format"}))
    artifact = exports.export(
        run, config.format, config.quantize, args.out, console.progress,
        cache_length=options.get("cache_length"), wrap_turns=config.wrap_turns,
    )  # fmt: skip
    lines = [f"{artifact.path}: {artifact.sentence}", f"sha256 {artifact.sha256}"]
    lines += [artifact.details["lengths"]] if "lengths" in artifact.details else []
    lines += ["", compatibility.as_text(artifact)]
    if artifact.format not in FOLDERS:  # into which `inspect` does not look
        lines += ["", f"next: python -m pipeline inspect {shlex.quote(artifact.path)}"]
    known = [asdict(place) for place in compatibility.places(artifact)]
    return Result({"artifacts": [artifact.to_json() | {"compatibility": known}]}, "\n".join(lines))


def _app_kit(run: Run, out: Path | None, others: list[str]) -> Result:
    """Source code for the app: no model file, so no option of one."""
    if others:
        raise ExportError(f"An app kit is source code: leave {', '.join(ExportConfig.option(name).flag for name in others)} out.")
    kit = appkit.write(run, out)
    return Result({"artifacts": [kit.to_json()]}, f"{kit.path}: {kit.sentence}\n{kit.archive}: sha256 {kit.sha256}")


def inspect(args: argparse.Namespace, console: Console) -> Result:
    """Look into an exported file: sections, tokenizer, stop tokens, quantisation, and what is wrong with it."""
    found = exports.inspect(args.file)
    return Result(found, exports.as_text(found))
