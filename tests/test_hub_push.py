"""A push is one commit with all files or none, resumable, never over what somebody else did; through the real client."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from pipeline import dataset as datasets
from pipeline.errors import HubError
from pipeline.hub import parcel
from pipeline.hub.push import look, push, push_folder
from pipeline.runs import Run
from tests.local_hub import SCOPES
from tests.tuned_world import small_run

OAUTH = frozenset({"contribute-repos", "gated-repos", "inference-api", "jobs"})
ROW = "make it red"  # a request of the held-out rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with scores, an exported file and all that must stay at home."""
    run = small_run(tmp_path_factory.mktemp("runs") / "run", learn=False)
    report = {
        "on": "tuned", "split": "test", "rows": 4, "tool_accuracy": 0.75, "exact_match": 0.5, "by_tool": {"set_color": {"rows": 2, "exact_match": 0.5}},
        "results": [{"row": 1, "request": ROW, "verdict": "wrong_tool"}],
    }  # fmt: skip
    run.evaluation_path("tuned", "test").parent.mkdir()
    run.evaluation_path("tuned", "test").write_text(json.dumps(report))
    run.artifacts_path.mkdir()
    (run.artifacts_path / "my-app.gguf").write_bytes(b"GGUF" + os.urandom(300_000))
    made = {
        "format": "gguf", "path": "my-app.gguf", "size": 300_004, "sha256": "0" * 64, "verified": True, "answers_identical": 4, "answers_total": 4,
        "seconds": 1.0, "details": {"quantize": "q8_0", "modelfile": "FROM ./my-app.gguf\n"},
    }  # fmt: skip
    (run.artifacts_path / "artifacts.json").write_text(json.dumps({"artifacts": [made]}))
    for name in ("log.jsonl", "train.log", "jobs/1/stderr.log", "artifacts/.cache/x.bin", "checkpoints/checkpoint-1/optimizer.pt", "stop"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(b"stays at home")
    return run


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.export.card.text", lambda run, made, **_: f"---\nlicense: apache-2.0\n---\n# {run.title}\n{len(made)} files\n")
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


def names(hub, repo, type="model"):
    return set(hub.repos[type, repo].files) - {".gitattributes"}


def test_everything_goes_in_one_commit_into_a_new_private_repository(hub, run):
    alice, seen = hub.user("alice"), []
    pushed = push(run, "alice/lamp", alice, progress=lambda fraction, message: seen.append((fraction, message)))
    repo = hub.repos["model", "alice/lamp"]
    assert repo.private and [message for _, message, _ in repo.commits] == ["initial commit", "My app: model, artifacts, dataset, report, by FunctionGemma Studio"]
    assert pushed.url == f"{hub.url}/alice/lamp" and pushed.commit == repo.sha and pushed.private
    assert names(hub, "alice/lamp") == set(pushed.files) == {
        "README.md", "NOTICE", "tools.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer.model",
        "tokenizer_config.json", "chat_template.jinja", "my-app.gguf", "Modelfile", "dataset/tools.json", "dataset/examples.jsonl",
        "report/evaluation.md", "report/tuned-test.json",
    }  # fmt: skip
    assert repo.files["model.safetensors"].data == (run.model_path / "model.safetensors").read_bytes()
    assert pushed.size == sum(len(repo.files[name].data) for name in pushed.files)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and any(message.startswith("Sending model.safetensors: ") for _, message in seen)
    assert b"stays at home" not in b"".join(one.data for one in repo.files.values())
    assert str(run.path).encode() not in b"".join(one.data for one in repo.files.values()), "no path of this computer"
    assert hub.leaks() == []


def test_what_is_pushed_loads_with_transformers_and_as_a_dataset(hub, run, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.hub import client

    alice = hub.user("alice")
    push(run, "alice/lamp", alice)
    folder = client(alice).snapshot_download("alice/lamp")
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "gemma3_text"
    assert len(AutoTokenizer.from_pretrained(folder)) == 512
    shutil.copytree(os.path.join(folder, "dataset"), tmp_path / "data")
    assert datasets.sha256(datasets.load(tmp_path / "data")) == datasets.sha256(run.dataset())


def test_rows_stay_here_unless_the_dataset_goes_too(hub, run):
    alice = hub.user("alice")
    push(run, "lamp", alice, include=("model", "report"))
    repo = hub.repos["model", "alice/lamp"]
    assert json.loads(repo.files["report/tuned-test.json"].data)["exact_match"] == 0.5
    assert ROW.encode() not in b"".join(one.data for one in repo.files.values())
    assert not [name for name in repo.files if name.startswith("dataset/")]
    push(run, "whole", alice, include=("model", "report", "dataset"))
    assert ROW.encode() in hub.repos["model", "alice/whole"].files["report/evaluation.md"].data


def test_an_adapter_lies_in_the_root_where_the_model_stays_here(hub, run):
    alice = hub.user("alice")
    with pytest.raises(HubError, match="no adapter: it was not trained with --method lora"):
        push(run, "lamp", alice, include=("adapter",))
    run.adapter_path.mkdir()
    (run.adapter_path / "adapter_model.safetensors").write_bytes(b"adapter")
    (run.adapter_path / "adapter_config.json").write_text("{}")
    push(run, "lamp", alice, include=("adapter",))
    assert {"adapter_model.safetensors", "adapter_config.json"} <= names(hub, "alice/lamp")
    push(run, "both", alice, include=("model", "adapter"))
    assert {"adapter/adapter_model.safetensors", "model.safetensors"} <= names(hub, "alice/both")


def test_sizes_are_told_before(run):
    sizes = parcel.available(run)
    assert list(sizes) == ["model", "artifacts", "dataset", "report"] and sizes["artifacts"] == 300_004 + len("FROM ./my-app.gguf\n")
    assert sum(item.size for item in parcel.pack(run) if item.part == "model") == sizes["model"]


def test_a_run_without_a_model_says_so_and_makes_nothing(hub, run):
    shutil.rmtree(run.model_path)
    run.update(status="paused")
    with pytest.raises(HubError, match="no trained model yet, it is paused; train it to the end first"):
        push(run, "lamp", hub.user("alice"))
    with pytest.raises(HubError, match="There is no part 'logs' to push; expected model, adapter"):
        push(run, "lamp", hub.user("alice"), include=("logs",))
    assert hub.repos == {}


@pytest.mark.parametrize("where", ["model/tokenizer.json", "dataset/examples.jsonl", "artifacts/my-app.gguf"])
def test_a_link_is_never_followed(hub, run, tmp_path, where):
    secret = tmp_path / "secret"
    secret.write_text("somebody else's")
    (run.path / where).unlink()
    (run.path / where).symlink_to(secret)
    with pytest.raises(HubError, match="is no file of its own in .* but a link"):
        push(run, "lamp", hub.user("alice"))
    (run.path / where).unlink()
    os.link(secret, run.path / where)
    assert hub.repos == {}


def test_a_linked_folder_is_not_followed_either(hub, run, tmp_path):
    shutil.move(run.model_path, tmp_path / "elsewhere")
    run.model_path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubError, match="is no file of its own"):
        push(run, "lamp", hub.user("alice"))


def test_the_token_itself_is_never_pushed(hub, run):
    alice = hub.user("alice")
    with (run.path / "dataset" / "examples.jsonl").open("a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": alice}, {"role": "assistant", "content": "no"}]}) + "\n")
    with pytest.raises(HubError, match="dataset/examples.jsonl holds your Hub token; take it out") as refused:
        push(run, "lamp", alice)
    assert alice not in str(refused.value) and hub.repos == {}


def test_an_organization_gets_it_and_a_stranger_does_not(hub, run):
    alice = hub.user("alice", {"acme": "write", "readers": "read"})
    assert push(run, "acme/lamp", alice, include=("dataset",)).repo == "acme/lamp"
    for repo in ("bob/lamp", "readers/lamp"):
        with pytest.raises(HubError, match=f"{repo.split('/')[0]} is not alice nor an organization where alice may write; choose one of alice, acme"):
            push(run, repo, alice)
    for repo in ("alice/lamp--x", "alice/", "alice/..", "alice/la mp", "alice/" + "x" * 100, "x/y/z", "alice/lamp.git"):
        with pytest.raises(HubError):
            push(run, repo, alice)
    assert {id for _, id in hub.repos} == {"acme/lamp"}


def test_a_dropped_upload_goes_on_and_nothing_is_sent_twice(hub, run):
    alice = hub.user("alice")
    hub.fail("PUT", "/_lfs/", drop_after=1000, times=99, skip=1)  # the first large file arrives, the next never does
    with pytest.raises(HubError, match="Pushing to alice/lamp did not work: the connection broke off; try again: what was sent"):
        push(run, "alice/lamp", alice)
    assert len(hub.repos["model", "alice/lamp"].commits) == 1 and len(hub.objects) == 1
    hub.faults.clear()
    sent = set(hub.objects)
    hub.log.clear()
    push(run, "alice/lamp", alice)  # no --overwrite: what broke off is as good as new
    assert not [one.path for one in hub.asked("PUT", "/_lfs/") if one.path.removeprefix("/_lfs/") in sent]
    assert len(hub.repos["model", "alice/lamp"].commits) == 2 and "model.safetensors" in names(hub, "alice/lamp")


def test_one_broken_connection_costs_one_more_try(hub, run):
    seen = []
    hub.fail("PUT", "/_lfs/", drop_after=1000, times=2)
    hub.fail("POST", "/preupload/", status=429, headers={"Retry-After": "40"})
    push(run, "lamp", hub.user("alice"), progress=lambda fraction, message: seen.append((fraction, message)))
    words = [message for _, message in seen]
    assert "The Hub takes no more requests for now; trying again in 41 s" in words, "a wait is told"
    assert "That did not get through; trying again in 1 s" in words
    assert [fraction for fraction, _ in seen][-1] == 1.0
    assert hub.repos["model", "alice/lamp"].files["my-app.gguf"].data == (run.artifacts_path / "my-app.gguf").read_bytes()


def test_an_existing_repository_is_overwritten_only_when_that_was_confirmed(hub, run):
    alice = hub.user("alice")
    push(run, "lamp", alice, include=("dataset",))
    with pytest.raises(HubError, match=r"alice/lamp exists and holds \d files; confirm that files of the same name are replaced") as refused:
        push(run, "lamp", alice)
    assert refused.value.status == 409 and not hub.asked("PUT", "/_lfs/")
    seen = look("alice/lamp", alice)
    pushed = push(run, "lamp", alice, overwrite=True, parent=seen.commit)
    assert hub.repos["model", "alice/lamp"].commits[-2][0] == seen.commit and pushed.commit != seen.commit
    assert push(run, "lamp", alice, overwrite=True).commit == pushed.commit, "what is there already makes no commit"


def test_a_change_since_the_confirmation_stops_the_push_before_anything_is_sent(hub, run):
    alice = hub.user("alice")
    hub.repo("alice/lamp", {"mine.txt": b"1"}, private=True)
    seen = look("alice/lamp", alice)
    hub.repos["model", "alice/lamp"].commit("by somebody else", {"mine.txt": hub.store("mine.txt", b"2")})
    with pytest.raises(HubError, match="has been changed since you looked at it; look again") as refused:
        push(run, "lamp", alice, overwrite=True, parent=seen.commit)
    assert refused.value.status == 412 and not hub.asked("PUT", "/_lfs/")


def test_a_change_during_the_push_is_not_overwritten(hub, run):
    alice = hub.user("alice")
    repo = hub.repo("alice/lamp", {"mine.txt": b"1"}, private=True)

    def meanwhile(fraction, message):
        if message.startswith("Writing one commit"):
            repo.commit("by somebody else", {"mine.txt": hub.store("mine.txt", b"2")})

    with pytest.raises(HubError, match="somebody else has changed the repository in the meantime") as refused:
        push(run, "lamp", alice, overwrite=True, progress=meanwhile)
    assert refused.value.status == 412 and names(hub, "alice/lamp") == {"mine.txt"} and repo.files["mine.txt"].data == b"2"


def test_other_files_stay_and_stale_weights_go(hub, run):
    repo = hub.repo("alice/lamp", {"mine.txt": b"1", "model-00001-of-00002.safetensors": b"x", "model.safetensors.index.json": b"{}"}, private=True)
    push(run, "lamp", hub.user("alice"), overwrite=True)
    assert "mine.txt" in repo.files and not {"model-00001-of-00002.safetensors", "model.safetensors.index.json"} & set(repo.files)


def test_what_is_private_never_goes_into_a_public_repository(hub, run):
    alice = hub.user("alice")
    hub.repo("alice/lamp", {"mine.txt": b"1"})
    with pytest.raises(HubError, match="alice/lamp is public, and this is to stay private"):
        push(run, "lamp", alice, overwrite=True)
    assert not push(run, "lamp", alice, overwrite=True, private=False).private
    hub.repo("alice/hidden", {"mine.txt": b"1"}, private=True)
    assert push(run, "hidden", alice, overwrite=True, private=False).private, "a private one is not made public on the way"
    assert not push(run, "open", alice, private=False).private and not hub.repos["model", "alice/open"].private


@pytest.mark.parametrize(("fault", "sentence", "status"), [
    ({"method": "POST", "pattern": "/repos/create", "status": 402, "message": "Storage needs PRO."}, "asks for a paid plan or credit", 402),
    ({"method": "POST", "pattern": "/repos/create", "status": 409}, "it is there already, or somebody else changes it now", 409),
    ({"method": "POST", "pattern": "/repos/create", "status": 401, "message": "Invalid credentials in Authorization header"}, "the token is not valid", 401),
    ({"method": "POST", "pattern": "/commit/", "status": 403, "message": "Private repository storage limit reached"}, "there is no room left", 403),
    ({"method": "POST", "pattern": "/commit/", "status": 409, "message": "busy"}, r"somebody else changes it now \(busy\)", 409),
    ({"method": "POST", "pattern": "/preupload/", "status": 429, "headers": {"Retry-After": "95"}}, "more requests than the Hub takes at once; try again in 2 min", 429),
    ({"method": "POST", "pattern": "/commit/", "status": 500}, r"the Hub has trouble of its own \(500\)", 500),
    ({"method": "POST", "pattern": "/batch", "status": 413}, "larger than the Hub takes", 413),
    ({"method": "POST", "pattern": "/commit/", "status": 400, "message": "bad metadata"}, r"took it for wrong \(bad metadata\)", 400),
    ({"method": "PUT", "pattern": "/_lfs/", "status": 403, "message": "expired"}, "may write only into repositories that it has made", 403),
])  # fmt: skip
def test_what_the_hub_refuses_is_one_sentence(hub, run, fault, sentence, status):
    alice = hub.user("alice")
    hub.fail(**fault, times=99)
    with pytest.raises(HubError, match=sentence) as refused:
        push(run, "lamp", alice)
    assert refused.value.status == status and alice not in str(refused.value) and "X-Amz" not in str(refused.value)
    assert all(len(repo.commits) == 1 for repo in hub.repos.values())


def test_a_hub_that_does_not_answer_in_time_is_a_sentence(hub, run, monkeypatch):
    import httpx2
    from huggingface_hub import close_session, set_client_factory

    class Impatient(httpx2.Client):
        """With the commit, that is: whatever else is asked may take its time, as on a busy machine."""

        def send(self, request, **options):
            if "/commit/" in request.url.path:
                request.extensions["timeout"] = httpx2.Timeout(0.3).as_dict()
            return super().send(request, **options)

    alice = hub.user("alice")
    set_client_factory(lambda: Impatient(timeout=120, follow_redirects=True))
    hub.fail("POST", "/commit/", stall=600, times=99)
    try:
        with pytest.raises(HubError, match="the Hub did not answer in time; try again: what was sent"):
            push(run, "lamp", alice, include=("dataset",))
    finally:
        from huggingface_hub.utils._http import default_client_factory

        set_client_factory(default_client_factory)
        close_session()


def test_tokens_that_may_not_write_are_told_so_before_anything_is_sent(hub, run):
    with pytest.raises(HubError, match="Asking the Hub who you are did not work: the token is not valid"):
        push(run, "lamp", "hf_nobody")
    with pytest.raises(HubError, match="needs a Hugging Face account: sign in"):
        push(run, "lamp", None)
    with pytest.raises(HubError, match="The token of alice may only read; use one that may write"):
        push(run, "lamp", hub.user("alice", role="read"))
    with pytest.raises(HubError, match="this account or token may not do that"):
        push(run, "lamp", hub.user("alice", scopes=SCOPES - {"manage-repos"}))
    hub.repo("alice/older", {"x": b""}, private=True)
    visitor = hub.user("alice", scopes=OAUTH)
    with pytest.raises(HubError, match="this sign-in may write only into repositories that it has made itself; choose a new name"):
        push(run, "older", visitor, overwrite=True)
    assert not hub.asked("PUT", "/_lfs/")
    push(run, "new", visitor)
    push(run, "new", visitor, overwrite=True, include=("dataset",))


def test_a_push_that_is_stopped_commits_nothing(hub, run):
    class Stopped(Exception):
        pass

    def stop(fraction, message):
        if message.startswith("Sending model.safetensors: ") and fraction > 0.3:
            raise HubError("Stopped.")

    with pytest.raises(HubError, match="^Stopped.$"):
        push(run, "lamp", hub.user("alice"), progress=stop)
    assert len(hub.repos["model", "alice/lamp"].commits) == 1


def test_a_folder_is_pushed_as_it_is_and_a_link_in_it_is_refused(hub, tmp_path):
    alice, folder = hub.user("alice"), tmp_path / "space"
    (folder / "sub").mkdir(parents=True)
    (folder / "app.py").write_text("print()")
    (folder / "sub" / "x.json").write_text("{}")
    pushed = push_folder(folder, "demo", alice, repo_type="space", space_sdk="gradio", message="a demo", private=False)
    assert pushed.url == f"{hub.url}/spaces/alice/demo" and names(hub, "alice/demo", "space") == {"app.py", "sub/x.json"}
    assert hub.repos["space", "alice/demo"].extra["asked"]["sdk"] == "gradio"
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(HubError, match="link is no file of its own"):
        push_folder(folder, "demo", alice, repo_type="space", message="a demo", overwrite=True)
