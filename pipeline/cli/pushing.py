"""`push`: a run into a repository of the Hub, with the token of this computer's owner. What goes and how is decided in pipeline.hub."""

from __future__ import annotations

import argparse

from pipeline import hub
from pipeline.cli.console import Console
from pipeline.cli.result import Result
from pipeline.errors import HubError
from pipeline.hub import parcel
from pipeline.hub.push import push as push_run
from pipeline.runs import Run


def push(args: argparse.Namespace, console: Console) -> Result:
    """Put a trained run on the Hugging Face Hub: model, files, dataset, report and card in one commit, private unless told otherwise."""
    run, token = Run(args.run), hub.local_token()
    if token is None:
        raise HubError(f"This computer has no token of the Hub; run hf auth login, or set HF_TOKEN to one from {hub.TOKENS_PAGE}.")
    include = tuple(args.include or parcel.USUAL)
    sizes = {part: size for part, size in parcel.available(run).items() if part in include}
    console.say("Pushing " + ", ".join(f"{part} ({size / 1e6:,.1f} MB)" for part, size in sizes.items()) + f" to {args.repo}")
    pushed = push_run(
        run, args.repo, token, include=include, private=not args.public, overwrite=args.overwrite, progress=console.progress
    )
    seen_by = "private" if pushed.private else "public"
    text = f"{pushed.url}: {len(pushed.files)} files, {pushed.size / 1e6:,.1f} MB, {seen_by}\ncommit {pushed.commit}"
    return Result(pushed.to_json(), text)
