"""The panel of Hugging Face Jobs: what it shows in which state, and that it acts only on the visitor's own runs, with the visitor's own token."""

from __future__ import annotations

import json
import time

import gradio as gr
import pytest

from pipeline.config import TrainConfig
from pipeline.dataset import save
from pipeline.errors import HubError
from pipeline.hub import job_cost, job_lines, remote
from pipeline.train import prepare
from pipeline.ui import remote_panel, remote_watch, settings
from pipeline.ui.session import create_project, find_project
from tests.local_hub_jobs import jobs_of
from tests.tuned_world import small_dataset

CHOICES = ("standard", "embedded", *(o.default for o in TrainConfig.options()))


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A visitor with an open project that has examples."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    made = create_project(None, "Lamp")
    save(small_dataset(), find_project(made).dataset_path)
    return made


@pytest.fixture
def alice(hub, monkeypatch):
    token = hub.user("alice", can_pay=True)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(remote_panel, "_flavors", (0.0, []))
    jobs_of(hub).run = False
    return token


def run_of(key, **changes):
    project = find_project(key)
    run = prepare(small_dataset(), TrainConfig(max_steps=4), project.new_run_path(), title="Run 1")
    run.update(**changes)
    return run


def until(holds, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_offer_names_hardware_prices_and_cost(hub, alice, key):
    listed, text, start, onward = remote_panel.show_offer(key, None, None, None, *CHOICES)
    assert [name for _, name in listed["choices"]] == ["cpu-basic", "t4-small", "l4x4"] and listed["value"] == "t4-small"
    assert "15 steps: about 5 min and $0.03" in text and "at most $0.20" in text
    assert start["visible"] and start["interactive"] and not onward["visible"]
    listed, text, start, _ = remote_panel.show_offer(key, None, None, "l4x4", *CHOICES)
    assert "on 4 GPUs together" in text and "value" not in listed, "what was chosen is not written again"
    uneven = list(CHOICES)
    uneven[2 + [o.name for o in TrainConfig.options()].index("per_device_train_batch_size")] = "6"
    _, text, start, _ = remote_panel.show_offer(key, None, None, "l4x4", *uneven)
    assert "cannot be shared out to 4 GPUs" in text and not start["interactive"]
    listed, text, _, _ = remote_panel.show_offer(key, None, None, "h9000", *CHOICES)
    assert listed["value"] == "t4-small" and "at most $0.20" in text, "what the Hub does not have makes room for what it has"
    with pytest.raises(gr.Error, match="has no hardware .*h9000"):
        list(remote_panel.begin(key, None, "h9000", *CHOICES))
    assert not find_project(key).runs()


def test_without_an_account_it_says_how_to_get_one(hub, key, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    listed, text, start, onward = remote_panel.show_offer(key, None, None, None, *CHOICES)
    assert "hf auth login" in text and not any(update["visible"] for update in (listed, start, onward))
    assert not hub.log, "nobody is asked without a token"


def test_a_stopped_run_may_go_on_in_a_job_and_a_finished_one_not(hub, alice, key):
    run = run_of(key, status="paused")
    _, text, _, onward = remote_panel.show_offer(key, None, run.id, "t4-small", *CHOICES)
    assert onward["visible"] and onward["value"] == "Go on with Run 1 in a Job" and "Or Run 1, from where it stopped" in text
    *_, last = remote_panel.hand_over(key, None, run.id, "t4-small")
    assert last == "" and remote.record(run).away
    assert not remote_panel.show_offer(key, None, run.id, "t4-small", *CHOICES)[3]["visible"]
    other = run_of(key, status="done")
    assert not remote_panel.show_offer(key, None, other.id, "t4-small", *CHOICES)[3]["visible"]


def test_a_run_is_made_and_started_and_what_fails_is_a_sentence(hub, alice, key):
    remote_panel.show_offer(key, None, None, None, *CHOICES)
    hub.users[alice].can_pay = False
    with pytest.raises(gr.Error, match="asks for a paid plan or credit"):
        for said in remote_panel.begin(key, None, "cpu-basic", *CHOICES):
            last = said
    (run,) = find_project(key).runs()
    assert last == (run.id, "") and run.title == "Run 1" and remote.record(run).job is None
    part, state, fetch, again, cancel, *_ = remote_panel.show_away(key, run.id)
    assert part["visible"] and "No Job was started" in state and again["value"] == "Start the Job" and not cancel["visible"]
    hub.users[alice].can_pay = True
    list(remote_panel.go_on(key, None, run.id))
    assert remote.record(run).away and remote_panel.is_given(run)
    part, state, fetch, again, cancel, *_ = remote_panel.show_away(key, run.id)
    assert "waits for its hardware" in state and cancel["visible"] and not again["visible"] and not fetch["visible"]
    assert alice not in json.dumps([str(part), state])


def test_a_tick_follows_the_log_and_a_cancelled_job_gives_the_run_back(hub, alice, key):
    run = run_of(key)
    begun = remote.start(run, job_cost.flavor(alice, "cpu-basic"), alice)
    job = jobs_of(hub).made[begun.job]
    job.stage = "RUNNING"
    job.lines += [(time.time(), job_lines.line("say", text="Training.")), (time.time(), job_lines.line("step", step=2, total=4, loss=1.5))]
    _, _, *_, timer, mark = remote_panel.follow(key, None, run.id, "")
    assert timer.active
    until(lambda: run.log())
    until(lambda: "Step 2 of 4. Training." in remote_panel.follow(key, None, run.id, mark)[1])
    assert not run.is_alive and run.status == "new"
    remote_panel.end(key, None, run.id)
    until(lambda: remote_watch.known(run) is None or not remote_watch.known(run).alive)
    part, state, fetch, again, cancel, *_ = remote_panel.show_away(key, run.id)
    assert "was cancelled" in state and again["value"] == "Go on in another Job" and not remote.record(run).away


def test_a_log_that_breaks_off_is_no_fault_of_the_visitors_token(hub, alice, key, monkeypatch):
    run = run_of(key)
    begun = remote.start(run, job_cost.flavor(alice, "cpu-basic"), alice)
    jobs_of(hub).made[begun.job].stage = "RUNNING"
    monkeypatch.setattr(remote_watch, "LOOK", 0.0)

    def broken(*_):
        raise HubError("Reading the log of the Job did not work: the connection broke off; try again.")

    monkeypatch.setattr(remote_watch.job_logs, "follow", broken)
    remote_panel.follow(key, None, run.id, "")
    until(lambda: not remote_watch.known(run).alive)
    jobs_of(hub).made[begun.job].stage = "ERROR"
    state = remote_panel.follow(key, None, run.id, "")[1]
    assert "no token has" not in state and "The Job failed" in state and remote.record(run).stage == "ERROR"


def test_a_signed_in_visitors_own_token_acts_and_nobody_reaches_anothers_run(hub, alice, key, monkeypatch):
    run = run_of(key)
    stranger = create_project(None, "Other")
    bob = gr.OAuthToken(token=hub.user("bob", can_pay=True), scope="jobs", expires_at=0)
    for act in (remote_panel.end, lambda *given: list(remote_panel.bring(*given)), lambda *given: list(remote_panel.go_on(*given))):
        with pytest.raises(gr.Error, match="There is no run"):
            act(stranger, bob, run.id)
    with pytest.raises(gr.Error, match="There is no run"):
        list(remote_panel.hand_over(stranger, bob, run.id, "cpu-basic"))
    assert not remote_panel.follow(stranger, bob, run.id, "")[0]["visible"]
    list(remote_panel.hand_over(key, bob, run.id, "cpu-basic"))
    assert remote.record(run).repo.startswith("bob/"), "not the computer's own account"
    (job,) = jobs_of(hub).made.values()
    assert job.spec["secrets"] == {"HF_TOKEN": bob.token} and alice not in json.dumps(job.spec)


def test_the_choices_are_those_of_the_train_step():
    assert len(CHOICES) == 2 + len(TrainConfig.options()) and settings.read(CHOICES).embedded
