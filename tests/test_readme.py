"""The README tells the truth: its front matter is one a Space accepts, its file tree is the repository, its commands run."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FRONT = yaml.safe_load(README.split("---")[1])
BODY = README.split("---", 2)[2]
RUN_MARK = "<!-- these commands are run by tests/test_readme.py -->"


def requirements(file: str) -> dict[str, Requirement]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", "-"))]
    return {requirement.name.lower().replace("_", "-"): requirement for requirement in found}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name]


# ---------------------------------------------------------------------------------------------------------------- front matter


def test_front_matter_is_what_a_space_reads():
    assert FRONT["sdk"] == "gradio"
    assert FRONT["python_version"] in ("3.12", "3.11")
    assert (ROOT / FRONT["app_file"]).is_file()
    assert len(FRONT["short_description"]) <= 60
    assert FRONT["license"] == "apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_space_and_the_laptop_get_the_same_gradio():
    tested = requirements("constraints.txt")["gradio"].specifier
    assert tested.contains(str(FRONT["sdk_version"]))
    assert requirements("requirements.txt")["gradio"].specifier.contains(str(FRONT["sdk_version"]))


def test_zero_gpu_is_suggested_because_one_module_uses_it():
    """A ZeroGPU Space without a function decorated with spaces.GPU refuses to start, and one with it is of no use elsewhere."""
    uses = [path.name for path in ROOT.glob("pipeline/**/*.py") if re.search(r"^@spaces\.GPU\b", path.read_text("utf-8"), re.M)]
    assert uses == (["zerogpu.py"] if FRONT["suggested_hardware"] == "zero-a10g" else [])


def test_requirements_suit_a_zero_gpu_space_and_the_tested_versions():
    needed, tested = requirements("requirements.txt"), requirements("constraints.txt")
    for version in ("2.9.1", "2.10.0", "2.11.0", "2.13.0"):
        assert needed["torch"].specifier.contains(version)
    assert "huggingface-hub" not in needed
    for name, requirement in {**needed, **requirements("requirements-dev.txt")}.items():
        (exact,) = tested[name].specifier
        assert requirement.specifier.contains(exact.version), f"{name}: {requirement.specifier} excludes the tested {exact.version}"


def test_no_place_of_one_machine_is_named():
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text("utf-8")
        assert not re.search(r"file:|https?://(?!127\.0\.0\.1)|(?<![\w.])/(?:opt|work|root|home)/", text), name


# ---------------------------------------------------------------------------------------------------------------- file tree


def tree() -> list[str]:
    """The paths (or patterns) of the file tree, in order."""
    block = re.search(r"### Files\n.*?```text\n(.*?)```", BODY, re.S)
    assert block, "README has no file tree under '### Files'"
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in block[1].splitlines():
        name = line.strip().split("  ")[0]
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        path = (folders[-1][1] if folders else "") + name
        if name.endswith("/"):
            folders.append((indent, path))
        else:
            paths.append(path)
            assert len(line.strip().split("  ", 1)) == 2, f"{name} has no description"
    return paths


def test_every_file_has_its_line_and_every_line_its_file():
    lines, files = tree(), tracked()
    assert len(set(lines)) == len(lines)
    exact = set(lines)
    missing = [file for file in files if file not in exact and not any(fnmatch.fnmatch(file, line) for line in lines if "*" in line)]
    gone = [line for line in lines if not fnmatch.filter(files, line)]
    assert (missing, gone) == ([], [])


# ---------------------------------------------------------------------------------------------------------------- commands


def commands() -> list[str]:
    blocks = re.findall(re.escape(RUN_MARK) + r"\n```bash\n(.*?)```", BODY, re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_run_as_they_stand(tmp_path):
    """In the order of the README, into a folder of the test's own, with few steps instead of a full training."""
    assert commands()
    for line in commands():
        words = shlex.split(line.replace(".venv/bin/python", shlex.quote(sys.executable)).replace("out/", f"{tmp_path}/"))
        if "train" in words[:4]:
            words += ["--max-steps", "4"]
        ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, f"{line}\n{ran.stdout[-1000:]}\n{ran.stderr[-3000:]}"
        assert ran.stdout.strip(), f"{line} said nothing"


@pytest.mark.parametrize("target", ["run", "test", "demo", "bench", "lint"])
def test_the_makefile_has_what_the_readme_names(target):
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr
    assert f"make {target}" in BODY
