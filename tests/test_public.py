"""A public model of the Hub, opened by its name: what is fetched, what is refused and why, how little is kept."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from pipeline.errors import ExportError, HubError, PipelineError
from pipeline.files import exclusive
from pipeline.hub import public
from pipeline.hub.demo import file_of
from pipeline.tools import TRIGGER

pytestmark = pytest.mark.timeout(600)
CONFIG = {"model_type": "gemma3_text", "max_position_embeddings": 512}


@pytest.fixture
def weights(exported_run) -> dict[str, bytes]:
    """A repository with weights, as `push` lays it out, and things that it should not have."""
    files = {file.name: file.read_bytes() for file in exported_run.model_path.iterdir()}
    rows = (exported_run.path / "dataset" / "examples.jsonl").read_bytes()
    return files | {
        "tools.json": (exported_run.path / "dataset" / "tools.json").read_bytes(), "dataset/examples.jsonl": rows, "modeling_evil.py": b"1/0",
        "pytorch_model.bin": b"pickle", "README.md": b"# Hi",
    }  # fmt: skip


@pytest.fixture
def bundle(exported_run, weights) -> dict[str, bytes]:
    """A repository that holds the .litertlm as well."""
    return weights | {Path(file_of(exported_run).path).name: Path(file_of(exported_run).path).read_bytes()}


def fetched(hub) -> set[str]:
    """The files that were asked for; the client asks where each one lies, then fetches it, a large one from elsewhere."""
    return {one.path.split("/resolve/")[1].split("/", 1)[1] for one in hub.asked("HEAD", "/resolve/")}


def test_a_litertlm_is_preferred_and_only_what_is_needed_is_fetched(hub, bundle, tmp_path):
    hub.repo("alice/lamp", bundle)
    said = []
    found = public.fetch("alice/lamp", tmp_path, lambda done, message: said.append((done, message)))
    assert found.source.name == "model.litertlm" and found.source.read_bytes() == bundle["my-app-int8.litertlm"]
    assert found.commit == hub.repos["model", "alice/lamp"].commits[-1][0] and found.page == "https://huggingface.co/alice/lamp"
    assert [tool.name for tool in found.tools] == ["set_color", "open_room"] and found.developer == TRIGGER
    assert set(found.requests) == {"make it red", "open kitchen 0", "red and kitchen", "hello"}
    assert fetched(hub) == {"my-app-int8.litertlm", "tools.json", "dataset/examples.jsonl"}
    assert {file.name for file in found.source.parent.iterdir()} == {"model.litertlm", "tools.json", "found.json"}
    assert said[-1] == (1.0, "alice/lamp is open") and [done for done, _ in said] == sorted(done for done, _ in said)
    assert public.opened("alice/lamp", found.commit, tmp_path) == found


def test_weights_come_without_code_and_without_a_chat_template(hub, weights, tmp_path):
    hub.repo("alice/lamp", weights)
    found = public.fetch("alice/lamp", tmp_path)
    assert {file.name for file in found.source.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json", "tools.json", "found.json"}
    assert "chat_template.jinja" not in fetched(hub) and not any(name.endswith((".py", ".bin")) for name in fetched(hub))


def test_nobody_s_token_is_used(hub, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.user("alice"))
    hub.repo("alice/lamp", weights)
    hub.repo("alice/secret", weights, private=True)
    public.fetch("alice/lamp", tmp_path)
    with pytest.raises(HubError, match="no such model on the Hub, or it is private.*its owner can make it public"):
        public.fetch("alice/secret", tmp_path)
    assert not any("Authorization" in one.headers for one in hub.log)


def test_a_commit_is_fetched_once_and_a_newer_one_takes_its_place(hub, weights, tmp_path):
    hub.repo("alice/lamp", weights)
    first = public.fetch("alice/lamp", tmp_path)
    asked = len(hub.asked("GET", "/resolve/"))
    assert public.fetch("alice/lamp", tmp_path) == first and len(hub.asked("GET", "/resolve/")) == asked
    hub.repo("alice/lamp", weights | {"README.md": b"# new"})
    second = public.fetch("alice/lamp", tmp_path)
    assert second.commit != first.commit and not first.source.exists()
    with pytest.raises(PipelineError, match="made room for others in the meantime; load the page again"):
        public.opened("alice/lamp", first.commit, tmp_path)
    hub.repos["model", "alice/lamp"].private = True
    with pytest.raises(HubError, match="or it is private"):
        public.fetch("alice/lamp", tmp_path)


def test_a_download_that_breaks_off_leaves_nothing_and_goes_on_the_next_time(hub, bundle, tmp_path):
    hub.repo("alice/lamp", bundle)
    hub.fail("GET", r"/_cdn/|litertlm", drop_after=1000, times=50)
    with pytest.raises(HubError, match=r"Fetching my-app-int8\.litertlm of alice/lamp did not work: the connection broke off"):
        public.fetch("alice/lamp", tmp_path)
    assert not list(tmp_path.glob("*/*/found.json"))
    hub.faults.clear()
    assert public.fetch("alice/lamp", tmp_path).source.is_file()


def test_what_is_gated_or_missing_says_so(hub, weights, tmp_path):
    hub.repo("google/gated", weights, gated=True)
    with pytest.raises(HubError, match="google/gated is gated: its owner lets in only who asks"):
        public.fetch("google/gated", tmp_path)
    with pytest.raises(HubError, match="no/such cannot be opened: there is no such model on the Hub"):
        public.fetch("no/such", tmp_path)
    hub.fail("GET", "/api/models/", status=429, headers={"Retry-After": "7"}, times=9)
    with pytest.raises(HubError, match="try again in 7 s"):
        public.fetch("no/such", tmp_path)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"tools.json": None}, "holds no tools.json"),
    ({"tools.json": b'[{"name": 1}]'}, "tools.json of alice/lamp cannot be used"),
    ({"tools.json": b"[" * 100_000}, "tools.json of alice/lamp cannot be used"),
    ({"tools.json": json.dumps([{"name": f"f{n}"} for n in range(65)]).encode()}, "has 65 functions"),
    ({"tools.json": b"[" + b" " * 1_000_001 + b"]"}, "more than such a file needs"),
    ({"config.json": json.dumps(CONFIG | {"model_type": "llama"}).encode()}, "is a model of type llama"),
    ({"config.json": json.dumps(CONFIG | {"auto_map": {"AutoModel": "evil.Model"}}).encode()}, "only gemma3_text"),
    ({"config.json": b"[" * 90_000}, "is a model of type None"),
    ({"model.safetensors": None}, "neither a .litertlm nor safetensors"),
    ({"tokenizer.json": None}, "neither a .litertlm nor safetensors"),
    ({"x.litertlm": b"LITERTLM" + b"\0" * 5000}, "damaged or of another kind"),
    ({"x.litertlm": b"not at all"}, "damaged or of another kind"),
])  # fmt: skip
def test_what_is_no_model_of_this_kind_is_refused_before_it_is_used(hub, weights, tmp_path, change, sentence):
    hub.repo("alice/lamp", {name: data for name, data in (weights | change).items() if data is not None})
    with pytest.raises(PipelineError, match=sentence):
        public.fetch("alice/lamp", tmp_path)
    assert not list(tmp_path.glob("*/*/found.json"))


def test_a_strangers_file_that_takes_too_much_to_read_takes_nothing_of_this_process(hub, bundle, tmp_path, monkeypatch):
    """Looking into it is done by a process of its own, which may not compute for long: here not at all."""
    hub.repo("alice/lamp", bundle)
    monkeypatch.setattr(public.apart.child, "run", too_much)
    with pytest.raises(PipelineError, match="The .litertlm of alice/lamp is damaged or of another kind"):
        public.fetch("alice/lamp", tmp_path)
    assert not list(tmp_path.glob("*/*/found.json"))


def too_much(*_):
    raise ExportError("The file takes more than 20 seconds to read: it is damaged, or made to take long.")


def test_whoever_brings_functions_needs_none_of_the_repository(hub, weights, tmp_path):
    hub.repo("alice/lamp", {name: data for name, data in weights.items() if not name.endswith("tools.json")})
    found = public.fetch("alice/lamp", tmp_path, need_tools=False)
    assert found.tools == () and found.source.is_dir()


def test_a_wrong_kind_costs_no_large_download(hub, weights, tmp_path):
    hub.repo("alice/lamp", weights | {"config.json": b'{"model_type": "llama"}'})
    with pytest.raises(PipelineError):
        public.fetch("alice/lamp", tmp_path)
    assert "model.safetensors" not in fetched(hub)


def test_rows_that_cannot_be_read_cost_only_the_suggestions(hub, weights, tmp_path):
    hub.repo("alice/lamp", weights | {"dataset/examples.jsonl": b'{"messages": 1}\nnonsense'})
    found = public.fetch("alice/lamp", tmp_path)
    assert (found.requests, found.developer) == ((), TRIGGER)


def test_too_large_is_refused_and_the_cache_keeps_those_asked_for_last(hub, weights, tmp_path, monkeypatch):
    for name in ("one", "two", "three"):
        hub.repo(f"alice/{name}", weights | {"README.md": name.encode()})
    size = public.fetch("alice/one", tmp_path).size
    monkeypatch.setattr(public, "MAX_CACHE", 2.5 * size)
    public.fetch("alice/two", tmp_path)
    public.fetch("alice/one", tmp_path)
    public.fetch("alice/three", tmp_path)
    assert {file.parent.parent.name for file in tmp_path.glob("*/*/found.json")} == {"alice--one", "alice--three"}
    monkeypatch.setattr(public, "MAX_MODEL", 1000)
    with pytest.raises(PipelineError, match="GB of weights; models up to 0.0 GB are opened here"):
        public.fetch("alice/two", tmp_path)


def test_making_room_minds_what_others_fetch_meanwhile(tmp_path, monkeypatch):
    other, kept, over = tmp_path / "bob--lamp", tmp_path / "alice--lamp", threading.Event()
    kept.mkdir()

    def fetching() -> None:
        while not over.is_set():
            for number in range(20):
                (other / ".partial" / str(number)).mkdir(parents=True)
                (other / ".partial" / str(number) / "model").write_bytes(b"x")
            shutil.rmtree(other / ".partial")

    thread = threading.Thread(target=fetching)
    thread.start()
    try:
        for _ in range(300):
            public._trim(tmp_path, kept)
    finally:
        over.set()
        thread.join()
    (other / "commit").mkdir()
    (other / "commit" / "model").write_bytes(b"x")
    monkeypatch.setattr(public, "MAX_CACHE", 0)
    with exclusive(other):
        public._trim(tmp_path, kept)
        assert (other / "commit" / "model").is_file(), "it is being fetched"
    public._trim(tmp_path, kept)
    assert not (other / "commit").exists()


@pytest.mark.parametrize(("text", "name"), [
    ("alice/lamp", "alice/lamp"), ("  alice/lamp ", "alice/lamp"), ("https://huggingface.co/alice/lamp", "alice/lamp"),
    ("huggingface.co/alice/lamp/tree/main?x=1", "alice/lamp"), ("https://hf.co/alice/lamp#files", "alice/lamp"),
])  # fmt: skip
def test_a_name_may_be_typed_or_pasted(text, name):
    assert public.name_in(text) == name


@pytest.mark.parametrize("text", ["", " ", None, 7, "lamp", "../lamp", "a/b/c", "alice/lamp@main", "https://example.com/alice/lamp", "a/" + "b" * 99, "a\n/b"])
def test_what_is_no_name_is_a_sentence(text):
    with pytest.raises(HubError, match=r"\."):
        public.name_in(text)
