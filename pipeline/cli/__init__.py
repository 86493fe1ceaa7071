"""The command line: `python -m pipeline STAGE ...`, and the door at which every error becomes a sentence.

    parser      the words of each command; options come from pipeline.config
    data, training, answers, artifacts, pushing, sharing, remote     one plain function a stage: unpack, call the pipeline, shape the answer
    demo        the whole job on the sample data, of the same functions
    console     progress on stderr, the result on stdout

Importing it loads no heavy package: the commands do, when they run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from pipeline.cli import answers, artifacts, data, demo, parser, pushing, remote, sharing, training
from pipeline.cli.console import Console, results_only
from pipeline.cli.result import Result
from pipeline.errors import PipelineError

COMMANDS = {
    "demo": demo.demo, "import": data.import_, "lint": data.lint, "train": training.train, "evaluate": answers.evaluate,
    "chat": answers.chat, "export": artifacts.export, "inspect": artifacts.inspect, "push": pushing.push, "fetch": pushing.fetch,
    "share": sharing.share, "jobs": remote.jobs,
}  # fmt: skip
DONE, FAILED, USAGE, INTERRUPTED, ENDED = 0, 1, 2, 130, 143  # the last two are 128 + SIGINT and 128 + SIGTERM, as shells count


class _Ended(KeyboardInterrupt):
    """SIGTERM, on the same way out as Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Usage errors leave through SystemExit(2), as argparse does it."""
    args = parser.build(COMMANDS).parse_args(argv)
    _quieten_libraries()
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with results_only() as stdout:
            console = Console()
            try:
                console = Console(args.progress_file)
                result = COMMANDS[args.command](args, console)
                console.end_line()
                _print(stdout, result, args.json)
            except PipelineError as error:
                return _fail(console, str(error))
            except KeyboardInterrupt as error:
                console.say("Stopped before it was done; nothing half-written was left. The same command starts it again.")
                return ENDED if isinstance(error, _Ended) else INTERRUPTED
            except BrokenPipeError:  # whoever read our stdout, such as `head`, has left
                return FAILED
            except OSError as error:
                return _fail(console, _of_the_system(error))
            except Exception as error:
                return _fail(console, _of_ours(error))
        if result.error:
            return _fail(console, result.error)
        return result.status
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(stdout, result: Result, as_json: bool) -> None:
    if result.text and not as_json:
        stdout.write(result.text + "\n")
    if as_json:
        stdout.write(json.dumps(result.json, ensure_ascii=False, allow_nan=False) + "\n")
    stdout.flush()


def _fail(console: Console, sentence: str) -> int:
    console.say("error: " + " ".join(sentence.split()))
    return FAILED


def _end(number: int, frame: object) -> NoReturn:
    raise _Ended


def _of_the_system(error: OSError) -> str:
    """A full disk, a missing permission, a name that is too long: not a defect, and not in our words."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; make sure that the path is right, may be written to, and that there is room on the disk."


def _of_ours(error: Exception) -> str:
    if type(error).__name__ in {"OutOfMemoryError", "MemoryError"}:  # torch's, without importing torch for it
        return "Memory ran out; close other programs, or lower --max-tokens or --per-device-train-batch-size."
    handle, path = tempfile.mkstemp(prefix="functiongemma-studio-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as log:
        log.write(f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    return f"This is a defect of ours ({type(error).__name__}); the details are in {path}, please report it with them."


def _quieten_libraries() -> None:
    """Their progress bars, advice and C++ chatter are not ours to pass on. What a user has set stays."""
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false", "TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3",
    }.items():  # fmt: skip
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
