"""Base models of the Hub: who may use which, and its files on this disk at a pinned revision.

FunctionGemma is gated: each visitor's own token must be let through, every time, because the files of the last visitor may still lie on
this disk. Other models come from the visitor's own account or organizations only. Of any of them nothing but safetensors, configuration
and tokenizer is fetched: no code, no pickle, and no chat template of somebody else. Knows nothing of how a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import jsontext
from pipeline.errors import HubError, ModelError
from pipeline.hub import account, check_repo_id, client, local_token, refusals, sentences
from pipeline.hub.room import room

FUNCTION_GEMMA = "google/functiongemma-270m-it"
REVISIONS = {FUNCTION_GEMMA: "39eccb091651513a5dfb56892d3714c1b5b8276c"}
"""The models that anybody may name, and the commit each is pinned to.

FunctionGemma's was its newest in September 2026, as many public projects that pin it say; `id@revision` names another.
"""
TEMPLATE = "chat_template.jinja"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", TEMPLATE)
WANTED = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES)
MOST_BYTES = 4e9
"""FunctionGemma has 0.54 GB; a gemma3_text model of 1 billion parameters in bfloat16 has 2. More would fill a Space's disk."""
SMALL_JSON = 1_000_000
_BASE = re.compile(r"([^@\s]+/[^@\s]+?)(?:@([\w.-]+))?")

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Access:
    """A base model that a token may use: `revision` is a commit, `size` the bytes of its `files`, which come into `folder`."""

    id: str
    revision: str
    size: int
    folder: Path
    files: dict[str, int] = field(repr=False)

    def missing(self) -> int:
        """Bytes that are not on this disk yet."""
        return sum(size for name, size in self.files.items() if not (self.folder / name).exists())


def check_base(base: str, token: str | None) -> Access:
    """Asks the Hub whether the owner of `token` may use `base` ("owner/name" or "owner/name@revision"), and whether it can be used.

    Nothing large is fetched. Raises HubError: no token, licence not accepted (with its page), scope, not theirs, offline; ModelError for
    another kind of model. Never answered from memory.
    """
    name, revision = _named(base)
    if name in REVISIONS:
        revision = revision or REVISIONS[name]
    else:
        _require_own(name, token)
    api = client(token)
    with sentences(f"Looking at {name}"):
        api.auth_check(name)
        info = api.model_info(name, revision=revision, files_metadata=True)
        files = {one.rfilename: one.size or 0 for one in info.siblings or ()}
        if "config.json" not in files:
            raise ModelError(f"{name} on the Hub holds no config.json; expected a gemma3_text model.")
        if files["config.json"] > SMALL_JSON:
            raise ModelError(f"config.json of {name} is {files['config.json'] / 1e6:.0f} MB large, which is no configuration of a model.")
        config = api.hf_hub_download(name, "config.json", revision=info.sha)
    check_config(config, name)
    wanted = {file: size for file, size in files.items() if _is_wanted(name, file)}
    if not any(file.endswith(".safetensors") for file in wanted):
        raise ModelError(f"{name} holds no .safetensors file; weights in other formats are not loaded.")
    size = sum(wanted.values())
    if size > MOST_BYTES:
        raise ModelError(f"{name} is {size / 1e9:.1f} GB large; at most {MOST_BYTES / 1e9:.0f} GB can be used here.")
    return Access(name, info.sha, size, Path(config).parent, wanted)


def fetch_base(base: str, token: str | None, progress: Progress | None = None, *, owner: bool = False) -> Path:
    """The folder of `base` on this disk, named by its commit; what is missing of it is fetched after `check_base`.

    `owner` says that the owner of this computer asks: without a token their own of `hf auth login` is taken, and where the Hub cannot be
    reached, what is here whole. A visitor of a server is refused then, for nobody knows whether they may. Raises HubError and ModelError.
    """
    if owner and token is None:
        token = local_token()
    try:
        access = check_base(base, token)
    except HubError as refused:
        if owner and refused.status is None and (folder := _on_disk(base)):
            return folder
        raise
    report = progress or (lambda fraction, message: None)
    others = "Waiting for another base model that is being fetched"
    with room(access.id, access.folder, access.missing, lambda: report(0.0, others)), sentences(f"Fetching {access.id}"):
        folder = client(token).snapshot_download(
            access.id, revision=access.revision, allow_patterns=_patterns(access.id), tqdm_class=_counter(access.size, report)
        )
    report(1.0, "The base model is here")
    return Path(folder)


def check_config(file: str | Path, name: str) -> None:
    """Raises ModelError unless the config.json in `file` is that of a model that can be used; `name` begins the sentence."""
    try:
        config = jsontext.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{name} holds no config.json; expected the folder of a gemma3_text model.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"config.json of {name} cannot be read ({error}).") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "gemma3_text":
        raise ModelError(f"{name} is a model of type {kind}; only gemma3_text, FunctionGemma's, can be used.")
    if "auto_map" in config:
        raise ModelError(f"{name} wants to run code of its own (auto_map in config.json), which is never done.")


def _named(base: str) -> tuple[str, str | None]:
    found = _BASE.fullmatch(base)
    if not found:
        raise HubError(f"{base[:100]!r} is no model of the Hub; expected one such as {FUNCTION_GEMMA}, optionally with @revision.")
    return check_repo_id(found[1]), found[2]


def _require_own(name: str, token: str | None) -> None:
    """Raises HubError unless `name` lies in the account or an organization of the token's owner."""
    if not token:
        raise HubError(f"{name} is not {FUNCTION_GEMMA}, and other base models must be your own; {refusals.LOGIN}.", 401)
    who = account(token)
    if name.partition("/")[0].lower() not in {one.lower() for one in who.owners}:
        raise HubError(
            f"{name} is neither {FUNCTION_GEMMA} nor a model of {' or '.join(who.owners)}; base models of others are not trained on.", 403
        )


def _patterns(name: str) -> list[str]:
    """What is fetched of `name`. Only the models known here bring their chat template: ours is rendered in place of anybody else's."""
    return [one for one in WANTED if one != TEMPLATE or name in REVISIONS]


def _is_wanted(name: str, file: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(file, pattern) for pattern in _patterns(name)) and "/" not in file


def _on_disk(base: str) -> Path | None:
    """The snapshot of `base` if it was fetched whole before."""
    from huggingface_hub import errors, snapshot_download

    name, revision = _named(base)
    try:
        found = snapshot_download(
            name, revision=revision or REVISIONS.get(name), local_files_only=True, token=False, allow_patterns=_patterns(name)
        )
    except errors.LocalEntryNotFoundError:
        return None
    return Path(found) if any(Path(found).glob("model*.safetensors")) else None


def _counter(size: int, progress: Progress) -> type:
    """What snapshot_download takes for the class of its progress bars: the one that counts bytes on the disk calls `progress`."""

    class Counter:
        format_dict: dict[str, Any] = {"rate": None}

        def __init__(self, *_: Any, desc: str = "", unit: str = "it", total: int | None = 0, **__: Any):
            self.n, self.total = 0, total
            self.counts = unit == "B" and desc.startswith("Reconstructing")

        def __enter__(self) -> Counter:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.counts:
                progress(min(1.0, self.n / max(1, size)), f"Fetching the base model: {self.n / 1e6:,.0f} of {size / 1e6:,.0f} MB")

        def _nothing(self, *_: Any, **__: Any) -> None:
            """Nothing is drawn."""

        refresh = close = set_description = set_description_str = set_postfix_str = _nothing

    return Counter
