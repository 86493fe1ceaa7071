"""What an answer is worth: one verdict for each held-out row, and the scores, intervals and comparisons made of verdicts.

Calls are compared as calls: the name, and every argument with its type, never as substrings of a text. Two scores stand side by side.
*Strict* wants a reply that is written exactly as the format says and arguments that are equal; *tolerant* forgives what a parser mends
and, in strings, case and spaces. This file does not know who answered, or how.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.errors import RunError
from pipeline.examples import Example
from pipeline.functiongemma import Reply, parse
from pipeline.tools import ToolCall, ToolSpec, same_call

VERDICTS = ("correct", "wrong_arguments", "wrong_tool", "missing_call", "extra_call", "unexpected_call", "malformed")
NO_CALL = "no call"
BROKEN = ("truncated_call", "malformed_call", "stray_token")  # codes of a Diagnostic that make a reply malformed
Z95 = 1.959963984540054  # the standard normal's 97.5th percentile


@dataclass(frozen=True)
class RowResult:
    """One answered row. `row` counts from 1 in the run's dataset; `tolerant` and `tool` say whether the answer passes those scores.

    `differs` names the arguments that are wrong where the tool is right; `diagnostics` are the codes of what the parser refused or mended.
    """

    row: int
    request: str
    kind: str
    expected: list[dict[str, Any]]
    expected_text: str
    actual: list[dict[str, Any]]
    actual_text: str
    raw: str
    verdict: str
    tolerant: bool
    tool: bool
    differs: list[str]
    diagnostics: list[str]


def folded(value: Any) -> Any:
    """A JSON value with the case and the spaces of its strings (not of its keys) made alike."""
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, list):
        return [folded(item) for item in value]
    return {key: folded(item) for key, item in value.items()} if isinstance(value, dict) else value


def verdict(expected: Sequence[ToolCall], actual: Sequence[ToolCall], tools: Sequence[ToolSpec] = ()) -> str:
    """How the calls that were made compare with those that were expected; their order is nothing, since parallel calls have none."""
    if not expected:
        return "unexpected_call" if actual else "correct"
    wanted, made = Counter(call.name for call in expected), Counter(call.name for call in actual)
    if wanted == made:
        return "correct" if _pairs(expected, actual, tools) is None else "wrong_arguments"
    if made < wanted:
        return "missing_call"
    return "extra_call" if wanted < made else "wrong_tool"


def _pairs(expected: Sequence[ToolCall], actual: Sequence[ToolCall], tools: Sequence[ToolSpec]) -> list[tuple[ToolCall, ToolCall]] | None:
    """The expected and actual calls that are left when equal ones are taken away, paired by name in order; None if none are left."""
    left, unmatched = list(actual), []
    for call in expected:
        twin = next((i for i, other in enumerate(left) if same_call(call, other, tools)), None)
        if twin is None:
            unmatched.append(call)
        else:
            left.pop(twin)
    pairs = []
    for call in unmatched:
        other = left.pop(next(i for i, candidate in enumerate(left) if candidate.name == call.name))
        pairs.append((call, other))
    return pairs or None


def _differing(expected: Sequence[ToolCall], actual: Sequence[ToolCall], tools: Sequence[ToolSpec]) -> list[str]:
    """The names of arguments that are missing, added or not equal."""
    names: dict[str, None] = {}
    for call, other in _pairs(expected, actual, tools) or ():
        for key in [*call.arguments, *(key for key in other.arguments if key not in call.arguments)]:
            halves = [ToolCall(c.name, {key: c.arguments[key]} if key in c.arguments else {}) for c in (call, other)]
            if not same_call(*halves, tools):
                names[key] = None
    return list(names)


def judge(row: int, example: Example, tools: Sequence[ToolSpec], raw: str) -> RowResult:
    """The verdict on the answer `raw` (control tokens included) to `example`, whose declared tools are `tools`."""
    reply: Reply = parse(raw, tools)
    expected = example.calls
    actual = [ToolCall(call.name, call.arguments) for call in reply.calls]
    broken = any(diagnostic.code in BROKEN for diagnostic in reply.diagnostics)
    repaired = any(call.status == "repaired" for call in reply.calls)
    compared = verdict(expected, actual, tools)
    strict = "malformed" if broken or repaired else compared
    lenient = verdict(*([ToolCall(c.name, folded(c.arguments)) for c in calls] for calls in (expected, actual)), tools)
    refused = any(diagnostic.code in BROKEN[:2] for diagnostic in reply.diagnostics)  # a call that nobody could mend
    codes = [f"{d.code}: {d.detail}" if d.detail else d.code for d in reply.diagnostics]
    return RowResult(
        row=row, request=example.request, kind=example.kind, expected=[call.to_json() for call in expected],
        expected_text=example.reply_text, actual=[call.to_json() for call in actual], actual_text=reply.text, raw=raw, verdict=strict,
        tolerant=lenient == "correct" and not refused, tool=strict in ("correct", "wrong_arguments"),
        differs=_differing(expected, actual, tools) if compared == "wrong_arguments" else [],
        diagnostics=codes + [code for call in reply.calls for code in call.diagnostics],
    )  # fmt: skip


def wilson(right: int, rows: int) -> tuple[float, float]:
    """The 95% score interval of the share `right` of `rows` (Wilson 1927), which stays sensible for few rows and near 0 and 1."""
    if rows == 0:
        return 0.0, 1.0
    share, spread = right / rows, Z95**2 / rows
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test: how likely so lopsided a split of the rows that flipped is, were both models equally good."""
    flipped = gained + lost
    tail = sum(math.comb(flipped, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**flipped)


def _shares(results: Sequence[RowResult]) -> dict[str, Any]:
    rows = len(results) or 1
    return {
        "rows": len(results), "tool_accuracy": sum(r.tool for r in results) / rows,
        "exact_match": sum(r.verdict == "correct" for r in results) / rows, "tolerant_match": sum(r.tolerant for r in results) / rows,
    }  # fmt: skip


def _label(calls: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(sorted(call["name"] for call in calls)) or NO_CALL


@dataclass(frozen=True)
class EvalReport:
    """The answers of one model or file to the rows of one split, and what they are worth.

    Shares lie between 0 and 1; `intervals` holds [low, high] at 95% for each of the three. `by_tool` is keyed by expected tool, `by_kind`
    by single, parallel, none, answer; `confusion[expected][actual]` counts rows, with "no call" and "malformed" among the names.
    `tokens` are those that were written, None where the runtime does not tell; `seconds` are without loading the model.
    """

    on: str
    split: str
    model: str
    rows: int
    tool_accuracy: float
    exact_match: float
    tolerant_match: float
    intervals: dict[str, list[float]]
    verdicts: dict[str, int]
    by_tool: dict[str, dict[str, Any]]
    by_kind: dict[str, dict[str, Any]]
    confusion: dict[str, dict[str, int]]
    seconds: float
    tokens: int | None
    dataset_sha256: str
    created: float
    results: list[RowResult] = field(default_factory=list)

    @classmethod
    def of(cls, results: Sequence[RowResult], *, on: str, split: str, model: str, seconds: float, tokens: int | None,
           dataset_sha256: str) -> EvalReport:  # fmt: skip
        """Add up the results of rows."""
        by_tool, by_kind = defaultdict(list), defaultdict(list)
        confusion: dict[str, Counter] = defaultdict(Counter)
        for result in results:
            for name in dict.fromkeys(call["name"] for call in result.expected):
                by_tool[name].append(result)
            by_kind[result.kind].append(result)
            confusion[_label(result.expected)]["malformed" if result.verdict == "malformed" else _label(result.actual)] += 1
        shares, counts = _shares(results), Counter(result.verdict for result in results)
        right = {
            "tool_accuracy": sum(r.tool for r in results), "exact_match": counts["correct"],
            "tolerant_match": sum(r.tolerant for r in results),
        }  # fmt: skip
        return cls(
            on=on, split=split, model=model, **shares, intervals={name: list(wilson(n, len(results))) for name, n in right.items()},
            verdicts={name: counts[name] for name in VERDICTS}, by_tool={name: _shares(by_tool[name]) for name in sorted(by_tool)},
            by_kind={name: _shares(by_kind[name]) for name in sorted(by_kind)},
            confusion={name: dict(confusion[name]) for name in sorted(confusion)}, seconds=seconds, tokens=tokens,
            dataset_sha256=dataset_sha256, created=time.time(), results=list(results),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvalReport:
        """The report that `to_json` wrote. Raises RunError for anything else."""
        try:
            results = [RowResult(**{f.name: row[f.name] for f in fields(RowResult)}) for row in value["results"]]
            return cls(**{f.name: value[f.name] for f in fields(cls) if f.name != "results"}, results=results)
        except (KeyError, TypeError) as error:
            raise RunError(f"This is not an evaluation report ({error} is missing or wrong); evaluate the run again.") from error


@dataclass(frozen=True)
class Comparison:
    """Two reports on the same rows. `gained` are rows that only the second gets exactly right, `lost` those that only the first does.

    `p` is McNemar's exact p for exact match: small where luck alone would hardly flip the rows so one-sidedly.
    """

    rows: int
    before: float
    after: float
    gained: list[int]
    lost: list[int]
    p: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(before: EvalReport, after: EvalReport) -> Comparison:
    """What changed from one report to the other on the rows that both answered. Raises RunError if they share none."""
    first = {result.row: result for result in before.results}
    both = [(first[result.row], result) for result in after.results if result.row in first]
    if before.dataset_sha256 != after.dataset_sha256 or not both:
        raise RunError(f"The evaluations of {before.model} and {after.model} are not of the same rows; evaluate both on one run.")
    gained = [b.row for a, b in both if b.verdict == "correct" != a.verdict]
    lost = [b.row for a, b in both if a.verdict == "correct" != b.verdict]
    right = [sum(result.verdict == "correct" for result in side) for side in zip(*both, strict=True)]
    return Comparison(len(both), right[0] / len(both), right[1] / len(both), gained, lost, mcnemar(len(gained), len(lost)))
