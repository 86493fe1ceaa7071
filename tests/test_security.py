"""What a hostile visitor gets: nothing. Every event that the app has, hidden ones too, called directly over HTTP with made-up and
foreign ids; files of the workspace asked for; and a token that is impossible to guess looked for wherever something is kept or said.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import psutil
import pytest
from gradio import helpers

from pipeline import dataset
from pipeline.examples import example
from pipeline.tools import ToolCall
from pipeline.ui import layout, session
from tests.browser.conftest import App
from tests.browser.fake_runs import add_artifact, add_report, make_run
from tests.http_client import Client
from tests.local_hub import LocalHub
from tests.local_openid import as_a_space

SECRET = "canary-of-the-other-visitor"
PUBLIC = ["parse", "render_prompt", "lint_tools", "call"]


def make_project(workspace: Path, title: str = SECRET) -> dict[str, str]:
    """A visitor's project with a dataset, a trained and evaluated run and a file, all marked with the title; its key."""
    before = os.environ.get("STUDIO_WORKSPACE")
    os.environ["STUDIO_WORKSPACE"] = str(workspace)
    try:
        key = layout.open_sample(None)
        project = session.project_of(key)
    finally:
        if before is None:
            del os.environ["STUDIO_WORKSPACE"]
        else:
            os.environ["STUDIO_WORKSPACE"] = before
    project.rename(title)
    data = dataset.load(project.dataset_path)
    marked = example(f"{title}: switch it on", [ToolCall("set_light", {"room": "hall", "on": True})], split="test")
    dataset.save(dataset.ToolDataset(data.tools, (marked, *data.examples[:20])), project.dataset_path)
    run = make_run(project, title=title, steps=3)
    add_report(run, "base", 0.2), add_report(run, "tuned", 0.9), add_artifact(run)
    return key


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of what is in it."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[App]:
    """The app as on a Space, where signing in is possible, with a Hub and a temporary folder of its own."""
    folder = tmp_path_factory.mktemp("security")
    with LocalHub() as hub:
        hub.extra["token"] = hub.user("mira", {"acme": "write"}, scopes=frozenset({"contribute-repos", "gated-repos", "jobs", "read-billing"}))
        app = App(
            folder / "workspace", folder / "app.log", "tests/app_with_a_window.py", GRADIO_TEMP_DIR=str(folder / "served"),
            TMPDIR=str(folder / "tmp"), STUDIO_WINDOW=str(folder / "window"), HF_TOKEN=hub.user("owner"),
            **hub.environment(folder / "hub"), **as_a_space(hub, hub.extra["token"]),
        )  # fmt: skip
        (folder / "tmp").mkdir()
        app.folder, app.hub = folder, hub
        yield app.start()
        app.stop()
        for process in psutil.process_iter(["cmdline"]):  # trainings and conversions that were raised go on without the server, as they should
            if any(str(folder) in word for word in process.info["cmdline"] or ()):
                process.kill()


@pytest.fixture(scope="module")
def victim(studio) -> dict[str, str]:
    return make_project(studio.workspace)


@pytest.fixture(scope="module")
def own(studio) -> dict[str, str]:
    """The hostile visitor's own, empty project."""
    folder = session.Workspace(studio.workspace).create_session()
    return {"session": folder.id, "project": folder.create_project("Mine").id}


def data_for(client: Client, event: dict, key: object, text: object) -> list[object]:
    """Inputs of an event: the key where the browser's memory belongs, `text` in every field that takes one, values as they are elsewhere."""
    data = []
    for id in event["inputs"]:
        one = client.components[id]
        if one["type"] == "browserstate":
            data.append(key)
        elif one["type"] in ("textbox", "dropdown", "code", "radio", "html") and text is not None:
            data.append(text)
        else:
            data.append(one["props"].get("value"))
    return data


def takes_key(client: Client, event: dict) -> bool:
    return any(client.components[id]["type"] == "browserstate" for id in event["inputs"])


def forged_keys(victim: dict, own: dict) -> dict[str, object]:
    return {
        "nobody": None,
        "no such session": {"session": "0" * 32, "project": victim["project"]},
        "own session, foreign project": {**own, "project": victim["project"]},
    }


@pytest.mark.timeout(600)
def test_no_event_shows_or_changes_anything_of_another_visitor(studio, victim, own):
    """Every event, hidden ones too, over HTTP, with forged keys."""
    client, theirs = Client(studio.url), studio.workspace / victim["session"]
    before, accidents = contents(theirs), []
    picks = {"pick": f"open:{victim['project']}", "text": "Renamed"}
    for name, key in forged_keys(victim, own).items():
        events = [one for one in client.events() if name == "nobody" or takes_key(client, one)]
        assert len(events) > 30
        for event in events:
            said = client.send(event, data_for(client, event, key, None), picks)
            assert SECRET not in said and victim["session"] not in said, f"event {event['id']}, {name}"
            if found := client.sign_of_an_accident(said):
                accidents.append(f"event {event['id']}, {name}: {found}")
    assert accidents == []
    assert contents(theirs) == before


def test_no_handler_takes_another_visitors_ids(studio, victim, own, monkeypatch, caplog):
    """Every handler itself, behind gradio's checks of fields and states, with the other visitor's ids in every place but the key."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(studio.workspace))
    theirs = studio.workspace / victim["session"]
    (run,) = (theirs / victim["project"] / "runs").iterdir()
    before, tried = contents(theirs), 0
    paths = {"session": f"{own['session']}/..", "project": f"../{victim['session']}/{victim['project']}"}
    no_ids = {"session": [own["session"]], "project": {"id": victim["project"]}}
    tries = [*((own, id) for id in (run.name, victim["project"], f"../{run.name}", [run.name])), (paths, None), (no_ids, None), ("x", None)]
    for event in layout.build().fns.values():
        if event.fn is None or event.api_name in PUBLIC or event.api_name in ("arrive", "_check_login_status"):
            continue
        for key, id in tries:
            values = [key if isinstance(one, gr.BrowserState) else id for one in event.inputs]
            target = gr.EventData(None, {"pick": f"open:{id}", "text": "Renamed"})
            values, *_ = helpers.special_args(event.fn, values, request=None, event_data=target)
            try:
                answer = event.fn(*values)
                said = repr([*answer]) if inspect.isgenerator(answer) else repr(answer)
            except gr.Error as refused:
                said = str(refused)
            except Exception as error:  # data of a shape that gradio's fields never pass on: an accident, but one that shows nothing
                said = repr(error)
            assert SECRET not in said, f"{event.api_name} with {key!r}, {id!r}"
            tried += 1
    assert tried > 200
    assert contents(theirs) == before


def test_programs_see_four_functions_and_get_nothing_from_the_others(studio, victim, own):
    """gradio lets a hidden event be called by its name: its handler has to refuse, in words."""
    client = Client(studio.url)
    assert sorted(json.loads(client.get("/gradio_api/info").text)["named_endpoints"]) == sorted(f"/{name}" for name in PUBLIC)
    assert [one["api_name"] for one in client.events() if one["api_visibility"] != "private"] == PUBLIC
    schema = json.loads(client.get("/gradio_api/mcp/schema").text)
    assert sorted(tool["name"] for tool in schema) == sorted(f"studio_{name}" for name in PUBLIC)
    for name, data in {"switch_to": [victim["project"]], "open_sample": []}.items():
        joined = client.post(f"/gradio_api/call/{name}", json={"data": [{**own, "project": victim["project"]}, *data]})
        said = client.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}").text
        assert SECRET not in said and victim["session"] not in said and not client.sign_of_an_accident(said), name


def test_files_of_the_workspace_are_not_served(studio, victim):
    client = Client(studio.url)
    project = studio.workspace / victim["session"] / victim["project"]
    for file in [project / "project.json", project / "dataset" / "examples.jsonl", *project.glob("runs/*/run.json"), *project.glob("runs/*/artifacts/*")]:
        for path in (str(file), f"/{file}", os.path.relpath(file), f"..{file}", str(file).replace("/", "%2F")):
            answer = client.get(f"/gradio_api/file={path}")
            assert answer.status_code in (403, 404) and SECRET not in answer.text, path


def test_a_file_of_the_server_cannot_be_handed_in_as_an_upload(studio, victim, own):
    """The browser names uploaded files by their path: a path that was not uploaded is refused, before any handler sees it."""
    client = Client(studio.url)
    stolen = studio.workspace / victim["session"] / victim["project"] / "dataset" / "examples.jsonl"
    tried = 0
    for event in client.events():
        takes = [id for id in event["inputs"] if client.components[id]["type"] in ("file", "uploadbutton")]
        for meta in ({"_type": "gradio.FileData"}, {}) if takes else ():
            data = data_for(client, event, own, None)
            for place, id in enumerate(event["inputs"]):
                if id in takes:
                    file = {"path": str(stolen), "orig_name": "examples.jsonl", "meta": meta}
                    data[place] = [file] if client.components[id]["props"].get("file_count") == "multiple" else file
            said = client.send(event, data)
            assert SECRET not in said and not client.sign_of_an_accident(said), f"event {event['id']}"
            tried += 1
    assert tried
    assert not any(SECRET.encode() in file.read_bytes() for file in (studio.workspace / own["session"]).rglob("*") if file.is_file())


def test_who_visits_is_not_told(studio):
    client = Client(studio.url)
    for path in ("/monitoring", "/monitoring/summary", "/monitoring/key"):
        assert client.get(path).status_code == 403, path


def test_a_large_upload_is_refused(studio):
    client = Client(studio.url)
    assert client.post("/gradio_api/upload", files={"files": ("rows.csv", b"a,b\n" * 6_000_000)}).status_code == 413
    assert client.post("/gradio_api/upload", files={"files": ("rows.csv", b"a,b\n" * 1_000)}).status_code == 200


def test_the_token_of_a_visitor_is_kept_and_said_nowhere(studio):
    """Signed in, with a project of their own, every event is raised once; then everything that was written, answered, logged or kept
    in memory for a session is searched. The cookie is the visitor's own: HttpOnly, and not part of an answer's text."""
    token = studio.hub.extra["token"]
    key = make_project(studio.workspace, "Mine")
    client = Client(studio.url)
    client.sign_in()
    event = next(one for one in client.events() if one["api_name"] == "who")
    assert "mira" in client.send(event, [])
    for event in client.events():
        client.send(event, data_for(client, event, key, None), {"pick": f"open:{key['project']}"})
    push(client, key, studio.workspace)
    deadline = time.monotonic() + 240
    pushed: set[str] = set()
    while "tools.json" not in pushed and time.monotonic() < deadline:
        time.sleep(0.1)
        pushed = set(repo.files) if (repo := studio.hub.repos.get(("model", "mira/lamp"))) else set()
    assert "tools.json" in pushed
    window = studio.folder / "window"
    os.kill(studio.process.pid, signal.SIGUSR1)
    deadline = time.monotonic() + 240
    while not window.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(window.read_text("utf-8")) > 1000, "nothing was seen through the window"
    holds = [str(file) for file in studio.folder.rglob("*") if file.is_file() and token.encode() in file.read_bytes()]
    assert holds == []
    assert not any(token in said for said in client.heard)
    assert studio.hub.leaks() == []


def push(client: Client, key: dict, workspace: Path) -> None:
    """Push the project's run as the page does it: the lists that gradio checks choices against are filled first."""
    fields = {name: client.id_of(name) for name in ("export-run", "push-owner", "push-name", "push-who", "push-parts")}
    raised = [one for one in client.events() if client.id_of("push-go") in [target[0] for target in one["targets"]]]
    (begin,) = (one for one in raised if one["api_name"].startswith("begin"))
    for output in ("export-run", "push-owner"):
        event = next(one for one in client.events() if fields[output] in one["outputs"] and takes_key(client, one))
        client.send(event, data_for(client, event, key, None), session="pushing")
    (run,) = (folder.parent.name for folder in workspace.glob(f"{key['session']}/{key['project']}/runs/*/artifacts"))
    chosen = {"export-run": run, "push-owner": "mira", "push-name": "lamp", "push-who": True, "push-parts": ["dataset"]}
    values = {fields[name]: value for name, value in chosen.items()}
    data = [values.get(id, value) for id, value in zip(begin["inputs"], data_for(client, begin, key, None), strict=True)]
    assert '"success":true' in client.send(begin, data, session="pushing")


def test_the_space_never_acts_with_its_owners_token(studio):
    """The secret HF_TOKEN of a Space is its owner's. No request of a visitor carries it, signed in or not.

    A program may send a token of its own: who that is, the Hub says.
    """
    owner = next(user.token for user in studio.hub.users.values() if user.name == "owner")
    client = Client(studio.url)
    who = next(one for one in client.events() if one["api_name"] == "who")
    said = client.send(who, [])
    assert "owner" not in said and "mira" not in said
    assert "signed in as <strong>mira<" in client.send(who, [], oauth_token=studio.hub.extra["token"])
    assert "not checked" in client.send(who, [], oauth_token="hf_made_up")
    assert not any(owner in request.headers.get("Authorization", "") for request in studio.hub.log)


def test_the_log_holds_no_traceback_of_ours(studio):
    """Comes last: what all of the above did is in the log. A library's finaliser that complains about its own loop is not ours."""
    text = re.sub(r"Exception ignored in: <function BaseEventLoop.__del__.*?Invalid file descriptor: -1\n", "", studio.log_text(), flags=re.S)
    refused = r"gradio\.exceptions\.(Error|InvalidPathError)|pydantic_core\.\S*ValidationError"  # gradio logs its own refusals with one
    ends = re.findall(r"^Traceback .*?^(?=\S)(?!Traceback)(\S+)", text, flags=re.S | re.M)
    assert [end for end in ends if not re.match(refused, end)] == []
