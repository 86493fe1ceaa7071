"""A model's reply read back: text, calls, and everything that was refused or cut, with the place where it broke.

Two layers. `StreamParser` cuts the reply at its control tokens into text and call blocks, whatever the chunks it came in;
functiongemma_values.py reads one block. The policy is that of ../shared/format/FORMAT.md, sections 6 and 7. `parse` is the stream
parser fed once. Linear time, at most 64 levels deep.

Text inside <escape> is always a string here: turning "42" into a number is a step for whoever knows the schema, and reports itself.
Knows tools by name only, and nothing of how a prompt is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.functiongemma_values import Found, read_block
from pipeline.tools import CONTROL_TOKENS

ESCAPE = "<escape>"
START_CALL, END_CALL = "<start_function_call>", "<end_function_call>"
END_OF_TURN, START_RESPONSE = "<end_of_turn>", "<start_function_response>"
# Where a reply is over, and what is said of text that comes after.
_STOPS = {
    START_RESPONSE: "content_after_response_token",
    END_OF_TURN: "content_after_end_of_turn",
    "<eos>": "content_after_end_of_turn",
}
_HARMLESS_AFTER_STOP = {*_STOPS, "<pad>"}
_TAGS = frozenset(CONTROL_TOKENS)
_TAG_STARTS = frozenset(tag[:n] for tag in _TAGS for n in range(1, len(tag)))
_LONGEST_TAG = max(map(len, _TAGS))
_UNTAGGED = "call:"


@dataclass(frozen=True)
class Diagnostic:
    """Something in a reply that is not passed on.

    `code` is truncated_call, malformed_call, stray_token, content_after_response_token or content_after_end_of_turn; `detail` narrows it
    down ("unterminated_string", "missing_colon", or the token); `message` is the sentence for a person; `raw` is the refused text;
    `position` is the character of the reply where it broke, from 0; `expected` is what should have stood there.
    """

    code: str
    detail: str
    raw: str
    position: int
    expected: str = ""
    message: str = ""


@dataclass(frozen=True)
class Call:
    """A call that can be executed: `ok` as the template writes it, `repaired` with the codes of what was tolerated.

    The code "unknown_tool" alone leaves a call `ok`: it is well-formed, and whether it may run is the executor's decision.
    `position` is the character of the reply where `raw` starts.
    """

    name: str
    arguments: dict[str, Any]
    status: Literal["ok", "repaired"]
    diagnostics: tuple[str, ...]
    raw: str
    position: int


@dataclass(frozen=True)
class Reply:
    """A parsed model output: `text` verbatim without control tokens and calls, both lists in the order of the output."""

    text: str
    calls: tuple[Call, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def parse(text: str | None, tools: Iterable[Any] | None = None) -> Reply:
    """Read a whole reply, control tokens included (decoded with skip_special_tokens=False).

    With `tools` (dicts with a name, wrapped in "function" or not, or ToolSpecs) calls of any other name carry "unknown_tool".
    Never raises: what cannot be read is a Diagnostic. None, as the content of a message without words, is an empty reply.
    """
    parser = StreamParser(tools)
    parser.feed(text or "")
    return parser.close()


@dataclass
class _Open:
    """A call block whose end has not come yet."""

    start: int
    tagged: bool
    pieces: list[str] = field(default_factory=list)
    in_string: bool = False
    broken: bool = False  # an <escape> where no string can start: the call is refused, and its end is the next end tag
    last: str = ""  # the last visible thing outside strings: a character, or <escape> for a string's end

    def add(self, text: str) -> None:
        self.pieces.append(text)
        if not self.in_string and (visible := text.rstrip()):
            self.last = visible[-1]

    def escape(self) -> None:
        self.pieces.append(ESCAPE)
        if self.in_string:
            self.in_string, self.last = False, ESCAPE
        elif self.last and self.last in "{[:,]}" or self.last == ESCAPE:
            self.in_string = not self.broken
        else:
            self.broken = True


class StreamParser:
    """Reads a reply in pieces; the result is the same however it was cut.

    `feed` returns what has become certain: pieces of text (str), Calls and Diagnostics, in order. A call is certain at its end tag. What
    might be the start of a control token is held back until the next piece, and a reply that starts with "call:" until its end, because it
    is a call without its start tag only if nothing else comes. `close` ends the reply and returns the whole.
    """

    def __init__(self, tools: Iterable[Any] | None = None):
        self._known = None if tools is None else {_tool_name(tool) for tool in tools}
        self._held = ""  # the start of a control token, perhaps
        self._position = 0
        self._open: _Open | None = None
        self._undecided = True  # nothing but whitespace and perhaps the start of "call:" has come
        self._start: list[str] = []
        self._seen = ""  # the same without the whitespace before it
        self._replay: list[tuple[str, int]] = []  # an untagged block's pieces, should it be text after all
        self._ended = False  # the untagged block has met its end tag
        self._stopped: tuple[str, int] | None = None  # the stop's code, and where the text after it starts
        self._after: list[str] = []
        self._events: list[str | Call | Diagnostic] = []
        self._text: list[str] = []
        self._calls: list[Call] = []
        self._diagnostics: list[Diagnostic] = []

    def feed(self, chunk: str) -> list[str | Call | Diagnostic]:
        """Takes the next piece of the reply; returns what it made certain."""
        data, at, offset = self._held + chunk, 0, self._position - len(self._held)
        self._held = ""
        while at < len(data):
            start = data.find("<", at)
            if start != at:
                self._take(data[at : start if start >= 0 else None], offset + at)
                at = start if start >= 0 else len(data)
                continue
            end = data.find(">", at, at + _LONGEST_TAG) + 1
            if end and data[at:end] in _TAGS:
                self._take(data[at:end], offset + at, tag=True)
                at = end
            elif not end and len(data) - at < _LONGEST_TAG and data[at:] in _TAG_STARTS:
                self._held = data[at:]
                break
            else:
                self._take("<", offset + at)
                at += 1
        self._position += len(chunk)
        events, self._events = self._events, []
        return events

    def close(self) -> Reply:
        """Ends the reply. An open call is refused as truncated, or accepted with "missing_end_tag" if its braces are balanced."""
        if self._held:
            self._take(self._held, self._position - len(self._held))
            self._held = ""
        if self._undecided:
            self._settle_as_text()
        while self._open:  # twice where an untagged block turns out to be text, with a tagged one in it
            self._finish("")
        if self._stopped and self._after:
            code, at = self._stopped
            raw = "".join(self._after)
            at, raw = at + len(raw) - len(raw.lstrip()), raw.lstrip()
            token = "the place of the function's result" if code == "content_after_response_token" else "the end of the turn"
            message = f"Text goes on after {token}; it is not read."
            self._refuse(Diagnostic(code, "text_after_stop", raw, at, "the end of the reply", message))
            self._after = []
        return Reply("".join(self._text), tuple(self._calls), tuple(self._diagnostics))

    # -- one piece of text or one control token

    def _take(self, piece: str, at: int, tag: bool = False) -> None:
        if self._undecided:
            self._decide(piece, at, tag)
        elif self._open and not self._open.tagged:
            self._take_untagged(piece, at, tag)
        elif self._open:
            self._take_block(piece, at, tag)
        elif self._stopped:
            self._take_after_stop(piece, tag)
        elif not tag:
            self._say(piece)
        elif piece == START_CALL:
            self._open = _Open(at, tagged=True)
        elif piece in _STOPS:
            self._stopped = (_STOPS[piece], at + len(piece))
        else:
            message = f"The control token {piece} stands where none belongs."
            self._refuse(Diagnostic("stray_token", piece, piece, at, "text, a call or the end of the reply", message))

    def _decide(self, piece: str, at: int, tag: bool) -> None:
        """The start of a reply: whitespace and "call:" may begin a call that lost its start tag."""
        if tag:
            self._settle_as_text()
            self._take(piece, at, tag)
            return
        self._start.append(piece)
        self._seen = self._seen + piece if self._seen else piece.lstrip()
        if self._seen.startswith(_UNTAGGED):
            self._undecided = False
            self._open = _Open(0, tagged=False)
            self._take_untagged("".join(self._start), 0, False)
        elif not _UNTAGGED.startswith(self._seen):
            self._settle_as_text()

    def _settle_as_text(self) -> None:
        self._undecided = False
        if self._start:
            self._say("".join(self._start))

    def _take_untagged(self, piece: str, at: int, tag: bool) -> None:
        block = self._open
        self._replay.append((piece, at))
        if self._ended:
            if tag and piece in _STOPS:
                self._finish(piece, at)
            elif tag or piece.strip():
                self._give_up_untagged()
        elif not tag:
            block.add(piece)
        elif piece == ESCAPE:
            block.escape()
        elif block.in_string:
            block.add(piece)
        elif piece == END_CALL:
            self._ended = True
        elif piece in _STOPS:
            self._finish(piece, at)
        else:
            self._give_up_untagged()

    def _give_up_untagged(self) -> None:
        """It was text that only began like a call. Happens once in a reply, so the time stays linear."""
        pieces, self._replay = self._replay, []
        self._open, self._ended = None, False
        for piece, at in pieces:
            self._take(piece, at, tag=piece in _TAGS)

    def _take_block(self, piece: str, at: int, tag: bool) -> None:
        block = self._open
        if not tag:
            block.add(piece)
        elif piece == ESCAPE:
            block.escape()
        elif block.in_string:
            block.add(piece)
        else:
            self._finish(piece, at)
            if piece != END_CALL:
                self._take(piece, at, tag)

    def _take_after_stop(self, piece: str, tag: bool) -> None:
        if self._after or not (piece in _HARMLESS_AFTER_STOP if tag else not piece.strip()):
            self._after.append(piece)
        else:
            code, at = self._stopped
            self._stopped = (code, at + len(piece))

    # -- results

    def _finish(self, ended_by: str, at: int = 0) -> None:
        """The open block is complete: `ended_by` is the token at `at` that showed it, "" at the end of the reply."""
        block, self._open = self._open, None
        body, closed = "".join(block.pieces), ended_by == END_CALL or self._ended
        raw = START_CALL * block.tagged + body + END_CALL * closed
        inner = block.start + len(START_CALL) * block.tagged
        found, broken = read_block(body, closed, block.tagged)
        if not block.tagged:
            if broken:
                self._give_up_untagged()
                return
            self._replay, self._ended = [], False
            if ended_by:
                self._stopped = (_STOPS[ended_by], at + len(ended_by))
        for call in found:
            alone = len(found) == 1 and not broken
            self._call(call, raw if alone else body[call.start : call.end], block.start if alone else inner + call.start)
        if broken:
            refused = body[broken.start :] + END_CALL * closed if found else raw
            self._refuse(Diagnostic(broken.code, broken.detail, refused, inner + broken.position, broken.expected, broken.sentence))

    def _call(self, found: Found, raw: str, at: int) -> None:
        unknown = self._known is not None and found.name not in self._known
        codes = (*found.codes, "unknown_tool") if unknown else tuple(found.codes)
        call = Call(found.name, found.arguments, "repaired" if found.codes else "ok", codes, raw, at)
        self._calls.append(call)
        self._events.append(call)

    def _say(self, text: str) -> None:
        self._text.append(text)
        self._events.append(text)

    def _refuse(self, diagnostic: Diagnostic) -> None:
        self._diagnostics.append(diagnostic)
        self._events.append(diagnostic)


def _tool_name(tool: Any) -> Any:
    if hasattr(tool, "name"):
        return tool.name
    return (tool.get("function") or tool).get("name")
