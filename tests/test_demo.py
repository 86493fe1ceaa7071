"""A shared demo: its folder is whole, small and runs without torch and without this project; pushed and fetched by the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import simulated
from pipeline.cli import main
from pipeline.errors import ExportError, HubError
from pipeline.hub import demo
from pipeline.runs import Run
from pipeline.tools import ToolCall, ToolSpec

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test waits for the tuned model and its file

BLOCK = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'torch', 'transformers', 'trl', 'datasets', 'jax', 'tensorflow', 'mediapipe', 'litert_torch', 'spaces'}:
            raise ImportError(f'{name} is blocked in this test')
sys.meta_path.insert(0, Block())
"""
"""A sitecustomize.py: whatever the process does, none of these is ever imported in it."""


def without_torch(folder: Path) -> dict[str, str]:
    """Environment of a process in which torch cannot be imported; `folder` is written to."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCK, "utf-8")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def folder(exported_run, tmp_path_factory) -> Path:
    return demo.write(exported_run, tmp_path_factory.mktemp("demo") / "lamp", title="  Lamps &  more ")


@pytest.fixture
def run(exported_run, tmp_path) -> Run:
    """A run of this test's own with the same file."""
    return Run(shutil.copytree(exported_run.path, tmp_path / "run", ignore=shutil.ignore_patterns(".cache")))


def front_matter(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text("utf-8").split("---")[1])


def test_the_front_matter_is_that_of_a_small_space_on_free_hardware(folder):
    found = front_matter(folder)
    assert (found["title"], found["sdk"], found["app_file"]) == ("Lamps & more", "gradio", "app.py")
    assert found["suggested_hardware"] == "cpu-basic" and found["python_version"] == "3.12" and len(found["short_description"]) <= 60
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line)
    needed = dict(line.split("==") for line in (folder / "requirements.txt").read_text("utf-8").splitlines())
    assert needed == {name: tested[name] for name in ("gradio", "litert-lm-api")}
    assert found["sdk_version"] == needed["gradio"]


def test_the_project_s_files_are_in_it_unchanged_and_nothing_of_this_machine(folder, exported_run):
    for name in demo.COPIED:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert (folder / "app.py").read_bytes() == (ROOT / demo.APP).read_bytes()
    made = json.loads((folder / "demo.json").read_text("utf-8"))
    assert (folder / made["file"]).read_bytes() == Path(demo.file_of(exported_run).path).read_bytes()
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix != ".litertlm":
            text = file.read_text("utf-8")
            assert str(exported_run.path) not in text and str(ROOT) not in text and str(Path.home()) + "/" not in text, file
    readme = (folder / "README.md").read_text("utf-8")
    assert "```bash\npip install -r requirements.txt\npython app.py\n```" in readme
    assert "independent project" in readme and "Apache License 2.0" in readme and "MODEL_CARD.md" in readme
    assert (folder / "MODEL_CARD.md").read_text("utf-8").startswith("---\nlicense: apache-2.0")


def test_it_asks_with_what_training_did_not_see_and_answers_as_the_functions_might(folder, exported_run):
    requests = json.loads((folder / "requests.json").read_text("utf-8"))
    held_out = [row.request for row in exported_run.dataset().examples if row.split == "test"]
    assert sorted(requests) == sorted(held_out)
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert simulated.result(ToolCall("open_room", {"room": "hall", "number": 2}), results) == {"status": "done", "room": "hall", "number": 2}
    assert simulated.result(ToolCall("open_room", {"room": "hall"}), results) == {"status": "done", "room": "hall"}
    assert simulated.result(ToolCall("unknown", {"a": 1}), results) == {"status": "done"}


def test_a_simulated_result_is_json_that_may_be_edited():
    tools = [ToolSpec("f", "", {"type": "object", "properties": {"a": {"type": "array"}, "b": {}}})]
    assert simulated.templates(tools) == {"f": {"status": "done", "a": "{a}", "b": "{b}"}}
    edited = {"f": {"items": [{"id": "{a}", "note": "{not closed", "left": "{b}"}], "n": 3}}
    assert simulated.result(ToolCall("f", {"a": ["x"]}), edited) == {"items": [{"id": ["x"], "note": "{not closed"}], "n": 3}


def test_it_runs_without_torch_and_without_this_project(folder, tmp_path):
    """A process of its own, in which torch cannot be imported and the only `pipeline` is the copy."""
    program = """
import json, sys, app, pipeline
from pipeline.examples import fresh
shown = app.model()
app.build(shown)
answer = shown.answer(fresh("red and kitchen", shown.developer))
print(json.dumps({
    "calls": [[call.name, call.arguments] for call in answer.calls], "text": answer.text, "pipeline": pipeline.__file__,
    "heavy": sorted({"torch", "transformers", "datasets"} & set(sys.modules)), "tokens": answer.tokens, "stopped": answer.stopped,
}))
"""
    environment = os.environ | without_torch(tmp_path / "block")
    ran = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.strip().splitlines()[-1])
    assert said["calls"] == [["set_color", {"color": "red"}], ["open_room", {"number": 0, "room": "kitchen"}]]
    assert said["heavy"] == [] and Path(said["pipeline"]).is_relative_to(folder) and said["stopped"]
    assert not list(folder.glob("*xnnpack*"))


def test_gemma_s_terms_travel_with_a_model_that_was_made_of_gemma(run, tmp_path):
    base = {"id": "google/functiongemma-270m-it", "label": "FunctionGemma 270M", "revision": "4" * 40, "path": "", "embedded": False}
    run.update(base=base)
    folder = demo.write(run, tmp_path / "demo", model_page="https://huggingface.co/alice/lamp")
    text = (folder / "README.md").read_text("utf-8")
    assert front_matter(folder)["license"] == "gemma" and front_matter(folder)["models"] == ["alice/lamp"]
    assert "Gemma is provided under and subject to the Gemma Terms of Use" in text
    settings = json.loads((folder / "demo.json").read_text("utf-8"))
    assert "Gemma Terms of Use" in settings["notice"] and settings["card"] == "https://huggingface.co/alice/lamp"


def test_what_is_there_is_not_overwritten_and_a_failure_leaves_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    with pytest.raises(ExportError, match="exists and is not empty; name a new folder"):
        demo.write(run, tmp_path / "taken")
    (tmp_path / "empty").mkdir()
    assert demo.write(run, tmp_path / "empty").is_dir()
    monkeypatch.setattr(demo, "COPIED", (*demo.COPIED, "pipeline/missing.py"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        demo.write(run, tmp_path / "demo")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("repo", "address"), [
    ("alice/lamp", "https://alice-lamp.hf.space"), ("Alice/My_lamp.v2", "https://alice-my-lamp-v2.hf.space"),
])  # fmt: skip
def test_the_address_of_a_space_s_page(repo, address):
    assert demo.site(repo) == address
    assert f'src="{address}"' in demo.embed(address)


# -- on the Hub


def test_a_demo_is_pushed_privately_fetched_back_updated_and_published(hub, run, folder, tmp_path):
    from huggingface_hub import snapshot_download

    alice = hub.user("alice")
    said = []
    made = demo.share(run, "lamp", alice, title="Lamps & more", progress=lambda done, message: said.append(done))
    there = hub.repos["space", "alice/lamp"]
    assert made.private and there.private and made.repo == "alice/lamp" and made.url == f"{hub.url}/spaces/alice/lamp"
    assert made.site == "https://alice-lamp.hf.space" and demo.shared(run) == made and alice not in (run.path / "demo.json").read_text()
    assert there.extra["asked"]["sdk"] == "gradio" and len(there.commits) == 2 and said[-1] == 1.0 and said == sorted(said)
    back = Path(snapshot_download("alice/lamp", repo_type="space", token=alice, local_dir=tmp_path / "back"))
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and "__pycache__" not in name.parts and str(name) not in ("demo.json", "MODEL_CARD.md"):
            assert (back / name).read_bytes() == file.read_bytes(), name
    assert json.loads((back / "demo.json").read_text("utf-8"))["card"] == "https://huggingface.co/spaces/alice/lamp/blob/main/MODEL_CARD.md"

    again = demo.share(run, "alice/lamp", alice, title="Another title")
    assert again.private and again.commit != made.commit and b"Another title" in there.files["demo.json"].data
    assert not demo.publish(run, alice).private and not there.private
    assert not demo.share(run, "alice/lamp", alice).private, "an update leaves a public demo public"
    assert hub.leaks() == []


def test_a_demo_leads_to_the_model_where_that_is_public(hub, run, tmp_path):
    from pipeline.hub.push import push

    alice = hub.user("alice")
    push(run, "private-lamp", alice, include=("artifacts",))
    demo.write(run, tmp_path / "one")
    assert json.loads((tmp_path / "one" / "demo.json").read_text("utf-8"))["card"] == ""
    push(run, "lamp", alice, include=("artifacts",), private=False)
    demo.write(run, tmp_path / "two")
    assert json.loads((tmp_path / "two" / "demo.json").read_text("utf-8"))["card"] == f"{hub.url}/alice/lamp"


def test_a_demo_that_was_changed_there_is_not_overwritten(hub, run):
    from huggingface_hub import HfApi

    alice = hub.user("alice")
    demo.share(run, "lamp", alice)
    HfApi(token=alice).upload_file(path_or_fileobj=b"{}", path_in_repo="results.json", repo_id="alice/lamp", repo_type="space")
    with pytest.raises(HubError, match="has been changed since"):
        demo.share(run, "lamp", alice)
    assert hub.repos["space", "alice/lamp"].files["results.json"].data == b"{}"
    (run.path / "demo.json").unlink()  # another run: this Space is none of its own
    with pytest.raises(HubError, match="exists and holds"):
        demo.share(run, "lamp", alice)
    demo.share(run, "lamp", alice, overwrite=True)
    assert hub.repos["space", "alice/lamp"].files["results.json"].data != b"{}"


def test_refusals_are_sentences_and_nothing_is_remembered(hub, run):
    alice = hub.user("alice")
    hub.fail("POST", r"/repos/create", status=402, message="Spaces on this plan need PRO")
    with pytest.raises(HubError, match="paid plan or credit"):
        demo.share(run, "lamp", alice)
    with pytest.raises(HubError, match="is not alice nor an organization"):
        demo.share(run, "bob/lamp", alice)
    with pytest.raises(HubError, match="no demo yet"):
        demo.publish(run, alice)
    assert demo.shared(run) is None and not [repo for repo in hub.repos if repo[0] == "space"]


def test_the_command_line_writes_the_folder_and_shares(hub, run, tmp_path, monkeypatch, capsys):
    assert main(["share", str(run.path), "--out", str(tmp_path / "demo"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"folder": str(tmp_path / "demo")}
    assert (tmp_path / "demo" / "app.py").is_file()
    assert main(["share", str(run.path)]) == 1
    assert "Say where the demo goes" in capsys.readouterr().err
    assert main(["share", str(run.path), "--repo", "alice/lamp"]) == 1
    assert "This computer has no token of the Hub; run hf auth login" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", hub.user("alice"))
    assert main(["share", str(run.path), "--repo", "alice/lamp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["private"] is True
    assert main(["share", str(run.path), "--repo", "alice/lamp", "--public"]) == 0
    assert "<iframe" in capsys.readouterr().out and not hub.repos["space", "alice/lamp"].private
