"""The import law, read from the imports: which room may use which, what stays behind the gradio line, what must load late.

Also the few habits that a reader of the source can check: no code from text, no shell, broad catches at the two doors only.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A module may import from the lines above its own, and from its own line as long as that makes no circle.
LAW = (
    ("pipeline", "pipeline.errors", "pipeline.files", "pipeline.jsontext", "pipeline.journal", "pipeline.schema", "pipeline.child", "pipeline.durations"),
    ("pipeline.config",),
    ("pipeline.declarations", "pipeline.tools"),
    ("pipeline.functiongemma*",),
    ("pipeline.examples", "pipeline.dataset"),
    ("pipeline.importers*", "pipeline.formats", "pipeline.rowfiles", "pipeline.sources*", "pipeline.synthesize*", "pipeline.packing", "pipeline.slots", "pipeline.runs", "pipeline.scores", "pipeline.samples*", "pipeline.simulated"),
    ("pipeline.hub", "pipeline.hub.refusals"),  # the client and its errors; what needs a run stands below
    ("pipeline.hub.access", "pipeline.hub.room"),
    ("pipeline.model", "pipeline.engine", "pipeline.prefix_attention", "pipeline.prefix_generate", "pipeline.ranks"),
    ("pipeline.trainer", "pipeline.callbacks"),
    ("pipeline.train", "pipeline.constrain", "pipeline.evaluate", "pipeline.runtimes", "pipeline.serving", "pipeline.litert_interpreter", "pipeline.llamacpp", "pipeline.export*"),
    ("pipeline.base*",),
    ("pipeline.hub.*",),
    ("pipeline.cli*", "pipeline.__main__"),
    ("pipeline.ui", "pipeline.ui.*"),
    ("pipeline.ui.*_tab",),
    ("pipeline.ui.layout",),
    ("app",),
)
PURE_LINES = 6  # the first so many lines know no torch at all, not even inside a function
HEAVY = {
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "gradio", "spaces", "litert_torch", "ai_edge_litert",
    "ai_edge_quantizer", "litert_lm", "litert_lm_builder", "mediapipe", "jax", "gguf", "tensorflow", "pandas", "safetensors",
}  # fmt: skip
# Modules of torch and of the exporters: imported only inside the functions that use them, so they may be heavy themselves.
LATE = ("pipeline.prefix_attention", "pipeline.prefix_generate", "pipeline.trainer", "pipeline.callbacks", "pipeline.export.*", "pipeline.base.*")
DOORS = ("pipeline.cli*", "pipeline.ui*", "app")
MOST_LINES = 400
# Import name -> name on the package registry, where they differ.
DISTRIBUTION = {
    "PIL": "pillow", "google": "protobuf", "yaml": "pyyaml", "litert_lm": "litert-lm", "litert_torch": "litert-torch", "sentencepiece": "sentencepiece",
    "ai_edge_litert": "ai-edge-litert", "ai_edge_quantizer": "ai-edge-quantizer", "litert_lm_builder": "litert-lm",
}  # fmt: skip


def name_of(path: Path) -> str:
    """pipeline/ui/layout.py -> pipeline.ui.layout; pipeline/ui/__init__.py -> pipeline.ui"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("app.py")]}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text("utf-8"))


def line_of(module: str) -> int | None:
    """Index in LAW; the longest pattern wins, so that `pipeline` does not swallow the rest."""
    fits = [(len(pattern), i) for i, line in enumerate(LAW) for pattern in line if fnmatchcase(module, pattern)]
    return max(fits)[1] if fits else None


def imports_of(module: str, top_only: bool = False) -> list[tuple[str, int]]:
    """(imported module, source line) of every import; `top_only` leaves out those inside functions and under TYPE_CHECKING."""
    found: list[tuple[str, int]] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                whole = ".".join([*above, *filter(None, [child.module])])
                for alias in child.names:
                    inner = f"{whole}.{alias.name}"
                    found.append((inner if inner in SOURCES else whole, child.lineno))
            visit(child)

    visit(tree_of(module))
    return found


def known(imported: str) -> str | None:
    """The module of this project that an import names, or None for somebody else's."""
    return imported if imported in SOURCES else None


def is_any(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in patterns)


def modules(which: Callable[[str], bool] = lambda module: True) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", sorted(filter(which, SOURCES)))


def is_pure(module: str) -> bool:
    return (line_of(module) or 0) < PURE_LINES


def is_gradio_side(module: str) -> bool:
    return is_any(module, ("pipeline.ui*", "app"))


every_module = modules()


@every_module
def test_a_module_has_its_line_in_the_law(module):
    assert line_of(module) is not None, f"{module} stands in no line of LAW: give it its place"


@every_module
def test_imports_point_upwards_only(module):
    below = [
        f"{module}:{line} imports {imported}"
        for imported, line in imports_of(module)
        if known(imported) and line_of(imported) > line_of(module)
    ]
    assert not below


def test_no_circles():
    graph = {module: {known(i) for i, _ in imports_of(module, top_only=True)} - {None, module} for module in SOURCES}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(graph[module]):
                walk(imported, (*path, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())


@modules(is_pure)
def test_pure_rooms_know_no_heavy_package(module):
    assert [f"{i}:{line}" for i, line in imports_of(module) if i.split(".")[0] in HEAVY] == []


@modules(lambda module: not is_any(module, LATE))
def test_heavy_packages_load_late(module):
    """A module in LATE may load them at its top, because only functions import it: the second half of this test."""
    allowed = {"gradio", "spaces"} if is_gradio_side(module) else set()
    heavy = [f"{i}:{line}" for i, line in imports_of(module, top_only=True) if i.split(".")[0] in HEAVY - allowed]
    late = [f"{i}:{line}" for i, line in imports_of(module, top_only=True) if is_any(i, LATE) and imports_heavy(i)]
    assert heavy + late == []


def imports_heavy(module: str) -> bool:
    return any(i.split(".")[0] in HEAVY for i, _ in imports_of(module, top_only=True))


@modules(lambda module: not is_gradio_side(module))
def test_gradio_stays_behind_its_line(module):
    assert [f"{i}:{line}" for i, line in imports_of(module) if i.split(".")[0] in {"gradio", "spaces"}] == []


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.__main__", "pipeline.ui.layout"])
def test_importing_an_entrance_loads_nothing_heavy(module):
    allowed = {"gradio", "spaces", "pandas", "safetensors"} if module.startswith("pipeline.ui") else set()
    program = f"import sys, importlib; importlib.import_module({module!r}); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert sorted({name.split(".")[0] for name in ran.stdout.split()} & (HEAVY - allowed)) == []


def test_spaces_is_imported_before_anything_else_in_the_app():
    """`import spaces` has to come before torch touches CUDA, so it comes first of all."""
    others = [i for i, _ in imports_of("app", top_only=True) if i not in {"__future__", "os"}]
    assert others[0] == "spaces"


@every_module
def test_no_code_from_text_and_no_shell(module):
    found = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "compile", "__import__"}:
                found.append(f"{module}:{node.lineno}: {called}")
            if called == "torch.load" and not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords):
                found.append(f"{module}:{node.lineno}: torch.load without weights_only=True")
            if any(k.arg in {"shell", "trust_remote_code"} and ast.unparse(k.value) != "False" for k in node.keywords):
                found.append(f"{module}:{node.lineno}: {ast.unparse(node)[:60]}")
        if isinstance(node, ast.Import) and any(alias.name in {"pickle", "marshal", "shelve"} for alias in node.names):
            found.append(f"{module}:{node.lineno}: pickle")
    assert found == []


@modules(lambda module: not is_any(module, DOORS))
def test_broad_catches_stand_at_the_doors_only(module):
    """A broad catch that raises again only cleans up, and is fine anywhere."""
    broad = [
        f"{module}:{node.lineno}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert broad == []


@every_module
def test_a_module_says_what_it_is_and_can_be_read_in_one_go(module):
    text = SOURCES[module].read_text("utf-8")
    assert ast.get_docstring(tree_of(module)), f"{module} has no docstring"
    assert text.count("\n") <= MOST_LINES, f"{module} has {text.count(chr(10))} lines: look for the two ideas in it"


def test_requirements_name_every_package_that_is_imported():
    named = {
        re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }
    # They come with others by design: huggingface_hub and httpx2 with gradio (requirements.txt says why), authlib with its oauth, the
    # rest with their users. llama-cpp-python takes minutes to build and is used where somebody has it.
    with_others = {"huggingface-hub", "httpx2", "authlib", "fastapi", "llama-cpp", "jinja2", "flatbuffers", "pandas", "psutil", "packaging", "pyyaml", "protobuf"}
    imported = {
        DISTRIBUTION.get(top, top).replace("_", "-")
        for module in SOURCES
        for i, _ in imports_of(module)
        if (top := i.split(".")[0]) not in sys.stdlib_module_names and top not in {"pipeline", "tests", "app"}
    }
    assert imported - named - with_others == set()
