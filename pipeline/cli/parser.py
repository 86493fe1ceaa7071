"""The words of the command line. Options of training, evaluation and export come from `pipeline.config`, none is defined here.

Knows nothing of what the commands do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import PRESETS, EvalConfig, ExportConfig, Option, TrainConfig, plain
from pipeline.hub.parcel import PARTS, USUAL

Command = Callable[..., Any]


def build(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser for `commands` (name -> function; the first line of its docstring is its help)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="From your app's functions to a FunctionGemma file that runs on a phone; one subcommand a stage.",
        epilog="Exit status: 0 done; 1 it could not be done, and a sentence on stderr says why; 2 the command was misspelled.",
    )
    stages = parser.add_subparsers(title="stages", dest="command", required=True, metavar="STAGE")
    for name, command in commands.items():
        help = (command.__doc__ or "").strip().splitlines()[0]
        stage = stages.add_parser(name, help=help, description=help)
        _WORDS[name](stage)
        stage.add_argument("--json", action="store_true", help="print the result as one JSON object, the last line of stdout")
        stage.add_argument("--progress-file", type=_path, metavar="PATH", help="keep this file up to date: fraction, message, eta_seconds")
    return parser


def given(args: argparse.Namespace, kind: type[TrainConfig] | type[EvalConfig] | type[ExportConfig]) -> dict[str, Any]:
    """The options of a configuration that were typed, by name."""
    return {o.name: getattr(args, o.name) for o in kind.options() if getattr(args, o.name, None) is not None}


def _demo(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--out", type=_path, required=True, metavar="DIR", help="gets data, run, files; an interrupted demo goes on there")
    _add(stage, (TrainConfig.option("max_steps"),))


def _import(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("files", type=_path, nargs="+", metavar="FILE", help="examples: .jsonl, .json or .csv in the formats of the README")
    stage.add_argument("--tools", type=_path, metavar="FILE", help="the functions, as a JSON list; not needed where the rows bring theirs")
    stage.add_argument("--out", type=_path, required=True, metavar="DIR", help="gets tools.json, examples.jsonl and report.json")


def _lint(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("dataset", type=_path, metavar="DIR", help="a folder with tools.json and examples.jsonl")


def _train(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("dataset", type=_path, metavar="DIR", help="a folder with tools.json and examples.jsonl")
    stage.add_argument("--out", type=_path, required=True, metavar="RUN", help="the run folder; one that was stopped goes on")
    stage.add_argument("--base", metavar="BASE", help="embedded, a folder, or a model on the Hub (default: embedded)")
    stage.add_argument("--preset", choices=tuple(PRESETS), help="; ".join(text for text, _ in PRESETS.values()))
    stage.add_argument("--time-budget", type=float, metavar="SECONDS", help="stop in time, keep what is there; the same command goes on")
    _add(stage, TrainConfig.options())


def _evaluate(stage: argparse.ArgumentParser) -> None:
    _add_run(stage)
    stage.add_argument("--file", type=_path, metavar="FILE", help="the exported file to score (default: the newest that was exported)")
    _add(stage, EvalConfig.options())


def _chat(stage: argparse.ArgumentParser) -> None:
    _add_run(stage)
    stage.add_argument("request", metavar="TEXT", help="what a user of your app might say")
    stage.add_argument("--tools", type=_path, metavar="FILE", help="other functions than those the run was trained on, as a JSON list")
    on = EvalConfig.option("on")
    stage.add_argument("--on", choices=("base", "tuned"), default=on.default, help="which model answers")
    _add(stage, (EvalConfig.option("max_new_tokens"),))


def _export(stage: argparse.ArgumentParser) -> None:
    _add_run(stage)
    _add(stage, ExportConfig.options())
    stage.add_argument("--out", type=_path, metavar="DIR", help="where the file goes (default: the run's artifacts folder)")


def _inspect(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("file", type=_path, metavar="FILE", help="an exported file, such as model.litertlm")


_JOBS = {
    "hardware": "what a Job may run on, with the Hub's prices of today",
    "start": "push a run to a private repository of yours and train it in a Job; it goes on when this command ends",
    "list": "the studio's Jobs of your account, or of an organization",
    "show": "what the Job of a run is doing now",
    "logs": "the log of a run's Job; its steps go into the run's own log",
    "cancel": "end the Job of a run now; what it has pushed stays",
    "fetch": "bring the result of a run's Job into the run folder, whole or not at all",
}


def _jobs(stage: argparse.ArgumentParser) -> None:
    actions = stage.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    for name, help in _JOBS.items():
        action = actions.add_parser(name, help=help, description=help)
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as one JSON object")
        if name in ("show", "logs", "cancel", "fetch"):
            _add_run(action)
        if name == "list":
            action.add_argument("--namespace", metavar="NAME", help="an organization (default: your own account)")
        if name == "logs":
            action.add_argument("--follow", action="store_true", help="go on until the Job is over")
        if name == "start":
            _start_job(action)


def _start_job(action: argparse.ArgumentParser) -> None:
    action.add_argument("dataset", type=_path, metavar="DIR", help="a folder with tools.json and examples.jsonl")
    action.add_argument("--out", type=_path, required=True, metavar="RUN", help="the run folder; one that was stopped goes on in the Job")
    action.add_argument("--base", metavar="BASE", help="embedded, or a model on the Hub (default: embedded)")
    action.add_argument("--preset", choices=tuple(PRESETS), help="; ".join(text for text, _ in PRESETS.values()))
    action.add_argument("--flavor", required=True, metavar="NAME", help="the hardware, one of `jobs hardware`; several GPUs train together")
    action.add_argument("--repo", metavar="NAME", help="the private repository that everything goes through (default: named after the run)")
    action.add_argument("--timeout", type=int, metavar="SECONDS", help="the Hub ends the Job then (default: three times the estimate)")
    action.add_argument("--estimate", type=float, metavar="SECONDS", help="how long you think it takes (default: counted)")
    action.add_argument("--keep-every", type=float, metavar="MINUTES", help="least time between two pushed checkpoints (default: 5)")
    action.add_argument("--no-evaluate", dest="evaluate", action="store_false", help="do not score the tuned model there")
    action.add_argument("--dry-run", action="store_true", help="print the exact call; push and start nothing")
    _add(action, TrainConfig.options())


def _push(stage: argparse.ArgumentParser) -> None:
    _add_run(stage)
    stage.add_argument("--repo", required=True, metavar="USER/NAME", help="the repository, of your account or of an organization of yours")
    stage.add_argument("--public", action="store_true", help="everybody may see it (default: you alone)")
    stage.add_argument("--overwrite", action="store_true", help="replace files of the same name in a repository that exists")
    stage.add_argument("--checkpoint", action="store_true", help="keep a training that is not over: another machine goes on")
    parts = f"what goes: {', '.join(PARTS)} (default: {' '.join(USUAL)})"
    stage.add_argument("--include", nargs="+", choices=PARTS, metavar="PART", help=parts)


def _share(stage: argparse.ArgumentParser) -> None:
    _add_run(stage)
    stage.add_argument("--repo", metavar="USER/NAME", help="the Space, of your account or of an organization of yours")
    stage.add_argument("--public", action="store_true", help="everybody may see it (default: you alone)")
    stage.add_argument("--overwrite", action="store_true", help="replace files of the same name in a Space that exists")
    stage.add_argument("--title", default="", metavar="TEXT", help="what stands above the page (default: the run's title)")
    stage.add_argument("--out", type=_path, metavar="DIR", help="only write the folder, which runs on any computer; needs no account")


def _fetch(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("repo", metavar="USER/NAME", help="where push --checkpoint has kept it")
    stage.add_argument("--out", type=_path, required=True, metavar="RUN", help="the new run folder")


_WORDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "demo": _demo, "import": _import, "lint": _lint, "train": _train, "evaluate": _evaluate, "chat": _chat, "export": _export,
    "inspect": _inspect, "push": _push, "fetch": _fetch, "share": _share, "jobs": _jobs,
}  # fmt: skip


def _add_run(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("run", type=_path, metavar="RUN", help="a run folder that `train` made")


def _add(stage: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """One flag an option. None stands for "not typed": the configuration has the default, or an existing run its own value."""
    for option in options:
        words: dict[str, Any] = {"dest": option.name, "help": _help(option), "default": argparse.SUPPRESS}
        if option.kind is bool:
            stage.add_argument(option.flag, nargs="?", const=True, type=_bool, metavar="true|false", **words)
        elif option.choices:
            stage.add_argument(option.flag, choices=option.choices, **words)
        else:
            stage.add_argument(option.flag, type=option.kind, metavar={int: "N", float: "X", str: "WORD"}[option.kind], **words)


def _help(option: Option) -> str:
    default = option.unset if option.optional else str(option.default)
    bounds = [f"{word} {plain(bound)}" for word, bound in (("at least", option.low), ("at most", option.high)) if bound is not None]
    return f"{option.help} ({', '.join([*bounds, f'default: {default}'])})".replace("%", "%%")


def _path(text: str) -> Path:
    if not text.strip():  # Path would take it for the current folder
        raise argparse.ArgumentTypeError("expected a path, found an empty text")
    return Path(text)


def _bool(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")
    return text.lower() == "true"
