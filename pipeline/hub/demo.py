"""Share a demo: a small Space that holds the playground for one model and nothing else, made of files of this project.

`write` makes the folder, which runs on a computer of one's own as well; `share` pushes it to the user's account. The page, the parser and
the engine are copies of ours, byte for byte; README.md comes from demo_readme.md. The model runs as a .litertlm, so neither the Space nor
its requirements know torch. What becomes public with a public demo is that file, the functions and a few held-out requests.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import export, hub, simulated
from pipeline.child import Progress
from pipeline.errors import ExportError, HubError
from pipeline.examples import conversation, to_try
from pipeline.export import Artifact, card
from pipeline.files import write_atomic
from pipeline.hub.push import Existing, last, look, push_folder
from pipeline.runs import Run

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("demo_readme.md")
APP = "pipeline/ui/demo_app.py"
CARD = "MODEL_CARD.md"
REMEMBERED = "demo.json"
"""In the run's folder: where its demo was shared."""
HUB = "https://huggingface.co"
COPIED = (
    *(f"pipeline/{name}.py" for name in (
        "errors", "jsontext", "schema", "declarations", "tools", "functiongemma", "functiongemma_parser", "functiongemma_values",
        "examples", "simulated", "engine",
    )),
    *(f"pipeline/ui/{name}" for name in ("answer_view.py", "widgets.py", "solo.py", "theme.py", "studio.css", "solo.css")),
    "LICENSE", "NOTICE",
)  # fmt: skip
"""What the page needs of this project; a test runs it without the rest."""
PACKAGES = ("pipeline", "pipeline/ui")
PACKAGE = '"""Files of FunctionGemma Studio, copied unchanged: what this demo needs of it."""\n'
REQUIREMENTS = ("gradio", "litert-lm-api")
"""gradio draws the page; litert-lm-api is LiteRT-LM's library alone, without its command line."""
LONGEST_REQUEST = 200
"""Characters of a request to try; a longer one is no button."""
WORDS = "A small model that calls {functions}. It runs here on a CPU, as it would on a phone; nothing you type is stored."
INDEPENDENT = (
    "Made with FunctionGemma Studio, an independent project that is not made, sponsored or endorsed by Google or Hugging Face. The model "
    "suggests calls; check them before doing anything that cannot be undone."
)


@dataclass(frozen=True)
class Shared:
    """A demo on the Hub: `url` is its page there, `site` the page alone, `embed` the HTML that shows it inside another page."""

    repo: str
    url: str
    site: str
    embed: str
    commit: str
    private: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def file_of(run: Run) -> Artifact | None:
    """The run's .litertlm that a demo takes: the newest in int8, else the newest; None before one was exported."""
    made = [one for one in export.artifacts(run.artifacts_path) if one.format == "litertlm"]
    return next((one for one in reversed(made) if one.details.get("quantize") == "int8"), made[-1] if made else None)


def write(run: Run, out: str | Path, progress: Progress | None = None, *, title: str = "", model_page: str | None = None) -> Path:
    """The demo's folder at `out`, whole or not at all. Exports the .litertlm first if there is none.

    `title` stands above the page (the run's, if empty); `model_page` is the address of the model's page, else where it was pushed
    publicly. Raises ExportError if something is at `out`, or if no file can be made.
    """
    out, progress = Path(out), progress or (lambda fraction, message: None)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ExportError(f"{out} exists and is not empty; name a new folder.")
    file = file_of(run) or export.export(run, "litertlm", "int8", progress=lambda done, message: progress(0.9 * done, message))
    progress(0.9, "Writing the demo")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{secrets.token_hex(6)}.partial")
    try:
        _fill(beside, run, file, " ".join(title.split())[:80] or run.title, model_page or _page_of_model(run))
        os.rename(beside, out)  # onto an empty folder, too
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    progress(1.0, f"{out.name} is ready")
    return out


def _fill(folder: Path, run: Run, file: Artifact, title: str, model_page: str | None) -> None:
    dataset, base = run.dataset(), run.base
    context = export.inspect(file.path)["model"]["cache_length"]
    name = Path(file.path).name
    beginning = conversation("", dataset)[0]
    notice = card.EMBEDDED_NOTICE if base["embedded"] else card.GEMMA_NOTICE
    words = WORDS.format(functions="one function" if len(dataset.tools) == 1 else f"{len(dataset.tools)} functions")
    settings = {
        "title": title, "words": words, "card": model_page or "", "file": name, "context": context,
        "developer": beginning["content"] if beginning["role"] == "developer" else "", "notice": notice, "independent": INDEPENDENT,
    }  # fmt: skip
    requests = [request for request in to_try(dataset, 24) if len(request) <= LONGEST_REQUEST][:8]
    for source in COPIED:
        (folder / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, folder / source)
    for package in PACKAGES:
        write_atomic(folder / package / "__init__.py", PACKAGE)
    shutil.copyfile(ROOT / APP, folder / "app.py")
    shutil.copyfile(file.path, folder / name)
    for name, content in {
        "demo.json": settings, "tools.json": [tool.to_json() for tool in dataset.tools], "requests.json": requests,
        "results.json": simulated.templates(dataset.tools),
    }.items():  # fmt: skip
        write_atomic(folder / name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / "requirements.txt", "".join(f"{one}=={_version(one)}\n" for one in REQUIREMENTS))
    write_atomic(folder / CARD, card.text(run, [file]))
    write_atomic(folder / "README.md", _readme(settings, file, base))


def _readme(settings: dict[str, Any], file: Artifact, base: dict[str, Any]) -> str:
    page = settings["card"]
    model = re.fullmatch(r"https://huggingface\.co/([\w.-]+/[\w.-]+)", page)
    values = {
        "title_json": json.dumps(settings["title"], ensure_ascii=False), "gradio": _version("gradio"),
        "license": "apache-2.0" if base["embedded"] else "gemma", "models": f"models:\n- {model[1]}\n" if model else "",
        "words": settings["words"], "file": settings["file"], "size": f"{file.size / 1e6:,.1f} MB", "sha256": file.sha256,
        "card": f"The model's own page: {page}\n\n" if model else "", "notice": settings["notice"], "independent": settings["independent"],
    }  # fmt: skip
    text = TEMPLATE.read_text("utf-8")
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)


def _version(package: str) -> str:
    """The version that runs here, and that the demo is tested with; without a build's suffix."""
    return version(package).partition("+")[0]


# ---------------------------------------------------------------------------------------------------------------- share


def share(
    run: Run, name: str, token: str, *, private: bool = True, owner: str | None = None, overwrite: bool = False,
    parent: str | None = None, title: str = "", model_page: str | None = None, progress: Progress | None = None,
) -> Shared:  # fmt: skip
    """The demo of a run as a Space `name` of the token's account, or of an organization of it (`owner`, or before a slash in `name`).

    Private unless told otherwise: a private demo is seen by nobody else. The same run's demo is brought up to date if nobody has changed it
    meanwhile, and made public if that is asked for now; any other Space is changed with `overwrite` only, and with `parent` only if that
    is its newest commit. Raises HubError, and ExportError as `write` does.
    """
    progress = progress or (lambda fraction, message: None)
    repo = hub.repo_id(hub.account(token), name, owner)
    before = shared(run)
    existing = look(repo, token, "space") if before and before.repo == repo else None
    mine = before.commit if existing else None
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        page = model_page or _page_of_model(run) or f"{HUB}/spaces/{repo}/blob/main/{CARD}"
        made = write(run, Path(folder) / "demo", lambda done, message: progress(0.5 * done, message), title=title, model_page=page)
        pushed = push_folder(
            made, repo, token, repo_type="space", space_sdk="gradio", private=existing.private if existing else private,
            message=f"Demo of {run.title}", overwrite=overwrite or mine is not None, parent=parent if overwrite else mine,
            progress=lambda done, message: progress(0.5 + 0.5 * done, message),
        )  # fmt: skip
    address = site(repo)
    result = Shared(repo, pushed.url, address, embed(address), pushed.commit, pushed.private)
    _remember(run, result)
    return publish(run, token) if result.private and not private else result


def in_the_way(run: Run, repo: str, token: str) -> Existing | None:
    """The Space of that name as it is now, if `share` would change it with `overwrite` only. Raises HubError."""
    there, before = look(repo, token, "space"), shared(run)
    if there is None or there.is_new or (before and (before.repo, before.commit) == (repo, there.commit)):
        return None
    return there


def _page_of_model(run: Run) -> str | None:
    """Where the run's model was pushed to, if everybody may see it there."""
    pushed = last(run)
    return pushed.url if pushed and not pushed.private else None


def shared(run: Run) -> Shared | None:
    """The demo that was last shared of this run."""
    try:
        return Shared(**json.loads((run.path / REMEMBERED).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _remember(run: Run, made: Shared) -> None:
    write_atomic(run.path / REMEMBERED, json.dumps(made.to_json(), indent=1))


def publish(run: Run, token: str) -> Shared:
    """Let everybody see the demo of this run, which was private. Raises HubError."""
    made = shared(run)
    if made is None:
        raise HubError("This run has no demo yet; share one first.")
    with hub.sentences(f"Making {made.repo} public"):
        hub.client(token).update_repo_settings(made.repo, private=False, repo_type="space")
    made = replace(made, private=False)
    _remember(run, made)
    return made


def site(repo: str) -> str:
    """The address of a Space's page alone: https://user-name.hf.space (https://huggingface.co/docs/hub/spaces-embed)."""
    return f"https://{re.sub(r'[^a-z0-9]+', '-', repo.lower()).strip('-')}.hf.space"


def embed(address: str) -> str:
    """HTML that shows the demo inside another page; it must be public there."""
    return f'<iframe src="{address}" title="Demo" width="100%" height="720" style="border:0"></iframe>'
