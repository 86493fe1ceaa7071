"""The log of a Job, followed while it is written: its steps and answers go to the run's own journals, so a page shows them as of any run.

The Hub tells a log from its beginning each time it is asked; what is in the journals already is not written again. Lines are of a
process elsewhere and are believed only as far as job_lines reads them. Knows no page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline import hub
from pipeline.hub import job_lines, remote
from pipeline.hub.refusals import without_secrets
from pipeline.runs import Run

LOG = "remote.log"
MOST = 5_000
"""Lines of a Job's log that are kept; what comes after is only read."""
LONGEST = 1_000


@dataclass
class Heard:
    """What a Job has said of itself so far: its last sentence, the newest checkpoint in the repository, and how it ended."""

    doing: str = ""
    kept: int | None = None
    status: str | None = None
    error: str | None = None


def log_file(run: Run) -> Path:
    """The log as it came, without what looks like a secret; there from the first time it was followed."""
    return run.path / LOG


def follow(run: Run, token: str, on_line: Callable[[str], None] | None = None, wait: bool = True) -> Heard:
    """Read the log of the run's Job from its beginning, until the Job is over if `wait`, else as far as it is written.

    `on_line` gets every line. Raises HubError, RunError.
    """
    where = remote.need_record(run)
    with hub.sentences("Reading the log of the Job"):
        api = hub.client(token)
        return hear(run, api.fetch_job_logs(job_id=where.job, namespace=where.namespace, follow=wait), on_line)


def hear(run: Run, lines: Iterable[str], on_line: Callable[[str], None] | None = None) -> Heard:
    """Put what `lines` say into the journals of `run`, and the lines into its log file, which is written anew."""
    heard = Heard()
    known = run.log()
    steps = {(entry.step, True) for entry in known if entry.loss is not None}  # a step, and its validation
    steps |= {(entry.step, False) for entry in known if entry.eval_loss is not None}
    samples = {(one.step, one.request) for one in run.samples()}
    with log_file(run).open("w", encoding="utf-8") as file:
        for number, text in enumerate(lines):
            clean = without_secrets(text.rstrip("\n"))[:LONGEST]
            if number < MOST:
                file.write(clean + "\n")
                file.flush()
            if on_line:
                on_line(clean)
            said = job_lines.read(text)
            match said and said["kind"]:
                case "step":
                    key = (said["step"], said.get("eval_loss") is None)
                    if key not in steps:
                        steps.add(key)
                        run.append_log(job_lines.step(said))
                case "sample":
                    if (said["step"], said["request"]) not in samples:
                        samples.add((said["step"], said["request"]))
                        run.append_sample(job_lines.sample(said))
                case "say":
                    heard.doing = without_secrets(said["text"])[:LONGEST]
                case "kept":
                    heard.kept = said["step"]
                case "end":
                    heard.status, heard.error = said["status"], said["error"] and without_secrets(said["error"])[:LONGEST]
    return heard
