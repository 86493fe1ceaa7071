"""A checkpoint as a float32 .tflite, and that in fewer bits. Runs as a child process: `python -m pipeline.export.convert`.

Conversion of the 270M shape takes 85 s and 3.9 GiB, and its imports patch what others import: nothing of it may happen in the
app. Knows nothing of bundles, tokenizers or verification.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.errors import ExportError

RECIPES = {"int8": "dynamic_wi8_afp32", "int4": "dynamic_wi4_afp32", "float32": ""}
"""Our names for what ai_edge_quantizer calls them: weights in so many bits per channel, activations in float32."""


@contextlib.contextmanager
def tensorflow_schema() -> Iterator[None]:
    """Let litert-torch 0.10 find `tensorflow.lite.python.schema_py_generated` without tensorflow, which it forgets to require.

    ai_edge_litert ships the same generated file; it is lent for the time of the import. transformers looks for tensorflow when it is
    imported and must not find the loan, so it is imported first.
    """
    names = ("tensorflow", "tensorflow.lite", "tensorflow.lite.python")
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow"):
        yield
        return
    import ai_edge_litert.interpreter  # noqa: F401
    import ai_edge_litert.schema_py_generated as schema
    import transformers  # noqa: F401

    for name in names:
        module = types.ModuleType(name)
        module.__path__ = []
        module.__spec__ = importlib.util.spec_from_loader(name, None, is_package=True)
        sys.modules[name] = module
    lent = f"{names[-1]}.schema_py_generated"
    sys.modules[lent] = sys.modules[names[-1]].schema_py_generated = schema
    try:
        yield
    finally:
        for name in (*names, lent):
            sys.modules.pop(name, None)


def convert(checkpoint: Path, out: Path, prefill_length: int, cache_length: int) -> None:
    """The gemma3_text model in `checkpoint` as a float32 .tflite with signatures prefill_<length> and decode, at `out`.

    The folder of `out` is left with the converter's other files in it. Lengths are in tokens. Raises ExportError.
    """
    with tensorflow_schema():
        from litert_torch.generative.export_hf import export
    export.export(
        model=str(checkpoint),
        output_dir=str(out.parent),
        prefill_lengths=[prefill_length],
        cache_length=cache_length,
        quantization_recipe="none",  # left out, it would mean int8; one float32 model feeds every format
        litert_lm_model_type_override="function_gemma",
        bundle_litert_lm=False,  # its bundles lose stop ids and break on the first prompt with tools
        keep_temporary_files=True,
        experimental_lightweight_conversion=True,
    )
    made = out.parent / "model.tflite"
    if not made.is_file():
        raise ExportError(f"The converter ended without writing {made.name}; its log says why.")
    os.replace(made, out)


def quantize(model: Path, out: Path, name: str) -> None:
    """`model` (float32 .tflite) with the weights in the format `name`, a key of RECIPES, at `out`. Raises ExportError."""
    if not RECIPES[name]:
        shutil.copyfile(model, out)
        return
    from ai_edge_quantizer import quantizer, recipe

    work = quantizer.Quantizer(str(model))
    work.load_quantization_recipe(getattr(recipe, RECIPES[name])())
    try:
        work.quantize().export_model(str(out), overwrite=True)
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"These weights cannot be stored as {name} ({error}); choose int8 or float32.") from error
    if not out.is_file():
        raise ExportError(f"The quantiser ended without writing a {name} model; its log says why.")
    out.chmod(0o644)  # it marks the model executable


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"checkpoint", "float32", "prefill_length", "cache_length", "quantize", "out", "bundle"}.

    Without "checkpoint" the float32 model is there already; with "bundle" the quantised model is put into one as well.
    """
    if "checkpoint" in job:
        progress(0.0, "Converting to LiteRT")
        convert(Path(job["checkpoint"]), Path(job["float32"]), job["prefill_length"], job["cache_length"])
    if "quantize" in job:
        progress(0.8, f"Storing the weights as {job['quantize']}")
        quantize(Path(job["float32"]), Path(job["tflite"]), job["quantize"])
    if "bundle" in job:
        from pipeline.export import bundle

        progress(0.95, "Packing the file")
        bundle.write(**job["bundle"])
    return {}


if __name__ == "__main__":
    child.serve(work)
