"""`jobs`: train on rented hardware, in a Hugging Face Job. How, is decided in pipeline.hub.remote and the modules beside it.

The token is the machine's own, as `hf auth login` or HF_TOKEN left it; it is never an argument.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import hub
from pipeline.cli import parser, training
from pipeline.cli.console import Console, duration, table
from pipeline.cli.result import Result
from pipeline.config import TrainConfig
from pipeline.errors import ConfigError
from pipeline.hub import job_cost, job_fetch, job_lines, job_logs, remote
from pipeline.runs import Run


def jobs(args: argparse.Namespace, console: Console) -> Result:
    """Train in a Hugging Face Job: hardware and prices, start, list, logs, cancel, fetch the result."""
    return ACTIONS[args.action](args, console, hub.need_local_token())


def hardware(args: argparse.Namespace, console: Console, token: str) -> Result:
    """What a Job may run on, with the Hub's prices of today."""
    found = job_cost.flavors(token)
    rows = [(one.name, one.label, one.memory, one.gpus or "", job_cost.dollars(one.price)) for one in found]
    json = [{"name": one.name, "label": one.label, "memory": one.memory, "gpus": one.gpus, "usd_per_hour": one.price} for one in found]
    return Result({"hardware": json}, table(("flavor", "hardware", "memory", "GPUs", "an hour"), rows))


def start(args: argparse.Namespace, console: Console, token: str) -> Result:
    """Push a run to a private repository of yours and train it in a Job; it goes on when this command ends."""
    keep_every = remote.KEEP_EVERY if args.keep_every is None else args.keep_every
    if not 0 <= keep_every <= 1440:
        raise ConfigError(f"--keep-every must be from 0 to 1440 minutes, found {keep_every:g}.")
    if args.estimate is not None and not 0 < args.estimate <= 7 * 86400:
        raise ConfigError(f"--estimate must be more than 0 seconds and at most a week, found {args.estimate:g}.")
    options = parser.given(args, TrainConfig)
    TrainConfig(**options).check()
    flavor = job_cost.flavor(token, args.flavor)
    asked = {"timeout": args.timeout, "seconds": args.estimate, "keep_every": keep_every, "evaluate": args.evaluate}
    with tempfile.TemporaryDirectory() as nowhere:  # for the run of a dry run, which leaves nothing
        is_new = args.dry_run and not (args.out / "run.json").exists()
        out = Path(nowhere) / args.out.resolve().name if is_new else args.out
        run = training.open_run(args.dataset, out, args.base, options, args.preset)
        plan = remote.plan(run, flavor, token, args.repo, **asked)
        said = {"run": str(args.out), "repo": plan.repo, "flavor": flavor.name, "usd_per_hour": flavor.price, **asdict(plan.estimate)}
        cost = f"{flavor.sentence()}; {plan.estimate.sentence()}"
        if args.dry_run:
            return Result(said | {"call": {**plan.arguments, "secrets": {remote.TOKEN: remote.PLACEHOLDER}}}, f"{plan.text()}\n{cost}")
        console.say(cost)
        away = remote.start(run, flavor, token, plan.repo, console.progress, **asked)
    path = shlex.quote(str(run.path))
    text = f"{away.job} on {away.flavor}: {away.url}\nnext: python -m pipeline jobs logs {path} --follow, then jobs fetch {path}"
    return Result(said | {"job": away.job, "url": away.url}, text)


def list_(args: argparse.Namespace, console: Console, token: str) -> Result:
    """The studio's Jobs of your account, or of an organization."""
    found = remote.jobs(token, args.namespace)
    rows = [(row["id"], row["name"], row["flavor"], duration(row["seconds"] or 0), row["stage"].lower()) for row in found]
    return Result({"jobs": found}, table(("job", "name", "flavor", "ran", "state"), rows) if rows else "No Job was started yet.")


def show(args: argparse.Namespace, console: Console, token: str) -> Result:
    """What the Job of a run is doing now."""
    away = remote.refresh(Run(args.run), token)
    return Result(_json(args.run, away), f"{remote.sentence(away)}\n{away.url}")


def logs(args: argparse.Namespace, console: Console, token: str) -> Result:
    """The log of a run's Job; its steps go into the run's own log."""
    run = Run(args.run)

    def on_line(text: str) -> None:
        said = job_lines.read(text)
        if said is None:
            console.say(text)
        elif said["kind"] == "step" and said.get("loss") is not None:
            message = f"step {said['step']} of {said['total']}, loss {said['loss']:.3f}"
            console.progress(said["step"] / max(1, said["total"]), message, said.get("eta"))
        elif said["kind"] == "say":
            console.say(said["text"])

    heard = job_logs.follow(run, token, on_line, wait=args.follow)
    away = remote.refresh(run, token)
    return Result({**_json(args.run, away), "status": heard.status, "kept_step": heard.kept, "error": heard.error}, remote.sentence(away))


def cancel(args: argparse.Namespace, console: Console, token: str) -> Result:
    """End the Job of a run now; what it has pushed stays."""
    away = remote.cancel(Run(args.run), token)
    return Result(_json(args.run, away), remote.sentence(away))


def fetch(args: argparse.Namespace, console: Console, token: str) -> Result:
    """Bring the result of a run's Job into the run folder, whole or not at all."""
    run = Run(args.run)
    remote.refresh(run, token)
    job_fetch.fetch(run, token, console.progress)
    info, path = run.info, shlex.quote(str(run.path))
    text = f"done: {info['steps']} of {info['total_steps']} steps -> {run.path}\nnext: python -m pipeline evaluate {path}"
    return Result({"run": str(run.path), "status": run.status, "steps": info["steps"], "final_loss": info["final_loss"]}, text)


def _json(path: Path, away: remote.Remote) -> dict[str, Any]:
    return {"run": str(path), **{name: getattr(away, name) for name in ("job", "stage", "url", "repo", "flavor", "away")}}


ACTIONS = {"hardware": hardware, "start": start, "list": list_, "show": show, "logs": logs, "cancel": cancel, "fetch": fetch}
