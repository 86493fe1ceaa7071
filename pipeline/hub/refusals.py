"""Why the Hub said no, in words: one reason, and what to do next, for every exception that its client and the network raise.

Written after the sources of huggingface_hub 2.4 and httpx2. The Hub's own words are kept where they say more than the status, without
tokens and signed addresses. Raises nothing and asks nobody.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.durations import duration

TOKENS_PAGE = "https://huggingface.co/settings/tokens"
STATUS_PAGE = "https://status.huggingface.co"
LOGIN = "sign in (on a computer of your own: hf auth login)"
SCOPE = f"sign out and in again and allow everything that is asked for, or use a token that may do this ({TOKENS_PAGE})"
MOST_WORDS = 240
"""Characters of the Hub's own words that are passed on."""
CLIENTS = ("huggingface_hub", "hf_xet", "httpx2", "httpcore2")
_SECRET = re.compile(
    r"(?i)\b(?:hf|api_org|oauth)_[\w.\-]{4,}|\bbearer\s+\S+|\beyJ[\w\-]{8,}(?:\.[\w\-]*)*|(?<=[?&])(?:X-Amz-[\w-]+|Signature|Policy|token)=[^&\s]+"
)
_REPOSITORY = re.compile(r"(?:/api)?/(?:(models|datasets|spaces)/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:/|$)")


@dataclass(frozen=True)
class Refusal:
    """A reason that follows "... did not work: "; `status` and `retry_after` (seconds) as in HubError."""

    reason: str
    status: int | None = None
    retry_after: float | None = None


def without_secrets(text: str) -> str:
    """`text` without anything that looks like a token, an Authorization header or the signature of an address."""
    return _SECRET.sub("(secret)", text)


def is_known(error: BaseException) -> bool:
    """Whether `error` is one of the Hub's client, of the network or of this disk, and no defect of ours."""
    import httpx2
    from huggingface_hub import errors

    own = tuple(one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception))
    if isinstance(error, (*own, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, httpx2.CookieConflict, OSError)):
        return True
    # The client also raises plain ValueError, RuntimeError and the like, and so may our own code: whose line was it?
    return isinstance(error, (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError)) and _is_theirs(error.__traceback__)


def refusal(error: BaseException) -> Refusal:
    """What stands behind a known `error`."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, UnicodeError | httpx2.LocalProtocolError):  # a header that cannot be sent: its text is the token's
        return Refusal(f"the token holds characters that no token has; make a new one at {TOKENS_PAGE}")
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return Refusal("the address of the Hub is none: HF_ENDPOINT must be one such as https://huggingface.co, or not be set")
    telling = _most_telling(error)
    if isinstance(telling, errors.HfHubHTTPError):
        return _answered(telling)
    if isinstance(telling, errors.InferenceTimeoutError | httpx2.TimeoutException | TimeoutError):
        return Refusal("the Hub did not answer in time; try again: what was sent or fetched whole is not sent or fetched again")
    if isinstance(telling, errors.OfflineModeIsEnabled):
        return Refusal("HF_HUB_OFFLINE is set, so the Hub may not be asked; unset it")
    if isinstance(telling, httpx2.ProxyError):
        return Refusal("the proxy does not let it through; check HTTPS_PROXY")
    if isinstance(telling, httpx2.ConnectError | ConnectionRefusedError):
        return Refusal("the Hub cannot be reached; check that this computer is online, then try again")
    if isinstance(telling, httpx2.NetworkError | httpx2.ProtocolError | ConnectionError):
        return Refusal("the connection broke off; try again: what was sent or fetched whole is not sent or fetched again")
    if isinstance(telling, httpx2.TooManyRedirects | httpx2.DecodingError | json.JSONDecodeError):
        return Refusal("something between here and the Hub answered in its place; check proxy and network sign-in")
    if isinstance(telling, errors.HFValidationError | errors.HfUriError):
        return Refusal(f"that is no name of a repository ({_line(str(telling))})")
    if isinstance(telling, errors.LocalTokenNotFoundError | errors.OIDCError | errors.DeviceCodeError):
        return Refusal(f"it needs an account; {LOGIN}", 401)
    if isinstance(telling, errors.FileMetadataError):
        return Refusal("the Hub answered without saying which file it is; check proxy and network sign-in")
    absent = (errors.EntryNotFoundError, errors.RevisionResolutionError, errors.CachedRepoTreeNotFoundError, errors.CacheNotFound)
    if isinstance(telling, absent):
        return Refusal("it is not on this disk yet, and the Hub cannot be reached; go online, then try again")
    if isinstance(telling, errors.XetDownloadError):
        return Refusal("the Hub's file storage broke off; try again: what was fetched whole is not fetched again")
    if type(telling).__name__ == "XetAuthenticationError":  # of hf_xet, which not every computer has
        return Refusal(f"the Hub's file storage did not take the token; sign in again, or make a new one at {TOKENS_PAGE}", 401)
    if type(telling).__name__ == "XetObjectNotFoundError":
        return Refusal("the Hub's file storage has lost a part of it; try again later", 404)
    if isinstance(telling, OSError) and telling.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal("this disk is full; make room, then try again")
    if isinstance(telling, OSError) and telling.strerror:
        return Refusal(f"{telling.strerror}{f': {telling.filename}' if telling.filename else ''}")
    words = _line(str(telling))
    return Refusal(f"the Hub's client says: {words}" if words else f"the Hub's client gave up ({type(telling).__name__}); try again")


def _answered(error: Any) -> Refusal:
    """A refusal that the Hub itself gave, by its kind and status."""
    from huggingface_hub import errors

    status, said = error.response.status_code, _line(error.server_message or "")
    kind, repo = _repository(error)
    page = f"https://huggingface.co/{f'{kind}/' if kind in ('datasets', 'spaces') else ''}{repo}"
    signed_in = "authorization" in _request_headers(error)
    lowered = said.lower()
    if isinstance(error, errors.GatedRepoError) or (status == 403 and "gated" in lowered):
        return Refusal(_gated(repo, page, lowered, signed_in), status)
    if isinstance(error, errors.DisabledRepoError):
        return Refusal(f"{repo} has been disabled by its owner or by Hugging Face; see {page}", status)
    if isinstance(error, errors.RevisionNotFoundError):
        return Refusal(f"{repo} has no such revision; leave it out for the newest", status)
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return Refusal(f"{repo} holds no such file", status)
    if isinstance(error, errors.RepositoryNotFoundError) and not (status == 401 and "invalid" in lowered and signed_in):
        who = "or is private and this account may not see it" if signed_in else f"or is private; if it is yours, {LOGIN}"
        return Refusal(f"there is no {repo} on the Hub, {who}", status)
    if status == 401:
        return Refusal(
            f"the token is not valid, or not any more; sign in again, or make a new one at {TOKENS_PAGE}" if signed_in
            else f"it needs an account; {LOGIN}", status,
        )  # fmt: skip
    if status == 429:
        after = retry_after(error.response.headers)
        when = f"try again in {duration(max(1, after))}" if after is not None else "try again in some minutes"
        return Refusal(f"that was more requests than the Hub takes at once; {when}", status, after)
    if status == 403 and ("storage" in lowered or "quota" in lowered):
        return Refusal(f"there is no room left for it ({said}); make room, or make it public, at https://huggingface.co/settings", status)
    theirs = {
        400: f"the Hub took it for wrong ({said})" if said else "the Hub took it for wrong; try again",
        402: f"the Hub asks for a paid plan or credit{f' ({said})' if said else ''}; see https://huggingface.co/settings/billing",
        403: f"this account or token may not do that{f' ({said})' if said else ''}; {SCOPE}",
        404: f"there is no such thing on the Hub{f' ({said})' if said else ''}",
        409: f"it is there already, or somebody else changes it now{f' ({said})' if said else ''}; look at it, then try again",
        412: "somebody else has changed the repository in the meantime; look at it, then try again",
        413: "it is larger than the Hub takes; leave something out",
        416: "the Hub's file changed while it was fetched; try again",
    }
    if status in theirs:
        return Refusal(theirs[status], status)
    if status >= 500:
        after = retry_after(error.response.headers)
        return Refusal(f"the Hub has trouble of its own ({status}); try again later, see {STATUS_PAGE}", status, after)
    return Refusal(f"the Hub answered {status}{f' ({said})' if said else ''}; try again later", status)


def _gated(repo: str, page: str, said: str, signed_in: bool) -> str:
    if not signed_in:
        return f"{repo} is gated: accept its licence at {page}, then {LOGIN}"
    if "fine-grained" in said or "scope" in said or "enable access" in said:
        return f"this token may not read gated repositories: {SCOPE}"
    if "awaiting" in said or "pending" in said:
        return f"{repo} is gated, and its owner has not answered your request yet; see {page}"
    if "rejected" in said:
        return f"{repo} is gated, and its owner has refused your request; see {page}"
    return f"{repo} is gated: accept its licence at {page} with this account, then try again"


def retry_after(headers: Any) -> float | None:
    """Seconds after which the Hub wants to be asked again; None where it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = headers.get("retry-after", "").strip()
    return float(after) if after.isdecimal() else None


def _most_telling(error: BaseException) -> BaseException:
    """What the client wrapped: the first answer of the Hub or fault of the network among the causes, else the innermost of them."""
    import httpx2
    from huggingface_hub import errors

    chain = list(_causes(error))
    return next((one for one in chain if isinstance(one, errors.HfHubHTTPError)), None) or next(
        (one for one in chain if isinstance(one, httpx2.HTTPError | errors.OfflineModeIsEnabled)), error
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_theirs(traceback: TracebackType | None) -> bool:
    """Whether a line of the Hub's client was under way."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] in CLIENTS:
            return True
        traceback = traceback.tb_next
    return False


def _request_headers(error: Any) -> Any:
    return error.response.request.headers


def _repository(error: Any) -> tuple[str, str]:
    """Kind (models, datasets, spaces) and name of the repository in the address that was asked for."""
    path = unquote(urlsplit(str(error.response.request.url)).path)
    found = _REPOSITORY.match(path)
    return (found[1] or "models", found[2]) if found else ("models", "it")


def _line(words: str) -> str:
    """The Hub's words as a part of a sentence."""
    text = " ".join(without_secrets(words).split()).rstrip(".")
    return text if len(text) <= MOST_WORDS else text[:MOST_WORDS] + " ..."


