"""How a dataset is shown: health line, tool cards, the table of examples, one example with its coloured prompt. HTML from data.

It reads no files and changes nothing; what is wrong with a row is decided in pipeline.dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from pipeline.dataset import Example, statistics
from pipeline.errors import PipelineError
from pipeline.importers import ImportReport
from pipeline.ui import tokens
from pipeline.ui.state import Known
from pipeline.ui.widgets import (
    bars,
    call_line,
    count,
    empty,
    esc,
    facts,
    issue_list,
    legend,
    token_text,
    tool_card,
)

PAGE_ROWS = 15
EVERY_TOOL, NO_CALL = "Every tool", "No call"
EVERY_ROW, MUST_FIX, LOOK, FINE = "Every row", "Must fix", "Worth a look", "No problem"
EVERY_SPLIT, TRAIN, TEST = "Train and held out", "Train", "Held out"


@dataclass(frozen=True)
class Filter:
    """Which rows are shown: text in the request or answer, a tool, a problem, a split."""

    text: str = ""
    tool: str = EVERY_TOOL
    problem: str = EVERY_ROW
    split: str = EVERY_SPLIT

    @classmethod
    def of(cls, *values: Any) -> Filter:
        """What a browser sent for the four fields; whatever is no text counts as not chosen."""
        chosen = zip(fields(cls), values, strict=True)
        return cls(*(value if isinstance(value, str) else field.default for field, value in chosen))

    def rows(self, known: Known) -> list[int]:
        """Indices (from 0) of the rows that pass, in order."""
        return [index for index, example in enumerate(known.dataset.examples) if self._passes(known, index, example)]

    def _passes(self, known: Known, index: int, example: Example) -> bool:
        calls = example.calls
        if self.tool == NO_CALL and calls or self.tool not in (EVERY_TOOL, NO_CALL) and all(c.name != self.tool for c in calls):
            return False
        if self.split != EVERY_SPLIT and (example.split == "test") != (self.split == TEST):
            return False
        if self.problem != EVERY_ROW and self.problem != worst(known, index):
            return False
        wanted = self.text.casefold().strip()
        return not wanted or any(wanted in text.casefold() for text in _texts(example))


def _texts(example: Example) -> Iterator[str]:
    yield example.request
    yield example.reply_text
    yield from (call.display() for call in example.calls)


def worst(known: Known, index: int) -> str:
    """MUST_FIX, LOOK or FINE: the gravest problem of a row."""
    severities = {issue.severity for issue in known.of_row(index)}
    return MUST_FIX if "error" in severities else LOOK if severities else FINE


def health(known: Known) -> str:
    """Examples per tool as bars, what is held out, duplicates, and problems counted; the counts filter the table."""
    numbers = statistics(known.dataset)
    per_tool = dict(numbers["by_tool"])
    if silent := sum(not example.calls for example in known.dataset.examples):
        per_tool["no call"] = silent
    chips = [_count_chip(known.must_fix, MUST_FIX, "must"), _count_chip(known.worth_a_look, LOOK, "look")]
    if numbers["duplicates"]:
        twins = count(numbers["duplicates"], "duplicate")
        confirm = f"Remove {twins}? They repeat an earlier row word for word."
        chips.append(f'<button type="button" class="chip" data-pick="duplicates" data-confirm="{confirm}">Remove {twins}</button>')
    split = numbers["by_split"]
    words = f"{split['train'] + split['none']:,} to train on, {split['test']:,} held out for the test."
    if known.must_fix:
        words += " Rows that must be fixed stop the training; choose the count to see them."
    general = issue_list([issue for issue in known.issues if issue.row is None], 3)
    return (
        f'<div class="health">{bars(per_tool)}<div class="verdict"><div class="counts">{"".join(chips)}</div>'
        f'<p class="quiet">{words}</p>{general}</div></div>'
    )


def _count_chip(number: int, name: str, kind: str) -> str:
    state = f'class="chip {kind}"' if number else 'class="chip" disabled'
    return f'<button type="button" {state} data-pick="{name}">{number:,} {name.lower()}</button>'


def tool_cards(known: Known | None) -> str:
    """The tools, or what will be here."""
    if known is None:
        return empty("No tools yet", "A tool is a function of your app that the model may call. Import a description, or add one.")
    cards = []
    for tool in known.dataset.tools:
        issues = [issue for issue in known.tool_issues if (issue.field or "").split(".")[0] == tool.name]
        cards.append(tool_card(tool, known.calls[tool.name], tokens.cost(tool), issues))
    return f'<div class="tools">{"".join(cards)}</div>'


def table(known: Known | None, wanted: Filter, page: int, chosen: int | None) -> str:
    """One page of the rows that pass the filter; a row's button opens it in its place."""
    if known is None:
        return empty("No examples yet", "An example is something a person says, and the call it should lead to. First add a tool.")
    if not known.dataset.examples:
        return empty("No examples yet", "An example is something a person says, and the call it should lead to. Import some, or write one.")
    rows = wanted.rows(known)
    if not rows:
        return empty("No row fits", "Change the search or the filters above.")
    pages = (len(rows) - 1) // PAGE_ROWS + 1
    page = max(0, min(page, pages - 1))
    lines = "".join(_line(known, index, index == chosen) for index in rows[page * PAGE_ROWS : (page + 1) * PAGE_ROWS])
    first, last = page * PAGE_ROWS + 1, min(len(rows), (page + 1) * PAGE_ROWS)
    return (
        '<div class="scroll"><table class="rows"><thead><tr><th class="num">Row</th><th>Request</th><th>Answer</th>'
        f'<th class="split">Split</th></tr></thead><tbody>{lines}</tbody></table></div>'
        f'<div class="pager"><span>{first:,} to {last:,} of {len(rows):,}</span>'
        f"{_turn('Previous', page - 1, page == 0)}{_turn('Next', page + 1, page == pages - 1)}</div>"
    )


def _turn(word: str, page: int, disabled: bool) -> str:
    return f'<button type="button" class="link" data-pick="page:{page}" {"disabled" if disabled else ""}>{word}</button>'


def _line(known: Known, index: int, chosen: bool) -> str:
    example = known.dataset.examples[index]
    state, split = worst(known, index), "held out" if example.split == "test" else "train"
    mark = {MUST_FIX: '<span class="mark must">must fix</span>', LOOK: '<span class="mark look">worth a look</span>', FINE: ""}[state]
    answer = "".join(call_line(call.name, call.arguments) for call in example.calls) or esc(example.reply_text) or "<i>nothing</i>"
    opened = f'<tr class="opened"><td colspan="4"><div>{details(known, index)}</div></td></tr>' if chosen else ""
    return (
        f'<tr class="{"chosen" if chosen else ""}"><td class="num"><div>{index + 1:,}</div></td>'
        f'<td><button type="button" data-pick="row:{index}" aria-expanded="{str(chosen).lower()}">'
        f'{esc(example.request) or "<i>empty</i>"} {mark}</button></td>'
        f'<td><div>{answer}</div></td><td class="split"><div class="quiet">{split}</div></td></tr>{opened}'
    )


def details(known: Known, index: int) -> str:
    """One row: what was said before, what is wrong with it, and its prompt as the model reads it."""
    example = known.dataset.examples[index]
    earlier = "".join(
        f'<p class="quiet">{esc(message.get("role", "?"))}: {esc(_said_in(message))}</p>' for message in example.prompt[:-1]
        if message.get("role") not in ("developer", "system")
    )  # fmt: skip
    return (
        '<div class="answer"><div class="row-actions">'
        f'<button type="button" class="link" data-event="edit" data-pick="{index}">Edit</button>'
        f'<button type="button" class="link" data-event="delete" data-pick="{index}" data-confirm="Delete row {index + 1}?">Delete</button>'
        "</div>"
        f"{issue_list(known.of_row(index))}{earlier}{_painted(known, example)}</div>"
    )


def _said_in(message: dict) -> str:
    calls = message.get("tool_calls") or []
    return str(message.get("content") or ", ".join(str(call.get("function", {}).get("name")) for call in calls))


def _painted(known: Known, example: Example) -> str:
    try:
        pieces = tokens.of_example(example, known.dataset.tools_of(example))
    except PipelineError as problem:
        return f'<p class="note bad">{esc(problem)}</p>'
    learned = sum(piece[2] for piece in pieces)
    numbers = f"{count(len(pieces), 'token')}, {learned:,} of them learned."
    return f'<p class="section">What the model reads</p>{token_text(pieces)}{legend()}<p class="quiet">{numbers}</p>'


def report(result: ImportReport) -> str:
    """What an import read, changed and refused; the counts add up."""
    cells = (("rows read", result.read), ("imported", result.imported), ("of these changed", result.changed), ("refused", result.refused))
    close = '<button type="button" class="link" data-pick="close">Close this report</button>'
    return f"{facts((name, f'{number:,}') for name, number in cells)}{issue_list(result.issues, 12)}<p>{close}</p>"
