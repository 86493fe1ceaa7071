"""`push` and `fetch`: a run into a repository of the Hub, or a kept training back, with the token of this computer's owner.

What goes and how is decided in pipeline.hub.
"""

from __future__ import annotations

import argparse
import shlex

from pipeline import hub
from pipeline.cli.console import Console
from pipeline.cli.result import Result
from pipeline.errors import ConfigError
from pipeline.hub import parcel
from pipeline.hub.checkpoints import fetch_run, push_checkpoint
from pipeline.hub.push import push as push_run
from pipeline.runs import Run


def push(args: argparse.Namespace, console: Console) -> Result:
    """Put a trained run on the Hugging Face Hub: model, files, dataset, report and card in one commit, private unless told otherwise."""
    run, token = Run(args.run), hub.need_local_token()
    if args.checkpoint:
        return _keep(run, args, token, console)
    include = tuple(args.include or parcel.USUAL)
    sizes = {part: size for part, size in parcel.available(run).items() if part in include}
    console.say("Pushing " + ", ".join(f"{part} ({size / 1e6:,.1f} MB)" for part, size in sizes.items()) + f" to {args.repo}")
    pushed = push_run(
        run, args.repo, token, include=include, private=not args.public, overwrite=args.overwrite, progress=console.progress
    )
    seen_by = "private" if pushed.private else "public"
    text = f"{pushed.url}: {len(pushed.files)} files, {pushed.size / 1e6:,.1f} MB, {seen_by}\ncommit {pushed.commit}"
    return Result(pushed.to_json(), text)


def fetch(args: argparse.Namespace, console: Console) -> Result:
    """Bring a training back that was kept with `push --checkpoint`; `train` goes on with it."""
    run = fetch_run(args.repo, hub.need_local_token(), args.out, console.progress, owner=True)
    info = run.info
    json = {"run": str(run.path), "status": run.status, "steps": info["steps"], "total_steps": info["total_steps"]}
    again = f"python -m pipeline train {shlex.quote(str(run.path / 'dataset'))} --out {shlex.quote(str(run.path))}"
    return Result(json, f"{run.title}: {info['steps']} of {info['total_steps']} steps -> {run.path}\nnext: {again}")


def _keep(run: Run, args: argparse.Namespace, token: str, console: Console) -> Result:
    if args.public or args.include:
        raise ConfigError("--checkpoint keeps a training as it is, always private; leave --public and --include out.")
    pushed = push_checkpoint(run, args.repo, token, console.progress)
    text = f"{pushed.url}: {len(pushed.files)} files, {pushed.size / 1e6:,.1f} MB, private"
    return Result(pushed.to_json(), f"{text}\nnext: python -m pipeline fetch {pushed.repo} --out RUN")
