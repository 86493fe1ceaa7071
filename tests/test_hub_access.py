"""Who may use a base model of the Hub: asked each time, one sentence each, nothing but safetensors; through the real client."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from pipeline.errors import HubError, ModelError
from pipeline.hub import access
from pipeline.hub.access import FUNCTION_GEMMA, check_base, fetch_base
from pipeline.model import find_base, recorded
from tests.local_hub import SCOPES
from tests.small_world import tiny_checkpoint

PAGE = f"https://huggingface.co/{FUNCTION_GEMMA}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def gated(hub, checkpoint, monkeypatch):
    """The local Hub with FunctionGemma on it, gated, its commit the pinned one, and a newer commit after that."""
    repo = hub.repo(FUNCTION_GEMMA, checkpoint, gated=True)
    monkeypatch.setitem(access.REVISIONS, FUNCTION_GEMMA, repo.sha)
    repo.commit("something newer", {**repo.files, "config.json": hub.store("config.json", b'{"model_type": "llama"}')})
    return hub


def of(hub, name="alice", **properties):
    token = hub.user(name, **properties)
    hub.accept(FUNCTION_GEMMA, name)
    return token


def test_functiongemma_is_fetched_at_its_pinned_revision_with_no_token_anywhere_but_in_the_header(gated, checkpoint, tmp_path):
    token, seen = of(gated), []
    base = find_base(FUNCTION_GEMMA, token, lambda fraction, message: seen.append((fraction, message)))
    assert (base.id, base.revision, base.label, base.embedded) == (
        FUNCTION_GEMMA, access.REVISIONS[FUNCTION_GEMMA], "FunctionGemma 270M", False,
    )  # fmt: skip
    assert (Path(base.path) / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert seen[-1][0] == 1.0 and "Fetching the base model: 0 of" in seen[0][1] and [f for f, _ in seen] == sorted(f for f, _ in seen)
    assert recorded(base.to_json()) == base, "a process without a token finds it where it was put"
    assert gated.leaks() == []
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and token.encode() in file.read_bytes()]


def test_a_licence_that_is_not_accepted_no_token_and_a_missing_scope_are_one_sentence_each(gated):
    for token, sentence in {
        gated.user("bob"): f"is gated: accept its licence at {PAGE} with this account",
        None: f"is gated: accept its licence at {PAGE}, then sign in",
        of(gated, "carol", scopes=SCOPES - {"gated-repos"}): "this token may not read gated repositories: sign out and in again",
        "hf_nobody": "the token is not valid, or not any more",
    }.items():
        with pytest.raises(HubError, match=sentence) as refused:
            check_base(FUNCTION_GEMMA, token)
        assert refused.value.status in (401, 403) and str(refused.value).count(". ") == 0
        assert "hf_" not in str(refused.value)
    assert not gated.asked("GET", "/_cdn/")


def test_what_one_visitor_fetched_is_not_for_another_who_has_no_access(gated):
    folder = fetch_base(FUNCTION_GEMMA, of(gated))
    assert folder.is_dir()
    for token in (gated.user("bob"), None):
        with pytest.raises(HubError, match="is gated"):
            fetch_base(FUNCTION_GEMMA, token)
    gated.fail("GET", "/auth-check", status=503, times=99)
    for token in (gated.user("bob"), of(gated, "dora")):
        with pytest.raises(HubError, match="trouble of its own"):
            fetch_base(FUNCTION_GEMMA, token)


def test_access_that_is_taken_back_counts_at_once(gated):
    token = of(gated)
    check_base(FUNCTION_GEMMA, token)
    gated.repos["model", FUNCTION_GEMMA].readers.clear()
    with pytest.raises(HubError, match="is gated"):
        check_base(FUNCTION_GEMMA, token)


def test_offline_the_owner_of_the_computer_takes_what_is_here_and_a_visitor_is_refused(gated, monkeypatch):
    from huggingface_hub import constants

    token = of(gated)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        fetch_base(FUNCTION_GEMMA, token, owner=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    folder = fetch_base(FUNCTION_GEMMA, token)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the Hub cannot be reached; check that this computer is online"):
        fetch_base(FUNCTION_GEMMA, token)
    assert fetch_base(FUNCTION_GEMMA, token, owner=True) == folder
    (folder / "model.safetensors").unlink()
    with pytest.raises(HubError, match="cannot be reached"):
        fetch_base(FUNCTION_GEMMA, token, owner=True)


def test_the_owner_of_the_computer_uses_the_token_of_hf_auth_login(gated, monkeypatch):
    token = of(gated)
    with pytest.raises(HubError):
        fetch_base(FUNCTION_GEMMA, None, owner=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match="is gated"):
        fetch_base(FUNCTION_GEMMA, None)
    assert fetch_base(FUNCTION_GEMMA, None, owner=True).is_dir()


def test_a_dropped_connection_is_resumed(gated, checkpoint, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # a part smaller than that is fetched again
    gated.fail("GET", "/_cdn/", drop_after=5000, times=2)
    folder = fetch_base(FUNCTION_GEMMA, of(gated))
    assert (folder / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    ranges = [one.headers.get("Range") or one.headers.get("range") for one in gated.asked("GET", "/_cdn/")]
    assert any(one and not one.startswith("bytes=0") for one in ranges), ranges


def test_other_bases_come_from_the_visitors_own_account_or_organization_only(hub, checkpoint):
    hub.repo("alice/mine", checkpoint, private=True)
    hub.repo("acme/ours", checkpoint)
    hub.repo("bob/his", checkpoint)
    alice = hub.user("alice", {"acme": "write", "readers": "read"})
    assert check_base("alice/mine", alice).id == "alice/mine"
    assert check_base("acme/ours", alice).revision == hub.repos["model", "acme/ours"].sha
    for name in ("bob/his", "readers/x", "huggingface/x"):
        with pytest.raises(HubError, match=f"{name} is neither {FUNCTION_GEMMA} nor a model of alice or acme"):
            check_base(name, alice)
    with pytest.raises(HubError, match=f"bob/his is not {FUNCTION_GEMMA}, and other base models must be your own; sign in"):
        check_base("bob/his", None)
    with pytest.raises(HubError, match="there is no alice/none on the Hub"):
        check_base("alice/none", alice)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"config.json": b'{"model_type": "llama"}'}, "is a model of type llama; only gemma3_text"),
    ({"config.json": b'{"model_type": "gemma3_text", "auto_map": {"AutoModel": "x.Y"}}'}, "wants to run code of its own"),
    ({"config.json": b"[" * 3}, "config.json of alice/mine cannot be read"),
    ({"config.json": b" " * 2_000_000}, "2 MB large, which is no configuration"),
    ({"config.json": None}, "holds no config.json"),
    ({"model.safetensors": None, "pytorch_model.bin": b"\x80\x04pickle"}, "holds no .safetensors file"),
    ({"tokenizer.json": None}, "holds no tokenizer.json"),
])  # fmt: skip
def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(hub, checkpoint, change, sentence):
    files = {file.name: file.read_bytes() for file in checkpoint.iterdir()} | change
    hub.repo("alice/mine", {name: data for name, data in files.items() if data is not None})
    with pytest.raises(ModelError, match=sentence):
        find_base("alice/mine", hub.user("alice"))
    if sentence != "holds no tokenizer.json":
        assert not hub.asked("GET", "/_cdn/")


def test_code_pickles_and_templates_of_a_repository_are_not_fetched(hub, checkpoint, tmp_path):
    hub.repo("alice/mine", checkpoint)
    repo, evil = hub.repos["model", "alice/mine"], {"modeling.py": b"print('hello')", "optimizer.pt": b"\x80", "sub/model.safetensors": b"x"}
    repo.commit("more", repo.files | {name: hub.store(name, data) for name, data in evil.items()})
    folder = fetch_base("alice/mine", hub.user("alice"))
    names = {str(one.relative_to(folder)) for one in folder.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {*evil, "chat_template.jinja", "sub"}


def test_what_was_trained_on_a_foreign_repository_carries_our_template(checkpoint, tmp_path):
    from pipeline.model import EMBEDDED, BaseModel, load_weights
    from pipeline.train import save_model

    snapshot = tmp_path / ("a" * 40)
    shutil.copytree(checkpoint, snapshot)
    settings = json.loads((snapshot / "tokenizer_config.json").read_text())
    (snapshot / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "{{ evil }}"}))
    (snapshot / "chat_template.jinja").write_text("{{ evil }}")
    model = load_weights(snapshot, "float32")
    save_model(model, BaseModel("alice/mine", str(snapshot), "a" * 40, False, "mine"), tmp_path / "model")
    assert (tmp_path / "model" / "chat_template.jinja").read_bytes() == (EMBEDDED / "chat_template.jinja").read_bytes()
    assert "evil" not in (tmp_path / "model" / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("name", ["google", "a/b/c", "../../etc", "google/functiongemma-270m-it@../x", "a b/c", "-x/y", "x/y--z", "x/y.git"])
def test_what_is_no_repository_is_refused_without_the_network(hub, name):
    with pytest.raises(HubError):
        check_base(name, hub.user("alice"))
    assert hub.log == []


def test_too_large_a_base_is_refused(hub, checkpoint, monkeypatch):
    hub.repo("alice/mine", checkpoint)
    monkeypatch.setattr(access, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="GB large; at most"):
        check_base("alice/mine", hub.user("alice"))


def test_nothing_of_a_token_is_logged(gated, caplog):
    caplog.set_level(logging.DEBUG)
    token = of(gated)
    gated.fail("GET", "/auth-check", status=500, times=1)
    with pytest.raises(HubError):
        fetch_base(FUNCTION_GEMMA, token)
    fetch_base(FUNCTION_GEMMA, token)
    assert token not in caplog.text
