"""What an evaluation looks like: one large line, tables, and rows with the differences marked. HTML from reports, nothing decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.evaluate import Comparison, EvalReport, RowResult
from pipeline.ui.state import percent
from pipeline.ui.widgets import count, esc, value_text

VERDICTS = {
    "correct": "right",
    "wrong_arguments": "right tool, wrong arguments",
    "wrong_tool": "wrong tool",
    "missing_call": "a call is missing",
    "extra_call": "a call too many",
    "unexpected_call": "calls where words were wanted",
    "malformed": "cannot be read",
}
FILTERS = (("All, failures first", "all"), ("Wrong", "wrong"), ("Became right", "gained"), ("Became wrong", "lost"))
AT_FIRST, MOST_ROWS = 10, 200
"""Rows that are open, and shown at all: more make the page long and slow on a phone. The filter gets at the others."""


def headline(base: EvalReport | None, tuned: EvalReport, change: Comparison | None) -> str:
    """Base -> tuned as one large line, and what it means in words."""
    low, high = tuned.intervals["exact_match"]
    right = tuned.verdicts["correct"]
    words = f"Of {count(tuned.rows, 'request')} that training never saw, the tuned model answers {right} exactly as wanted"
    words += f", the base model {base.verdicts['correct']}. " if base else ". "
    words += f"For requests of this kind expect {percent(low)} to {percent(high)} (95% interval). " if tuned.rows else ""
    if change:
        words += _flips(change)
    return (
        f'<div class="score">{_line("exact match", base, tuned, "exact_match", "big")}'
        f"{_line('right tool', base, tuned, 'tool_accuracy')}{_line('forgiving case and spaces', base, tuned, 'tolerant_match')}"
        f'<p class="means">{esc(words)}</p></div>'
    )


def _line(name: str, base: EvalReport | None, tuned: EvalReport, key: str, kind: str = "") -> str:
    def one(report: EvalReport) -> str:
        low, high = report.intervals[key]
        return f'<b>{percent(getattr(report, key))}</b> <small title="95% interval">{percent(low)}-{percent(high)}</small>'

    before = f'<span class="from">{one(base)}</span> <span class="arrow" aria-label="to">→</span> ' if base else ""
    line = f'{before}<span class="to">{one(tuned)}</span>'
    return f'<div class="score-line {kind}"><span class="name">{esc(name)}</span><span>{line}</span></div>'


def files(scored: Sequence[tuple[EvalReport, Comparison]]) -> str:
    """Exported files on the same rows, each compared with the tuned model; nothing where none was scored."""
    rows = []
    for report, change in scored:
        cells = "".join(
            f"<td class=num>{percent(getattr(report, key))} <small>{percent(low)}-{percent(high)}</small></td>"
            for key in ("exact_match", "tool_accuracy", "tolerant_match")
            for low, high in (report.intervals[key],)
        )
        moved = f"{len(change.gained)} became right, {len(change.lost)} wrong" if change.gained or change.lost else "the same rows right"
        rows.append(f"<tr><td><code>{esc(report.model)}</code></td>{cells}<td>{moved}</td></tr>")
    numbers = "".join(f"<th class=num>{name}</th>" for name in ("exact match", "right tool", "forgiving"))
    head = f"<th>File</th>{numbers}<th>against the tuned model</th>"
    return _table("Exported files, on the same rows", head, rows) if rows else ""


def _flips(change: Comparison) -> str:
    if not change.gained and not change.lost:
        return "No answer changed between right and wrong."
    words = f"{count(len(change.gained), 'answer')} became right, {len(change.lost)} became wrong"
    if change.p < 0.05:
        return f"{words}: more than luck (p {_p(change.p)})."
    return f"{words}: with so few rows that may be luck (p {_p(change.p)}); hold out more examples to know."


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"= {value:.2g}"


def by_tool(base: EvalReport | None, tuned: EvalReport) -> str:
    """Right tool and exact match of each expected tool, the weakest first."""
    reports = [report for report in (base, tuned) if report]
    names = sorted(tuned.by_tool, key=lambda name: (tuned.by_tool[name]["exact_match"], name))
    rows = []
    for name in names:
        cells = "".join(
            f"<td class=num>{percent(report.by_tool[name][key])}</td>" if name in report.by_tool else "<td class=num></td>"
            for key in ("tool_accuracy", "exact_match")
            for report in reports
        )
        rows.append(f"<tr><td><code>{esc(name)}</code></td><td class=num>{tuned.by_tool[name]['rows']}</td>{cells}</tr>")
    who = ["base", "tuned"][2 - len(reports) :]
    head = "".join(f"<th class=num>{esc(key)}, {one}</th>" for key in ("right tool", "exact") for one in who)
    return _table("Tools, the weakest first", f"<th>Tool</th><th class=num>Rows</th>{head}", rows)


def verdicts(base: EvalReport | None, tuned: EvalReport) -> str:
    """How many answers got which verdict."""
    reports = [report for report in (base, tuned) if report]
    rows = [
        f"<tr><td>{esc(words)}</td>{''.join(f'<td class=num>{report.verdicts[name]}</td>' for report in reports)}</tr>"
        for name, words in VERDICTS.items()
        if any(report.verdicts[name] for report in reports)
    ]
    return _table("Verdicts", f"<th>Answer</th>{'<th class=num>Base</th>' if base else ''}<th class=num>Tuned</th>", rows)


def confusion(report: EvalReport) -> str:
    """Which tool was called where which was wanted: the diagonal is right."""
    wanted = list(report.confusion)
    called = sorted({name for row in report.confusion.values() for name in row}, key=lambda name: (name not in wanted, name))
    rows = []
    for name in wanted:
        total = sum(report.confusion[name].values())
        cells = "".join(_cell(report.confusion[name].get(other, 0), total, name == other) for other in called)
        rows.append(f"<tr><th scope=row><code>{esc(name)}</code></th>{cells}</tr>")
    head = "".join(f"<th class=num><code>{esc(other)}</code></th>" for other in called)
    return _table("Wanted (down) against called (across), tuned", f"<th></th>{head}", rows, "confusion")


def _cell(number: int, total: int, right: bool) -> str:
    if not number:
        return '<td class="num zero">0</td>'
    return f'<td class="num {"hit" if right else "miss"}" style="--share:{number / total:.2f}">{number}</td>'


def _table(title: str, head: str, rows: Sequence[str], kind: str = "") -> str:
    return (
        f'<section><h3 class="section">{esc(title)}</h3><div class="scroll" tabindex="0"><table class="plain {kind}"><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


# -- the rows


def tools_of(report: EvalReport) -> list[tuple[str, str]]:
    """Choices for the filter: every tool that was wanted or called."""
    names = {call["name"] for row in report.results for call in (*row.expected, *row.actual)}
    return [("All tools", ""), *((name, name) for name in sorted(names))]


def chosen(base: EvalReport | None, tuned: EvalReport, which: str, tool: str) -> list[tuple[RowResult, RowResult | None]]:
    """The rows of the filter as (tuned, base), failures first, then those that the base had wrong."""
    before = {row.row: row for row in base.results} if base else {}
    pairs = [(row, before.get(row.row)) for row in tuned.results]
    keep = {
        "all": lambda now, then: True,
        "wrong": lambda now, then: now.verdict != "correct",
        "gained": lambda now, then: then is not None and now.verdict == "correct" != then.verdict,
        "lost": lambda now, then: then is not None and then.verdict == "correct" != now.verdict,
    }[which]
    pairs = [pair for pair in pairs if keep(*pair) and (not tool or tool in {c["name"] for c in (*pair[0].expected, *pair[0].actual)})]
    return sorted(pairs, key=lambda pair: (pair[0].verdict == "correct", pair[1] is None or pair[1].verdict == "correct", pair[0].row))


def rows(pairs: Sequence[tuple[RowResult, RowResult | None]]) -> str:
    """Request, expected, base's and tuned's answer of every row, with what differs marked."""
    if not pairs:
        return '<p class="note">No row fits this filter.</p>'
    some, rest = pairs[:AT_FIRST], pairs[AT_FIRST:MOST_ROWS]
    more = f'<details class="more"><summary>{count(len(rest), "more row")}</summary>{_answers(rest)}</details>' if rest else ""
    words = f"The first {MOST_ROWS} of {len(pairs):,} rows; the filter shows the others."
    return _answers(some) + more + (f'<p class="note">{words}</p>' if len(pairs) > MOST_ROWS else "")


def _answers(pairs: Sequence[tuple[RowResult, RowResult | None]]) -> str:
    with_base = any(then for _, then in pairs)
    body = "".join(
        f'<tr><td class="request"><span class="quiet">{now.row}</span> {esc(now.request)}</td>{_td("Expected", _wanted(now))}'
        f"{_td('Base', _answer(then) if then else '') if with_base else ''}{_td('Tuned', _answer(now))}</tr>"
        for now, then in pairs
    )
    head = f"<th>Request</th><th>Expected</th>{'<th>Base</th>' if with_base else ''}<th>Tuned</th>"
    table = f'<table class="plain answers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _td(name: str, content: str) -> str:
    """A cell that carries its column's name, for phones, where a row is a card."""
    return f'<td data-label="{name}">{content}</td>'


def _wanted(row: RowResult) -> str:
    return "".join(_call(call, (), ()) for call in row.expected) or f'<span class="said">{esc(row.expected_text)}</span>'


def _answer(row: RowResult) -> str:
    names = [call["name"] for call in row.expected]
    parts = [_call(call, row.differs, names) for call in row.actual]
    missing = [name for name in row.differs if not any(name in call["arguments"] for call in row.actual)]
    if missing:
        parts.append(f'<span class="quiet">without <mark>{esc(", ".join(missing))}</mark></span>')
    if row.verdict == "malformed":
        parts.append(f'<code class="raw">{esc(row.raw[:300])}</code>')
    elif row.actual_text.strip():
        parts.append(f'<span class="said">{esc(row.actual_text.strip())}</span>')
    good = row.verdict == "correct"
    return "".join(parts) + f'<div class="mark-{"good" if good else "bad"}">{esc(VERDICTS[row.verdict])}</div>'


def _call(call: Mapping[str, Any], differs: Iterable[str], names: Sequence[str]) -> str:
    """`name(argument="value")`; marked are arguments that differ and, if `names` is given, a tool that was not wanted."""
    pairs = ", ".join(
        f"<mark><i>{esc(key)}</i>={esc(value_text(value))}</mark>" if key in differs else f"<i>{esc(key)}</i>={esc(value_text(value))}"
        for key, value in call["arguments"].items()
    )
    strange = names and call["name"] not in names
    name = f"<mark>{esc(call['name'])}</mark>" if strange else esc(call["name"])
    return f'<code class="call-line"><b>{name}</b>({pairs})</code>'
