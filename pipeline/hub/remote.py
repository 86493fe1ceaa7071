"""Train a run in a Hugging Face Job: the same `python -m pipeline train`, on hardware that the user rents by the second.

Everything travels through one private repository of the user: the run without weights, this version of the pipeline (package.py) and the
script that starts it (job.py); the Job gets the user's token as a secret and pushes checkpoints and results back (job_work.py). The run
folder keeps in remote.json which Job and repository that were, never the token, so the Job is found again after a restart; while it
is away nobody trains the run here. Knows no page; what hardware costs is in job_cost, reading the log in job_logs, the way back in
job_fetch.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline import hub
from pipeline.config import TrainConfig
from pipeline.errors import ConfigError, HubError, RunError
from pipeline.files import exclusive, write_atomic
from pipeline.hub import checkpoints, job, job_cost, job_work, package
from pipeline.hub.access import check_base
from pipeline.hub.job_cost import Estimate, Flavor
from pipeline.hub.parcel import Item
from pipeline.hub.push import push_items
from pipeline.journal import read_object
from pipeline.runs import Run
from pipeline.train import REMOTE

APP = "functiongemma-studio"
PYTHON = "3.12"
TOKEN = "HF_TOKEN"
PLACEHOLDER = "<your token>"
OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
STAGES = ("SCHEDULING", "RUNNING", *OVER)
"""What the Hub calls the states of a Job; over are those that it does not leave again."""
KEEP_EVERY = 5.0
"""Minutes between two pushes of a checkpoint, at least: one of the 270M model has 3.2 GB."""
ROOM = 0.25
"""Share of the timeout, MOST_ROOM seconds at most, in which no training happens: starting, scoring, pushing."""
MOST_ROOM = 900.0

CARD = """# {title}

A training of FunctionGemma Studio in a Hugging Face Job: what it runs (job.py, pipeline.zip) and what comes of it (run/).
"""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Remote:
    """Where a run is trained. `job` is None before one was started; `away` is True while the run must not be trained here.

    `price` is in US dollars an hour, `timeout` in seconds, `started` in seconds since the epoch; `package` is the SHA-256 of the pipeline
    that runs there, `stage` one of STAGES as it was last heard.
    """

    repo: str
    namespace: str
    revision: str
    package: str
    flavor: str
    processes: int
    price: float
    timeout: int
    job: str | None = None
    url: str | None = None
    stage: str | None = None
    message: str | None = None
    started: float | None = None
    away: bool = False
    fetched: bool = False

    @property
    def over(self) -> bool:
        """Whether the Job has ended, as far as was heard."""
        return self.stage in OVER


def record(run: Run) -> Remote | None:
    """Which Job trains or trained `run`; None if none ever did. Raises RunError if the record is damaged."""
    if not (run.path / REMOTE).is_file():
        return None
    names = [f.name for f in fields(Remote)]
    found = read_object(run.path / REMOTE, *names)
    return Remote(**{name: found[name] for name in names})


def save(run: Run, remote: Remote) -> Remote:
    """Write `remote` into the run's folder; returns it."""
    write_atomic(run.path / REMOTE, json.dumps(asdict(remote), indent=1))
    return remote


def need_record(run: Run) -> Remote:
    """The same as `record`. Raises RunError if no Job was ever started for `run`."""
    found = record(run)
    if found is None or found.job is None:
        raise RunError(f"{run.path.name} was never given to a Hugging Face Job; start one with `jobs start`.")
    return found


# --------------------------------------------------------------------------------------------------------------- start


@dataclass(frozen=True)
class Plan:
    """What would be started: the arguments of `HfApi.run_uv_job`, without the token, and what it will cost."""

    repo: str
    flavor: Flavor
    estimate: Estimate
    arguments: dict[str, Any]

    def text(self) -> str:
        """The call as one would type it in Python; a placeholder stands where the token goes."""
        shown = {**self.arguments, "secrets": {TOKEN: PLACEHOLDER}}
        script = shown.pop("script")
        lines = "".join(f"    {name}={json.dumps(value, ensure_ascii=False)},\n" for name, value in shown.items())
        return f"HfApi(token={json.dumps(PLACEHOLDER)}).run_uv_job(\n    {json.dumps(script)},\n{lines})"


def plan(
    run: Run, flavor: Flavor, token: str, repo: str | None = None, *, timeout: int | None = None, seconds: float | None = None,
    keep_every: float = KEEP_EVERY, evaluate: bool = True, revision: str | None = None, sha256: str | None = None, claimed: bool = False,
) -> Plan:  # fmt: skip
    """What `start` would ask for. Asks the Hub who the token belongs to, and changes nothing. Raises PipelineError if it cannot be done.

    `repo` is "name" or "owner/name" (default: made of the run's title and folder, or the one it was given to before); `timeout` in
    seconds, `seconds` an estimate of one's own, `keep_every` in minutes. `revision` and `sha256` are known only when the files are pushed;
    `claimed` says that this process holds the run.
    """
    _check(run, claimed)
    owner = hub.account(token)
    before = record(run)
    name = repo or (before.repo if before else f"{hub.slug(run.title)}-training-{hub.slug(run.id)[:24]}")
    repo = hub.repo_id(owner, name)
    if timeout is not None and not 60 <= timeout <= 7 * 86400:
        raise ConfigError(f"--timeout must be from 60 seconds to a week, found {timeout}.")
    shared_config(run.config, flavor.processes)
    cost = job_cost.estimate(job_cost.work_of(run), flavor, seconds, timeout)
    revision, sha256 = revision or "<commit>", sha256 or "<sha256 of pipeline.zip>"
    budget = cost.timeout - min(MOST_ROOM, ROOM * cost.timeout)
    words = [
        f"--repo={repo}", f"--revision={revision}", f"--package={sha256}", f"--processes={flavor.processes}",
        f"--minutes={keep_every:g}", f"--seconds={budget:g}",
    ]  # fmt: skip
    api = hub.client(token)
    return Plan(repo, flavor, cost, {
        "script": f"{api.endpoint}/{repo}/resolve/{revision}/job.py",
        "script_args": words + ([] if evaluate else ["--no-evaluate"]),
        "dependencies": package.requirements(),
        "python": PYTHON,
        "env": {"PYTHONUNBUFFERED": "1"},
        "flavor": flavor.name,
        "timeout": cost.timeout,
        "name": f"functiongemma-{hub.slug(run.title)}"[:60],
        "labels": {"app": APP, "run": _label(run.id)},
        "namespace": repo.partition("/")[0],
    })  # fmt: skip


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:60]


def start(run: Run, flavor: Flavor, token: str, repo: str | None = None, progress: Progress | None = None, **options: Any) -> Remote:
    """Push what the Job needs into the user's private repository and start it; `options` as in `plan`. Returns at once.

    A run that has a checkpoint goes on from it, from the repository's if that is further. Meanwhile it is neither trained here nor given
    away twice. Raises PipelineError; no Job runs then, unless the Hub's answer to the last question was lost: `jobs` lists them.
    """
    planned = plan(run, flavor, token, repo, **options)
    with run.claim():
        return _start(run, planned, token, progress or (lambda fraction, message: None), options)


def _start(run: Run, planned: Plan, token: str, report: Progress, options: Mapping[str, Any]) -> Remote:
    """The same for a run that this process holds."""
    flavor, before, base = planned.flavor, record(run), run.base
    _check(run, claimed=True)  # anew: somebody else may have given it away between the plan and the claim
    if not base["embedded"]:  # a Job that may not read its base would cost for nothing
        check_base(f"{base['id']}@{base['revision']}", token)
    report(0.0, "Packing the run")
    ours = before is not None and before.repo == planned.repo
    with tempfile.TemporaryDirectory(prefix="studio-job-") as made:
        packed = package.build(Path(made) / job.PACKAGE, weights=base["embedded"])
        items = [Item(job.PACKAGE, "job", packed.path), Item("job.py", "job", Path(job.__file__).read_bytes())]
        items.append(Item("README.md", "job", CARD.format(title=run.title).encode()))
        held = run.path / f".sent.{secrets.token_hex(4)}.partial"
        try:
            with hub.sentences(f"Packing {run.title}"):
                step, mine = checkpoints.hold(run, held, config=shared_config(run.config, flavor.processes).to_json())
            there = _there(planned.repo, token) if ours else None
            is_further = there is None or step > there  # than what an earlier Job has left there
            pushed = push_items(
                items + mine if is_further else items, planned.repo, token, private=True, overwrite=ours, message=f"Train {run.title}",
                progress=lambda fraction, message: report(0.1 + 0.8 * fraction, message),
            )  # fmt: skip
        finally:
            shutil.rmtree(held, ignore_errors=True)
    remote = Remote(
        planned.repo, planned.arguments["namespace"], pushed.commit, packed.sha256, flavor.name, flavor.processes, flavor.price,
        planned.estimate.timeout,
    )  # fmt: skip
    save(run, remote)  # the repository is found again even if there is no credit for a Job
    report(0.9, "Starting the Job")
    call = plan(run, flavor, token, planned.repo, **options, revision=pushed.commit, sha256=packed.sha256, claimed=True).arguments
    with hub.sentences(f"Starting a Job on {flavor.name}"):
        info = hub.client(token).run_uv_job(**call, secrets={TOKEN: token})
    report(1.0, "Started")
    return save(run, replace(remote, job=info.id, url=info.url, stage=_stage(info), started=time.time(), away=True))


def _check(run: Run, claimed: bool) -> None:
    """Raises RunError unless a Job can train `run`."""
    if run.status == "done":
        raise RunError(f"{run.title} is trained already; start another run.")
    if run.is_alive and not claimed:
        raise RunError(f"{run.title} is being trained on this machine, or sent to a Job just now; wait for that or stop it first.")
    before = record(run)
    if before is not None and before.away:
        raise RunError(f"{run.title} has been given to a Job already ({before.url}); fetch it when that is done, or cancel it first.")
    base = run.base
    if not base["embedded"] and not base.get("revision"):
        raise RunError(f"A Job cannot see the folder that {base['label']} lies in: train a model of the Hub, or the embedded one.")


def shared_config(config: TrainConfig, processes: int) -> TrainConfig:
    """`config` for so many processes: each takes its share of a batch, so that a step learns from the same examples as with one.

    Raises ConfigError if the batch cannot be shared out evenly.
    """
    batch = config.per_device_train_batch_size
    if batch % processes:
        raise ConfigError(
            f"A batch of {batch} examples cannot be shared out to {processes} GPUs: choose a --per-device-train-batch-size that is a "
            f"multiple of {processes}, or a flavor with fewer GPUs."
        )
    return replace(config, per_device_train_batch_size=batch // processes)


def _there(repo: str, token: str) -> int | None:
    """The step of the newest checkpoint in the repository, 0 if the run is there without one; None if it is not there."""
    with hub.sentences(f"Looking into {repo}"):
        api = hub.client(token)
        names = api.list_repo_files(repo) if api.repo_exists(repo) else []
    return (job_work.newest_checkpoint(names) or 0) if "run/run.json" in names else None


# -------------------------------------------------------------------------------------------------- while it is away


def refresh(run: Run, token: str) -> Remote:
    """What the Hub says of the run's Job now. A Job that ended without a result gives the run back: it may be trained here again."""
    remote = need_record(run)
    if remote.over:
        return remote
    try:
        with hub.sentences("Asking for the Job"):
            info = hub.client(token).inspect_job(job_id=remote.job, namespace=remote.namespace)
        stage, message = _stage(info), info.status.message
    except HubError as problem:
        if problem.status != 404:
            raise
        stage, message = "DELETED", None
    with exclusive(run.path):
        if (now := need_record(run)) != remote:  # fetched or cancelled while the Hub was asked: that is newer
            return now
        heard = replace(remote, stage=stage, message=message, away=stage in ("SCHEDULING", "RUNNING", "COMPLETED"))
        return heard if heard == remote else save(run, heard)


def _stage(info: Any) -> str:
    """The stage of a JobInfo; SCHEDULING for one that this version does not know."""
    stage = getattr(info.status.stage, "value", info.status.stage)
    return stage if stage in STAGES else "SCHEDULING"


def cancel(run: Run, token: str) -> Remote:
    """End the Job now. What was pushed stays, and another Job can go on from it; the run may be trained here again."""
    remote = need_record(run)
    if not remote.over:
        with hub.sentences("Cancelling the Job"):
            hub.client(token).cancel_job(job_id=remote.job, namespace=remote.namespace)
    with exclusive(run.path):
        now = need_record(run)  # what was heard of it or fetched while the Hub was asked stays
        return save(run, replace(now, stage=now.stage if now.over else "CANCELED", away=False))


def jobs(token: str, namespace: str | None = None) -> list[dict[str, Any]]:
    """The studio's Jobs of an account or organization, newest first: id, name, stage, flavor, created (ISO 8601), seconds, url."""
    namespace = namespace or hub.account(token).name
    with hub.sentences(f"Listing the Jobs of {namespace}"):
        found = list(hub.client(token).list_jobs(namespace=namespace, labels={"app": APP}))
    rows = [_row(info) for info in found if (info.labels or {}).get("app") == APP]
    return sorted(rows, key=lambda row: row["created"] or "", reverse=True)


def _row(info: Any) -> dict[str, Any]:
    labels: Mapping[str, str] = info.labels or {}
    flavor = getattr(info.flavor, "value", info.flavor)
    return {
        "id": info.id, "name": labels.get("name") or info.id, "stage": _stage(info), "flavor": str(flavor),
        "created": info.created_at.isoformat() if info.created_at else None,
        "seconds": info.durations.running_secs if info.durations else None, "url": info.url,
    }  # fmt: skip


def sentence(remote: Remote) -> str:
    """What the Job is doing, for people."""
    where = f"{remote.flavor}, {job_cost.dollars(remote.price)} an hour"
    onward = "Another one goes on from the last checkpoint that was pushed."
    ended = "The Job has ended; its result can be fetched from the repository."
    if remote.fetched:
        ended = "The result is here."
    elif not remote.away:
        ended = f"The Job has ended before the run was done. {onward}"
    if remote.job is None:
        return f"No Job was started; the files for it are in {remote.repo}."
    said = {
        "SCHEDULING": f"The Job waits for its hardware ({where}); nothing is paid yet.",
        "RUNNING": f"The Job runs on {where}. It goes on when this page is closed.",
        "COMPLETED": ended,
        "CANCELED": f"The Job was cancelled. {onward}",
        "ERROR": f"The Job failed{f' ({remote.message})' if remote.message else ''}. {onward}",
        "DELETED": f"The Job is not on the Hub any more. {onward}",
    }
    return said[remote.stage or "SCHEDULING"]
