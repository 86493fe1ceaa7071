"""What every test stands on: no network, few threads, the project's folder, the shared material if it lies beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before any library reads them. The tests never talk to a hub and never tell anybody that they ran.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.pop("HF_TOKEN", None)
# Two are enough for the small models here, and more threads than free cores make PyTorch up to 30 times slower.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

# A slow machine is no finding: by itself hypothesis fails a test of which one example took 0.2 s, or ten took a second to make up.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the design texts, format cases and real data that lies beside some checkouts."""
    folder = ROOT.parent / "shared"
    if not (folder / "format").is_dir():
        pytest.skip(f"needs the shared material in {folder.name}/ beside the checkout")
    return folder


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """A tuned run (tests/tuned_world.py) with its .litertlm in int8, made once; whoever changes it changes a copy of its folder."""
    from pipeline.export import export
    from tests.tuned_world import small_run

    run = small_run(tmp_path_factory.mktemp("exported") / "run")
    export(run, "litertlm")
    return run


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hugging Face Hub on this machine that the real client of this process talks to (tests/local_hub.py); it waits between no tries."""
    from huggingface_hub import close_session, constants
    from huggingface_hub.utils import _http

    from pipeline import hub as ours
    from tests.local_hub import LocalHub

    with LocalHub() as server:
        home = tmp_path / "hf"
        for name, value in server.environment(home).items():
            monkeypatch.setenv(name, value)
        read = {
            "ENDPOINT": server.url, "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}", "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"), "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"), "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }  # fmt: skip
        for name, value in read.items():  # what the client has read from the environment at its import
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(_http.time, "sleep", _no_sleep(_http.time.sleep))
        close_session()  # the old one may know that it is offline
        ours._known.clear()
        yield server
        close_session()


def _no_sleep(sleep):
    """time.sleep for everybody but the Hub's client, which waits seconds before it tries again."""
    import sys

    def no_sleep(seconds):
        if not sys._getframe(1).f_globals.get("__name__", "").startswith("huggingface_hub."):
            sleep(seconds)

    return no_sleep
