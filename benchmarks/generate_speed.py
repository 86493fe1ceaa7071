"""Evaluating the 270M shape: shared-prefix decoding against plain batched model.generate, and whether they answer the same.

    .venv/bin/python benchmarks/generate_speed.py [--quick] [--rounds N] [--minutes N] [--json FILE]

64 requests behind a shared prefix of 600 tokens, a user turn of 25 each, 30 new tokens, greedy, no stop token. The peer is Hugging Face's
`generate` with its own KV cache and sdpa attention; all requests are equally long, so it pads nothing. Both run in float32, where every
answer must be the same, token for token, and in bfloat16 where that is what the pipeline would choose: there 262,144 logits hold many
near ties, and rounding decides some of them in either program, so how often both agree with float32 is given instead.

A round runs each side once, one after another, each in a process of its own; figures are medians. --quick tries one batch size of the
peer, else the faster of two counts. It does not know whether the machine was quiet: compare CPU seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from parts import command, measure, shape, work

PREFIX, USER, NEW, REQUESTS = 600, 25, 30, 64
BATCHES = (64, 16)  # of the peer
TARGET = 5


def child(job: dict[str, Any]) -> None:
    """Answer all requests once and say how long it took and what was answered."""
    import torch

    from pipeline import model as models
    from pipeline.prefix_generate import generate_batch

    models.quiet()
    torch.set_num_threads(models.cpu_threads())
    device = job["device"]
    model = shape.random_model(job["shape"], job["dtype"]).to(device).eval()
    model.generation_config.eos_token_id = None
    prompts = [e.input_ids for e in shape.examples(job["requests"], PREFIX, USER, 0, seed=job["round"])]

    def plain(rows: list[list[int]], count: int) -> list[list[int]]:
        answers = []
        for start in range(0, len(rows), job["batch"]):
            ids = torch.tensor(rows[start : start + job["batch"]], device=device)
            made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0)
            answers += made[:, ids.shape[1] :].tolist()
        return answers

    def ours(rows: list[list[int]], count: int) -> list[list[int]]:
        return generate_batch(model, rows, count, ())

    answer = ours if job["side"] == "ours" else plain
    answer([row[-USER:] for row in prompts[:2]], 2)  # the first call of anything takes longer
    measure.wait_for(device)
    measure.reset_peak(device)
    began, used = time.perf_counter(), time.process_time()
    answers = answer(prompts, NEW)
    measure.wait_for(device)
    measure.say(
        seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - used, peak=measure.peak(device), answers=answers
    )


# -------------------------------------------------------------------------------------------------------------- parent


def measured(options: argparse.Namespace, device: str, found: dict[str, Any], progress: measure.Progress) -> None:
    longest_round = 0.0
    for n in range(options.rounds):
        if n and options.minutes and progress.elapsed + longest_round > options.minutes * 60:
            progress(f"round {n + 1} would not end within {options.minutes:g} minutes and is left out")
            return
        began, answers = progress.elapsed, {}
        for dtype in found["dtypes"]:
            for side, batch in [("ours", options.requests), *(("plain", b) for b in BATCHES[: 1 if options.quick else 2])]:
                batch = min(batch, options.requests)
                job = {
                    "side": side, "batch": batch, "dtype": dtype, "device": device, "shape": options.shape, "round": n,
                    "requests": options.requests,
                }  # fmt: skip
                (line,) = measure.child(__file__, job)
                answers[dtype, side, batch] = line.pop("answers")
                found["runs"].append({"round": n + 1, "side": side, "batch": batch, "dtype": dtype, **line})
                progress(
                    f"round {n + 1}, {dtype}, {side} in batches of {batch}: {line['seconds']:.1f} s, {line['cpu_seconds']:.1f} CPU s, "
                    f"peak {line['peak'] / measure.GIB:.2f} GiB"
                )
                summarise(found)
                measure.save(options.json, found)
        compare(answers, found)
        found["rounds"] = n + 1
        measure.save(options.json, found)
        longest_round = max(longest_round, progress.elapsed - began)


def compare(answers: dict[tuple[str, str, int], list[list[int]]], found: dict[str, Any]) -> None:
    """Add a round's answers to the books: identical ones in float32, and how often each agrees with float32 elsewhere."""
    exact = next((rows for (dtype, side, _), rows in answers.items() if (dtype, side) == ("float32", "plain")), None)
    if exact is None:
        return
    found["different_tokens"] = max(found["different_tokens"], len({token for row in exact for token in row}))
    for (dtype, side, batch), rows in answers.items():
        name = f"{dtype}, {side} in batches of {batch}"
        same, asked = found["as_plain_float32"].get(name, (0, 0))
        found["as_plain_float32"][name] = (same + sum(a == b for a, b in zip(rows, exact, strict=True)), asked + len(rows))
    found["identical"] = all(same == asked for name, (same, asked) in found["as_plain_float32"].items() if name.startswith("float32"))


def summarise(found: dict[str, Any]) -> None:
    """Medians so far; `ratio` is against the fastest batch size of the peer."""
    for dtype in found["dtypes"]:
        sides: dict[str, dict[str, Any]] = {}
        for side, batch in dict.fromkeys((r["side"], r["batch"]) for r in found["runs"] if r["dtype"] == dtype):
            runs = [r for r in found["runs"] if (r["dtype"], r["side"], r["batch"]) == (dtype, side, batch)]
            wall, cpu = (statistics.median(r[key] for r in runs) for key in ("seconds", "cpu_seconds"))
            figures = {
                "seconds": wall, "cpu_seconds": cpu, "requests_per_second": found["requests"] / wall, "batch": batch,
                "peak_bytes": max(r["peak"] for r in runs), "times": len(runs),
            }  # fmt: skip
            if side not in sides or wall < sides[side]["seconds"]:
                sides[side] = figures
        found["sides"][dtype] = sides
        if len(sides) == 2:
            for key, column in (("ratio", "seconds"), ("cpu_ratio", "cpu_seconds"), ("memory_ratio", "peak_bytes")):
                ours, plain = sides["ours"][column], sides["plain"][column]
                found.setdefault(key, {})[dtype] = ours / plain if key == "memory_ratio" else plain / ours


def counted(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Operations of both sides, and bytes of weights and keys that the decoding steps read (4 a number)."""
    model, requests, steps = work.Model.of(shape.config(options.shape)), options.requests, NEW - 1
    span = PREFIX + USER + NEW // 2  # keys that a decoding step meets, on average
    weights = 4 * steps * model.weights
    rows = {"ours": PREFIX + requests * USER, "plain": requests * (PREFIX + USER)}
    keys = {"ours": PREFIX + requests * (USER + NEW // 2), "plain": requests * span}
    found = {}
    for side in rows:
        pairs = PREFIX**2 + requests * USER * (PREFIX + USER) if side == "ours" else requests * (PREFIX + USER) ** 2
        found[side] = {
            "prefill": 2 * model.body * rows[side] + 4 * model.layers * model.attention * pairs + 2 * model.head * requests,
            "decode": steps * requests * (2 * model.weights + 4 * model.layers * model.attention * span),
            "weight_bytes": weights, "key_bytes": 4 * steps * keys[side] * model.layers * 2 * model.key_width,
        }  # fmt: skip
    return found


def report(found: dict[str, Any]) -> None:
    host = found["machine"]
    print(f"\n{host['device']}, {host['threads']} threads; {found['rounds']} rounds; medians")
    print(f"{found['requests']} requests, {NEW} tokens each")
    print("dtype     side   batch   seconds  CPU s  requests/s  peak GiB   ratio  by CPU  memory  target")
    for dtype, sides in found["sides"].items():
        for side, f in sides.items():
            line = f"{dtype:10}{side:6}{f['batch']:6}{f['seconds']:10.2f}{f['cpu_seconds']:7.1f}{f['requests_per_second']:12.2f}"
            line += f"{f['peak_bytes'] / measure.GIB:10.2f}"
            if side == "plain" and dtype in found.get("ratio", {}):
                line += "".join(f"{found[key][dtype]:7.2f}x" for key in ("ratio", "cpu_ratio", "memory_ratio")) + f"{TARGET:7}x"
            print(line)
    if found["as_plain_float32"]:
        print(f"\nAnswers as plain generate gives them in float32 ({found['different_tokens']} different tokens occur in them):")
    for name, (same, asked) in found["as_plain_float32"].items():
        print(f"  {name}: {same} of {asked}")
    speeds = f"one GEMM does {host['gemm_tflops']:.2f} TFLOP/s ({host['dtype']}), copying {host['copy_gb_per_second']:.0f} GB/s"
    print(f"\nWhat bounds it: {speeds}.")
    for side, counts in found["work"].items():
        print(
            f"  {side}: {counts['prefill'] / 1e12:.2f} TFLOP to read, {counts['decode'] / 1e12:.2f} to write; the writing steps read "
            f"{counts['weight_bytes'] / 1e9:.0f} GB of weights and {counts['key_bytes'] / 1e9:.1f} GB of keys and values (float32)"
        )


def main() -> None:
    parser = command.parser(
        "Evaluation speed of shared-prefix decoding against plain batched generate.", "one batch size of the peer; 8 minutes on 2 cores"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is run (default: 3)")
    parser.add_argument("--minutes", type=float, help="start no round that would end later (default: 7.8 with --quick, else none)")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"default: {REQUESTS}")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU if there is one")
    parser.add_argument("--dtypes", choices=("float32", "bfloat16"), nargs="+", help="default: float32 and the faster one here")
    if (options := command.given(parser, child)) is None:
        return
    if options.rounds < 1 or options.requests < 2:
        parser.error("--rounds must be at least 1 and --requests at least 2")
    from pipeline import model as models

    options.minutes = options.minutes or (7.8 if options.quick else None)
    device = options.device or models.choose_device()
    chosen = models.choose_dtype(device)
    found: dict[str, Any] = {
        "what": "evaluation, seconds for all requests", "machine": measure.machine(device, chosen), "quick": options.quick, "rounds": 0,
        "requests": options.requests, "prefix": PREFIX, "user": USER, "new_tokens": NEW,
        "dtypes": options.dtypes or list(dict.fromkeys(["float32", chosen])), "work": counted(options), "sides": {},
        "as_plain_float32": {}, "different_tokens": 0, "identical": None, "runs": [],
    }  # fmt: skip
    try:
        measured(options, device, found, measure.Progress())
    except KeyboardInterrupt:
        print("stopped; what was measured so far:", file=sys.stderr)
    measure.save(options.json, found)
    report(found)
    if found["identical"] is False:
        sys.exit("the answers in float32 differ from plain generate's")


if __name__ == "__main__":
    main()
