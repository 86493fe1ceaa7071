"""`share`: a demo of a run, as a folder or as a Space of this computer's owner. What a demo is, is decided in pipeline.hub.demo."""

from __future__ import annotations

import argparse
import shlex

from pipeline import hub
from pipeline.cli.console import Console
from pipeline.cli.result import Result
from pipeline.errors import ConfigError
from pipeline.hub import demo
from pipeline.runs import Run


def share(args: argparse.Namespace, console: Console) -> Result:
    """Make a small page on which others try the model: a Space of yours, or a folder that runs anywhere."""
    run = Run(args.run)
    if args.out is not None:
        if args.repo or args.public or args.overwrite:
            raise ConfigError("--out only writes the folder; leave --repo, --public and --overwrite out, or leave --out out to push it.")
        folder = demo.write(run, args.out, console.progress, title=args.title)
        here = shlex.quote(str(folder))
        return Result({"folder": str(folder)}, f"{folder}\nnext: cd {here} && pip install -r requirements.txt && python app.py")
    if not args.repo:
        raise ConfigError("Say where the demo goes: --repo USER/NAME for a Space of yours, or --out DIR for a folder.")
    made = demo.share(
        run, args.repo, hub.need_local_token(), private=not args.public, overwrite=args.overwrite, title=args.title,
        progress=console.progress,
    )  # fmt: skip
    private = "private: nobody else sees it; the same command with --public shows it to everybody"
    seen = private if made.private else f"{made.site}\n{made.embed}"
    return Result(made.to_json(), f"{made.url}\n{seen}")
