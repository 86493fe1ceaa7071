"""The Hugging Face Hub: one client, one account, and every refusal as a sentence.

Each call gets the token of whoever asked for it, as an argument, in memory: nothing here logs in, reads or writes the environment, or
keeps a token. Knows nothing of runs and models; what is fetched and pushed is in the modules beside this one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import HubError, PipelineError
from pipeline.hub import refusals
from pipeline.hub.refusals import TOKENS_PAGE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

NO_TOKEN = f"This needs a Hugging Face account: sign in on the page, on your own machine with hf auth login or HF_TOKEN ({TOKENS_PAGE})."
REMEMBERED = 300.0
"""Seconds for which the Hub's answer to "who is this?" counts: it answers that question rarely, and a revoked token must not live on."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}")


# --------------------------------------------------------------------------------------------------------------- client


def client(token: str | None) -> HfApi:
    """A client that acts for the owner of `token`; with None for nobody, even where the machine has a token of its own.

    Raises HubError for what cannot be a token.
    """
    from huggingface_hub import HfApi, constants, utils

    if not utils.are_progress_bars_disabled():
        utils.disable_progress_bars()  # how far something is, is told by whoever does it, not drawn into the log
    if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise HubError(f"The token of the Hub holds characters that no token has; make a new one at {TOKENS_PAGE}.")
    return HfApi(endpoint=constants.ENDPOINT, token=token or False, library_name="functiongemma-studio")


def local_token() -> str | None:
    """The token of `hf auth login` or HF_TOKEN on this computer: for its owner's own command line, never for a visitor."""
    from huggingface_hub import get_token

    return get_token()


def need_local_token() -> str:
    """The same. Raises HubError where there is none."""
    if not (token := local_token()):
        raise HubError(f"This computer has no token of the Hub; run hf auth login, or set HF_TOKEN to one from {TOKENS_PAGE}.", 401)
    return token


@dataclass(frozen=True)
class Account:
    """Who a token belongs to. `organizations` are those in which it may write; `can_write` is False for a token that only reads."""

    name: str
    organizations: tuple[str, ...] = ()
    can_write: bool = True

    @property
    def owners(self) -> tuple[str, ...]:
        """The names under which a repository may be made, the account's own first."""
        return (self.name, *self.organizations)


_known: dict[str, tuple[float, Account]] = {}  # SHA-256 of the token -> when it was asked, whose it is
_lock = threading.Lock()


def account(token: str | None) -> Account:
    """Whose token this is; asked again after REMEMBERED seconds. Raises HubError without a token, or if the Hub does not know it."""
    if not token:
        raise HubError(NO_TOKEN, 401)
    key, now = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest(), time.monotonic()
    with _lock:
        for old in [one for one, (asked, _) in _known.items() if now - asked > REMEMBERED]:
            del _known[old]
        if key in _known:
            return _known[key][1]
    with sentences("Asking the Hub who you are"):
        said = client(token).whoami()
    found = _account(said)
    with _lock:
        _known[key] = (now, found)
    return found


def forget(token: str | None) -> None:
    """Ask the Hub anew about this token next time: after it was refused, or at sign-out."""
    with _lock:
        _known.pop(hashlib.sha256((token or "").encode("utf-8", "surrogatepass")).hexdigest(), None)


def _account(said: dict[str, Any]) -> Account:
    """An Account from the answer of /api/whoami-v2. Raises HubError if it is none."""
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise HubError("Something between here and the Hub answered in its place when it was asked who you are; check proxy and network.")
    access = (said.get("auth") or {}).get("accessToken") or {}
    organizations = (one for one in said.get("orgs") or () if one.get("roleInOrg") != "read")
    return Account(said["name"], tuple(one["name"] for one in organizations), access.get("role") != "read")


def repo_id(account: Account, name: str, owner: str | None = None) -> str:
    """"owner/name" for a repository of this account or of one of its organizations (`owner`; None is the account itself).

    A `name` that has its owner before a slash may be given too. Raises HubError for any other owner and for what is no name.
    """
    before, slash, rest = name.strip().rpartition("/")
    owner, name = (before if slash else owner) or account.name, rest
    owners = {one.lower(): one for one in account.owners}
    if owner.lower() not in owners:
        mine = ", ".join(account.owners)
        raise HubError(f"{owner[:60]} is not {account.name} nor an organization where {account.name} may write; choose one of {mine}.", 403)
    return check_repo_id(f"{owners[owner.lower()]}/{name}")


def check_repo_id(repo: str) -> str:
    """`repo` if it is an "owner/name" that the Hub can have. Raises HubError with the rule."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > 96:
        raise HubError(
            f"{repo[:100]!r} is not a repository of the Hub: expected owner/name of letters, digits, - _ and . (not first or last, no two "
            "in a row of - or ., 96 at most)."
        )
    return repo


def slug(title: str) -> str:
    """A repository name made of a title: "Lampe für Küche" -> "lampe-f-r-k-che"; "model" where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower())[:60].strip("-") or "model"


# --------------------------------------------------------------------------------------------------------------- errors


@contextmanager
def sentences(doing: str) -> Iterator[None]:
    """Whatever huggingface_hub, its HTTP client and the disk raise inside becomes a HubError: "`doing` did not work: why; what to do."

    `doing` begins the sentence: "Pushing to alice/lamp". A PipelineError passes through as it is, also out of the client's threads. The
    original exception knows the request with its token and is not kept.
    """
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        if isinstance(own := error.__cause__, PipelineError):  # raised by us inside the client, which wrapped it
            raise own from None
        if not refusals.is_known(error):
            raise
        why = refusals.refusal(error)
        log.info("%s: %s", doing, type(error).__name__)
        raise HubError(f"{doing} did not work: {why.reason}.", why.status, why.retry_after) from None
