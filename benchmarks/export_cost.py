"""What an export costs at the 270M shape, against the bare converter; and how fast each file runs, against PyTorch.

    .venv/bin/python benchmarks/export_cost.py [--quick] [--rounds 3] [--requests 20] [--formats NAME...] [--minutes N] [--json FILE]

Every format is exported as `python -m pipeline export` does it, its check included, from one merged checkpoint; the first, int8 .litertlm,
has to convert, the others find the conversion. In turn with it the bare converter (litert_torch's export_hf, same lengths, int8, no
bundle, no check) runs in a process of its own. Memory is the resident sets of a process and all its children, added up ten times a
second: pages that they share, such as a mapped model's, count in each.

The weights are random but certain (parts/shape.py): whatever their number format, a file repeats the last token to the longest answer that
is allowed, so the check runs its full course, passes, and costs more than with answers that stop. The prompts are the sample project's,
with the embedded base's tokenizer; with FunctionGemma's own they are shorter, by how much is not known here. A .gguf is timed only where
llama.cpp is installed: transformers turns it into PyTorch's float32 first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts import command, measure, shape

EXPORTS = {
    "litertlm-int8": ("litertlm", "int8"), "litertlm-int4": ("litertlm", "int4"), "litertlm-float32": ("litertlm", "float32"),
    "task-int8": ("task", "int8"), "tflite-int8": ("tflite", "int8"), "gguf-q8_0": ("gguf", "q8_0"), "gguf-float16": ("gguf", "float16"),
    "gguf-q4_0": ("gguf", "q4_0"), "merged": ("merged", None),
}  # fmt: skip
QUICK = ("litertlm-int8", "task-int8", "tflite-int8", "gguf-q8_0", "merged")
FIRST = "litertlm-int8"
PYTORCH = ("PyTorch float32", "PyTorch bfloat16")
NEW = 64
"""Tokens that are written to measure how fast."""
TARGETS = {"ratio": 2.0, "peak_bytes": 5e9, "check_seconds": 60.0}
STAGES = {"make": 0.0, "ask the model": 0.6, "ask the file": 0.8, "compare": 0.95}
"""Where on the bar of `pipeline.export.export_checkpoint` each begins."""


def source(folder: str) -> Any:
    from pipeline import dataset, samples
    from pipeline.export.source import Source

    return Source(Path(folder), dataset.split(samples.load()), "bench")


@contextmanager
def resident() -> Iterator[Callable[[], int]]:
    """Yields a function that says the most bytes that this process and its children had resident together until now."""
    import psutil

    most, over, here = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not over.wait(0.1):
            total = 0
            for process in (here, *here.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:  # it ended meanwhile
                    continue
            most[0] = max(most[0], total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


# The children's jobs


def child(job: dict[str, Any]) -> None:
    {"export": export, "bare": bare, "speed": speed}[job["what"]](job)


def export(job: dict[str, Any]) -> None:
    """One format, as the product makes it, with the times at which its stages began."""
    from pipeline.export import export_checkpoint

    began, marks = time.perf_counter(), {"make": 0.0}

    def progress(fraction: float, message: str) -> None:
        for stage, share in STAGES.items():
            if fraction >= share:
                marks.setdefault(stage, time.perf_counter() - began)

    format, quantize = EXPORTS[job["name"]]
    with resident() as most:
        out, cache = Path(job["out"]), Path(job["cache"])
        made = export_checkpoint(source(job["checkpoint"]), format, quantize, out, cache, progress, job["requests"])
        seconds = time.perf_counter() - began
    ends = [*list(marks.values())[1:], seconds]
    measure.say(
        seconds=seconds, stages={stage: end - start for (stage, start), end in zip(marks.items(), ends, strict=True)}, peak=most(),
        size=made.size, path=made.path, identical=made.answers_identical, requests=made.answers_total, details=made.details,
    )  # fmt: skip


def bare(job: dict[str, Any]) -> None:
    """The converter by itself, from the same checkpoint to an int8 .tflite of the same lengths."""
    began = time.perf_counter()
    from pipeline.export.convert import RECIPES, tensorflow_schema

    with resident() as most, tempfile.TemporaryDirectory(dir=job["out"]) as folder:
        with tensorflow_schema():
            from litert_torch.generative.export_hf import export as converter
        converter.export(
            model=job["checkpoint"], output_dir=folder, prefill_lengths=[job["prefill"]], cache_length=job["cache_length"],
            quantization_recipe=RECIPES["int8"], litert_lm_model_type_override="function_gemma", bundle_litert_lm=False,
            keep_temporary_files=True, experimental_lightweight_conversion=True,
        )  # fmt: skip
        size = max(file.stat().st_size for file in Path(folder).rglob("*quantized*.tflite"))
        measure.say(seconds=time.perf_counter() - began, peak=most(), size=size)


def speed(job: dict[str, Any]) -> None:
    """Tokens a second of one side, reading a prompt and writing NEW tokens, after a shorter run that does not count."""
    with resident() as most:
        path = Path(job["path"])
        run = {".litertlm": _litert_lm, ".task": _litert_lm, ".tflite": _interpreter, ".gguf": _llama_cpp}.get(path.suffix, _pytorch)
        read, written, reading, writing = run(path, job)
        measure.say(prefill=read / reading, decode=written / writing, peak=most())


Timed = tuple[int, int, float, float]
"""Tokens read, tokens written, and the seconds of each."""


def _pytorch(path: Path, job: dict[str, Any]) -> Timed:
    import torch

    from pipeline.model import load

    loaded = load(path, "cpu", job["dtype"])
    ids = torch.tensor([loaded.tokenizer.encode(job["prompt"], add_special_tokens=False)])
    with torch.inference_mode():
        for warm in (True, False):
            began = time.perf_counter()
            made = loaded.model(ids[:, :32] if warm else ids, use_cache=True, logits_to_keep=1)
            first = time.perf_counter()
            for _ in range(2 if warm else NEW):
                made = loaded.model(made.logits[:, -1:].argmax(-1), past_key_values=made.past_key_values, use_cache=True)
    return ids.shape[1], NEW, first - began, time.perf_counter() - first


def _litert_lm(path: Path, job: dict[str, Any]) -> Timed:
    import litert_lm

    from pipeline.engine import opened
    from pipeline.model import cpu_threads

    greedy = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
    text = job["prompt"].removeprefix("<bos>")
    with opened(path, cpu_threads()) as engine:
        for words, tokens in ((text[:100], 2), (text, NEW)):
            with engine.create_session(apply_prompt_template=False, max_output_tokens=tokens, sampler_config=greedy) as session:
                began = time.perf_counter()
                session.run_prefill([words])
                first = time.perf_counter()
                answer = session.run_decode().texts[0]
                end = time.perf_counter()
        # It repeats one token, whose text is the prompt's last character.
        return len(engine.tokenize(text)) + 1, len(answer) // len(text[-1:]), first - began, end - first


def _interpreter(path: Path, job: dict[str, Any]) -> Timed:
    from tokenizers import Tokenizer

    from pipeline.litert_interpreter import Interpreter
    from pipeline.model import cpu_threads

    ids = Tokenizer.from_file(str(Path(job["checkpoint"]) / "tokenizer.json")).encode(job["prompt"], add_special_tokens=False).ids
    model = Interpreter(path, cpu_threads())
    for tokens, count in ((ids[:32], 2), (ids, NEW)):
        model.reset()
        began = time.perf_counter()
        model.read(tokens[:-1])
        first, token = time.perf_counter(), tokens[-1]
        for _ in range(count):
            token = model.next(token)
    return len(ids), NEW, first - began, time.perf_counter() - first


def _llama_cpp(path: Path, job: dict[str, Any]) -> Timed:
    from pipeline import llamacpp

    return llamacpp.timed(path, job["prompt"], NEW)


# The parent's


def exported(options: argparse.Namespace, job: dict[str, Any], found: dict[str, Any], progress: measure.Progress) -> None:
    """Fill found["exports"] and found["bare"]; with --rounds the first export and the bare converter run so often, in turn."""
    for number in range(options.rounds):
        for name in options.formats:
            if number and name != FIRST:
                continue
            cache = f"{job['folder']}/cache{number}"  # a new one each time: the first export of a round converts
            (line,) = measure.child(__file__, job | {"what": "export", "name": name, "out": f"{job['folder']}/out", "cache": cache})
            found["exports"].setdefault(name, []).append(line)
            progress(f"{name}: {line['seconds']:.0f} s, peak {line['peak'] / 1e9:.2f} GB, {line['identical']} of {line['requests']} alike")
            measure.save(options.json, summarised(found))
            if name == FIRST:
                (line,) = measure.child(__file__, job | {"what": "bare", "out": job["folder"]})
                found["bare"].append(line)
                progress(f"the bare converter: {line['seconds']:.0f} s, peak {line['peak'] / 1e9:.2f} GB")


def timed(options: argparse.Namespace, job: dict[str, Any], found: dict[str, Any], progress: measure.Progress) -> None:
    """Fill found["speeds"]: every side once a round."""
    from pipeline import llamacpp

    found["llama.cpp"] = llamacpp.installed()
    paths = {name: runs[0]["path"] for name, runs in found["exports"].items() if name != "merged"}
    sides = dict.fromkeys(PYTORCH, job["checkpoint"]) | {n: p for n, p in paths.items() if found["llama.cpp"] or not n.startswith("gguf")}
    for number in range(options.rounds):
        if options.minutes and progress.elapsed > 60 * options.minutes:
            return
        for name, path in sides.items():
            (line,) = measure.child(__file__, job | {"what": "speed", "path": path, "dtype": name.split()[-1]})
            found["speeds"].setdefault(name, []).append(line)
            progress(f"round {number + 1}, {name}: reads {line['prefill']:.0f}, writes {line['decode']:.1f} tokens/s")
            measure.save(options.json, summarised(found))


def summarised(found: dict[str, Any]) -> dict[str, Any]:
    """`found` with medians, and the three figures that have a target."""
    first, bare = found["exports"].get(FIRST, []), found["bare"]
    summary: dict[str, Any] = {}
    if first and bare:
        ours, peer = (statistics.median(run["seconds"] for run in runs) for runs in (first, bare))
        summary = {"seconds": ours, "bare_seconds": peer, "ratio": ours / peer, "peak_bytes": max(run["peak"] for run in first)}
        summary["bare_peak_bytes"] = max(run["peak"] for run in bare)
        summary["check_seconds"] = statistics.median(run["seconds"] - run["stages"]["make"] for run in first)
    speeds = {
        name: {key: statistics.median(run[key] for run in runs) for key in ("prefill", "decode", "peak")}
        for name, runs in found["speeds"].items()
    }  # fmt: skip
    return found | {"summary": summary, "tokens_per_second": speeds}


def report(found: dict[str, Any]) -> None:
    host = found["machine"]
    print(f"\n{host['device']}, {host['threads']} threads; {found['requests']} requests; {found['lengths']}")
    print(f"{'format':18}{'seconds':>8}{'make':>8}{'model':>8}{'file':>8}{'compare':>9}{'peak GB':>9}{'size MB':>9}   alike")
    for name, runs in found["exports"].items():
        run = min(runs, key=lambda one: one["seconds"])
        stages = [run["stages"].get(stage, 0.0) for stage in STAGES]
        line = f"{name:18}{run['seconds']:8.0f}{stages[0]:8.0f}{stages[1]:8.0f}{stages[2]:8.0f}{stages[3]:9.0f}"
        print(f"{line}{run['peak'] / 1e9:9.2f}{run['size'] / 1e6:9.0f}   {run['identical']} of {run['requests']}")
    for run in found["bare"]:
        print(f"{'bare converter':18}{run['seconds']:8.0f}{run['seconds']:8.0f}{'':33}{run['peak'] / 1e9:9.2f}{run['size'] / 1e6:9.0f}")
    print(f"\n{'tokens a second':18}{'reading':>9}{'writing':>9}{'peak GB':>9}")
    for name, side in found["tokens_per_second"].items():
        print(f"{name:18}{side['prefill']:9.0f}{side['decode']:9.1f}{side['peak'] / 1e9:9.2f}")
    if not found["llama.cpp"]:
        print("(.gguf files are not timed: llama.cpp is not installed)")
    if summary := found["summary"]:
        print(f"\n{FIRST}, check included: {summary['ratio']:.2f}x the bare converter's time (target {TARGETS['ratio']:g}x)")
        print(f"peak: {summary['peak_bytes'] / 1e9:.2f} GB (target {TARGETS['peak_bytes'] / 1e9:g})")
        print(f"check of {found['requests']} requests: {summary['check_seconds']:.0f} s (target for 20: {TARGETS['check_seconds']:g})")


def main() -> None:
    parser = command.parser("Cost of exports, and speed of the files.", "five formats, one round; 12 minutes on 2 cores")
    parser.add_argument("--rounds", type=int, help="how often the first export and every speed is measured (default: 3, with --quick 1)")
    parser.add_argument("--requests", type=int, default=20, help="how many each file has to answer (default: 20)")
    parser.add_argument("--formats", nargs="+", choices=tuple(EXPORTS), help="default: all, with --quick five")
    parser.add_argument("--minutes", type=float, help="start no round of speeds that would begin later")
    parser.add_argument("--work", type=Path, help="folder for 8 GB of files (default: a temporary one)")
    if (options := command.given(parser, child)) is None:
        return
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.rounds < 1 or options.requests < 1:
        parser.error("--rounds and --requests must be at least 1")
    options.formats = options.formats or list(QUICK if options.quick else EXPORTS)
    from pipeline import model as models

    progress = measure.Progress()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        checkpoint = f"{folder}/merged"
        shape.checkpoint(Path(checkpoint), options.shape, certain=True)
        origin = source(checkpoint)
        lengths = origin.lengths()
        job = {
            "checkpoint": checkpoint, "folder": folder, "requests": options.requests, "prefill": lengths.prefill,
            "cache_length": lengths.cache, "prompt": max((row.prompt for row in origin.rows), key=len),
        }  # fmt: skip
        found: dict[str, Any] = {
            "what": "export and run", "machine": measure.machine("cpu", models.choose_dtype("cpu")), "quick": options.quick,
            "requests": options.requests, "lengths": lengths.reason, "exports": {}, "bare": [], "speeds": {}, "llama.cpp": None,
        }  # fmt: skip
        try:
            exported(options, job, found, progress)
            timed(options, job, found, progress)
        except KeyboardInterrupt:
            print("stopped; what was measured so far:", file=sys.stderr)
        measure.save(options.json, summarised(found))
        report(summarised(found))


if __name__ == "__main__":
    main()
