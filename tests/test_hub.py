"""Who a token belongs to, what may be called a repository, and one sentence for whatever the Hub's client raises."""

from __future__ import annotations

import errno
import json
import re

import httpx2
import pytest
from huggingface_hub import errors

from pipeline import hub as ours
from pipeline.cli import main
from pipeline.errors import HubError, PipelineError
from pipeline.hub import Account, account, check_repo_id, client, repo_id, sentences, slug
from tests.local_hub import LocalHub
from tests.tuned_world import small_run

TOKEN = "hf_canaryDoNotTell0123456789"
NEVER_RAISED = {
    "InferenceEndpointError", "InferenceEndpointTimeoutError", "SafetensorsParsingError", "NotASafetensorsRepoError", "DDUFError",
    "DDUFCorruptedFileError", "DDUFExportError", "DDUFInvalidEntryNameError", "StrictDataclassError", "StrictDataclassDefinitionError",
    "StrictDataclassFieldValidationError", "StrictDataclassClassValidationError", "FileDuplicationError", "CLIError", "ConfirmationError",
    "CLIExtensionInstallError", "SandboxError", "SandboxCommandError", "CorruptedCacheException", "DryRunError", "OAuthErrorCode",
}  # fmt: skip
"""By what this project calls; they still become a sentence."""


def answered(kind=errors.HfHubHTTPError, status=400, said="", url="https://huggingface.co/api/models/google/x", token=TOKEN, **headers):
    """An answer of the Hub as its client raises it, to a request that carried `token`."""
    request = httpx2.Request("GET", url, headers={"Authorization": f"Bearer {token}"} if token else {})
    response = httpx2.Response(status, request=request, headers=headers, json={"error": said})
    return kind(f"{status} for {url} {said}", response=response, server_message=said or None)


def sentence(error):
    with pytest.raises(HubError) as refused, sentences("Doing it"):
        raise error
    return refused.value


GATED = errors.GatedRepoError
MISSING = errors.RepositoryNotFoundError


@pytest.mark.parametrize(("error", "words"), [
    (answered(GATED, 403, "you are not in the authorized list"), "google/x is gated: accept its licence at https://huggingface.co/google/x with this"),
    (answered(GATED, 401, "Please log in", token=None), "accept its licence at https://huggingface.co/google/x, then sign in"),
    (answered(GATED, 403, "Your request to access is awaiting a review"), "its owner has not answered your request yet"),
    (answered(GATED, 403, "Your request has been rejected by the repo's authors"), "its owner has refused your request"),
    (answered(status=403, said="Please enable access to public gated repositories in your fine-grained token settings"), "may not read gated repositories"),
    (answered(MISSING, 404, "Repository not found"), "there is no google/x on the Hub, or is private and this account may not see it"),
    (answered(MISSING, 401, "Repository not found", token=None), "there is no google/x on the Hub, or is private; if it is yours, sign in"),
    (answered(MISSING, 401, "Invalid username or password."), "the token is not valid, or not any more; sign in again"),
    (answered(errors.DisabledRepoError, 403, "Access to this resource is disabled."), "google/x has been disabled"),
    (answered(errors.RevisionNotFoundError, 404), "google/x has no such revision; leave it out for the newest"),
    (answered(errors.RemoteEntryNotFoundError, 404, url="https://huggingface.co/google/x/resolve/main/a.json"), "google/x holds no such file"),
    (answered(errors.BadRequestError, 400, "bad yaml"), r"took it for wrong \(bad yaml\)"),
    (answered(status=401, said="Invalid credentials in Authorization header"), "the token is not valid, or not any more"),
    (answered(status=401, token=None), "it needs an account; sign in"),
    (answered(status=402, said="Subscribe to PRO"), r"asks for a paid plan or credit \(Subscribe to PRO\)"),
    (answered(status=403, said="no rights"), r"may not do that \(no rights\); sign out and in again"),
    (answered(status=403, said="Private repository storage limit reached"), "no room left"),
    (answered(errors.JobNotFoundError, 404, "Job not found"), r"no such thing on the Hub \(Job not found\)"),
    (answered(errors.BucketNotFoundError, 404), "no such thing on the Hub"),
    (answered(status=409, said="busy"), "it is there already, or somebody else changes it now"),
    (answered(status=412), "somebody else has changed the repository in the meantime; look at it"),
    (answered(status=413), "larger than the Hub takes"),
    (answered(status=416), "file changed while it was fetched"),
    (answered(status=429, **{"Retry-After": "30"}), "more requests than the Hub takes at once; try again in 30 s"),
    (answered(status=429, **{"ratelimit": '"api";r=0;t=200'}), "try again in 3 min"),
    (answered(status=429), "try again in some minutes"),
    (answered(status=418, said="teapot"), r"answered 418 \(teapot\)"),
    (answered(status=503), r"the Hub has trouble of its own \(503\); try again later, see https://status.huggingface.co"),
    (httpx2.ConnectError("[Errno -2]"), "cannot be reached; check that this computer is online"),
    (httpx2.ReadTimeout("slow"), "did not answer in time"),
    (errors.InferenceTimeoutError("slow"), "did not answer in time"),
    (httpx2.RemoteProtocolError("Server disconnected"), "the connection broke off; try again"),
    (httpx2.ReadError("reset"), "the connection broke off"),
    (ConnectionResetError(errno.ECONNRESET, "reset"), "the connection broke off"),
    (httpx2.ProxyError("407"), "the proxy does not let it through"),
    (httpx2.UnsupportedProtocol("ftp"), "HF_ENDPOINT must be one such as"),
    (httpx2.InvalidURL("x"), "HF_ENDPOINT must be one such as"),
    (httpx2.TooManyRedirects("20"), "something between here and the Hub answered in its place"),
    (httpx2.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}\\n'"), "characters that no token has"),
    (errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE is set"),
    (errors.HFValidationError("Repo id must be x"), r"no name of a repository \(Repo id must be x\)"),
    (errors.HfUriError("hf://x", "bad"), "no name of a repository"),
    (errors.LocalTokenNotFoundError("no token"), "it needs an account; sign in"),
    (errors.OIDCError("none"), "it needs an account"),
    (errors.DeviceCodeError("expired"), "it needs an account"),
    (errors.FileMetadataError("no etag"), "without saying which file it is"),
    (errors.LocalEntryNotFoundError("not cached"), "not on this disk yet, and the Hub cannot be reached"),
    (errors.IncompleteSnapshotError("part", snapshot_path="/x"), "not on this disk yet"),
    (errors.EntryNotFoundError("x"), "not on this disk yet"),
    (errors.RevisionResolutionError("x"), "not on this disk yet"),
    (errors.CachedRepoTreeNotFoundError("x"), "not on this disk yet"),
    (errors.CacheNotFound("x", "/cache"), "not on this disk yet"),
    (errors.XetDownloadError("x"), "the Hub's file storage broke off"),
    (type("XetAuthenticationError", (PermissionError,), {})("expired"), "file storage did not take the token; sign in again"),
    (type("XetObjectNotFoundError", (FileNotFoundError,), {})("xorb"), "file storage has lost a part of it"),
    (errors.TextGenerationError("x"), "the Hub's client says: x"),
    (OSError(errno.ENOSPC, "No space left on device"), "this disk is full; make room"),
    (PermissionError(errno.EACCES, "Permission denied", "/data"), "Permission denied: /data"),
    (errors.FileDuplicationError(f"with {TOKEN}"), r"the Hub's client says: with \(secret\)"),
    (errors.CLIError(), "the Hub's client gave up"),
])  # fmt: skip
def test_each_error_is_one_sentence_with_what_to_do(error, words):
    said = sentence(error)
    assert re.search(words, str(said)), str(said)
    assert str(said).startswith("Doing it did not work: ") and str(said).endswith(".") and "\n" not in str(said)
    assert TOKEN not in str(said) and said.__cause__ is None and said.__suppress_context__
    assert said.status == (error.response.status_code if isinstance(error, errors.HfHubHTTPError) else said.status)


def test_no_class_of_the_client_is_forgotten():
    every = {name for name, one in vars(errors).items() if isinstance(one, type) and one.__module__ == errors.__name__}
    table = test_each_error_is_one_sentence_with_what_to_do.pytestmark[0].args[1]
    tried = {base.__name__ for error, _ in table for base in type(error).__mro__}
    wrapped = {"BucketBatchError", "ValidationError", "GenerationError", "OverloadedError", "IncompleteGenerationError", "UnknownError"}
    assert every - tried - NEVER_RAISED == wrapped, "those are told by their status or as text generation's other errors are"


def test_what_the_client_wraps_is_looked_through():
    def wrapped(outer, inner):
        try:
            raise outer from inner
        except Exception as error:
            return error

    assert "trouble of its own (503)" in str(sentence(wrapped(errors.LocalEntryNotFoundError("Got: HfHubHTTPError"), answered(status=503))))
    assert "did not answer in time" in str(sentence(wrapped(errors.LocalEntryNotFoundError("x"), httpx2.ReadTimeout("x"))))
    with pytest.raises(PipelineError, match="^Stopped.$"), sentences("Doing it"):
        raise wrapped(RuntimeError("Error while uploading"), PipelineError("Stopped."))


def test_a_defect_of_ours_is_not_dressed_up_as_the_hubs():
    for error in (ValueError("ours"), KeyError("ours"), RuntimeError("ours"), ZeroDivisionError()):
        with pytest.raises(type(error)), sentences("Doing it"):
            raise error
    with pytest.raises(PipelineError, match="^As it is.$"), sentences("Doing it"):
        raise PipelineError("As it is.")


def test_what_the_client_raises_as_plain_python_is_a_sentence(hub):
    alice = hub.user("alice")
    with pytest.raises(HubError, match="the Hub's client says: Invalid repo type"), sentences("Doing it"):
        client(alice).create_repo("alice/x", repo_type="nonsense")
    hub.fail("GET", "/whoami", status=200, message="a login page of the network")
    with pytest.raises(HubError, match="Something between here and the Hub answered in its place"):
        account(alice)


def test_signed_addresses_and_tokens_in_the_hubs_words_are_cut_out():
    said = f"denied for Bearer abc.def {TOKEN} hf_oauth_eyJhbGciOi.J9.xyz https://s3/x?X-Amz-Signature=deadbeef&X-Amz-Date=1"
    text = str(sentence(answered(status=403, said=said)))
    assert "denied for" in text and not [secret for secret in ("abc.def", TOKEN, "J9.xyz", "deadbeef") if secret in text]


def test_an_account_is_asked_once_and_kept_without_its_token(hub):
    alice = hub.user("alice", {"acme": "write", "readers": "read", "club": "contributor"})
    assert account(alice) == Account("alice", ("acme", "club"), True) and account(alice).owners == ("alice", "acme", "club")
    assert len(hub.asked("GET", "/whoami-v2")) == 1
    assert alice not in repr(ours._known)
    ours.forget(alice)
    account(alice)
    assert len(hub.asked("GET", "/whoami-v2")) == 2
    assert not account(hub.user("alice", role="read")).can_write


def test_a_revoked_token_does_not_live_on(hub, monkeypatch):
    alice = hub.user("alice")
    account(alice)
    del hub.users[alice]
    assert account(alice).name == "alice"
    monkeypatch.setattr(ours, "REMEMBERED", -1)
    with pytest.raises(HubError, match="the token is not valid"):
        account(alice)
    assert ours._known == {}


def test_nobody_is_asked_for_nobody(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.user("owner"))
    with pytest.raises(HubError, match="needs a Hugging Face account: sign in"):
        account(None)
    hub.repo("owner/private", {"x": b""}, private=True)
    with pytest.raises(HubError, match="there is no owner/private"), sentences("Looking"):
        client(None).model_info("owner/private")
    assert all(one.user is None for one in hub.log), "a client without a token never takes the machine's"


@pytest.mark.parametrize("token", ["hf_x\n", "hf x", "hf_ü", "x" * 5000, " "])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(hub, token):
    with pytest.raises(HubError, match="characters that no token has"):
        client(token)
    with pytest.raises(HubError):
        account(token)
    assert hub.log == []


def test_repositories_are_named_below_the_account_or_its_organizations():
    alice = Account("alice", ("Acme",))
    assert repo_id(alice, "lamp") == "alice/lamp"
    assert repo_id(alice, "lamp", "acme") == repo_id(alice, " acme/lamp ") == "Acme/lamp"
    for name, owner in (("lamp", "bob"), ("bob/lamp", None), ("a/b/c", None), ("../x", None)):
        with pytest.raises(HubError):
            repo_id(alice, name, owner)
    for bad in ("alice", "alice/", "/x", "a b/c", "a/b--c", "a/b..c", "a/.b", "a/b.git", "a/" + "x" * 95, "a/b/c", "a/b\n", "https://x/y", "ä/b"):
        with pytest.raises(HubError, match="is not a repository of the Hub: expected owner/name"):
            check_repo_id(bad)


@pytest.mark.parametrize(("title", "name"), [("My app", "my-app"), ("Lampe für Küche", "lampe-f-r-k-che"), ("灯", "model"), ("--x..y", "x-y"), ("a" * 99, "a" * 60)])
def test_a_title_becomes_a_name_that_the_hub_takes(title, name):
    assert slug(title) == name and check_repo_id(f"alice/{name}")


def test_the_command_line_pushes_with_the_computers_own_token(hub, tmp_path, monkeypatch, capsys):
    run, alice = small_run(tmp_path / "run", learn=False), hub.user("alice")
    words = ["push", str(run.path), "--repo", "alice/lamp", "--include", "model", "dataset", "--json"]
    assert main(words) == 1
    assert "error: This computer has no token of the Hub; run hf auth login, or set HF_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", alice)
    assert main(words) == 0
    out, err = capsys.readouterr()
    said = json.loads(out.splitlines()[-1])
    assert said["url"] == f"{hub.url}/alice/lamp" and said["private"] and "model.safetensors" in said["files"] and said["size"] > 0
    assert "Pushing model (" in err and "dataset (" in err, "what goes, and its size, is said before"
    assert main(words) == 1
    assert "alice/lamp exists and holds" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main([*words[:3], "bob/lamp", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "bob is not alice" in err and "Traceback" not in err and alice not in out + err
    with pytest.raises(SystemExit):
        main([*words, "--include", "logs"])


def test_the_local_hub_tells_a_leak():
    import urllib.request

    with LocalHub() as server:
        token = server.user("alice")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}/api/models/a/b?token={token}")
        assert server.leaks() == ["GET /api/models/a/b"]
