"""Synthetic function calling: random tool sets, and requests whose right calls are known because both are made together.

`World(seed)` draws tool sets; `World.row(tools)` draws a request with its calls. Every tenth (verb, noun) pair is held out: a world
made with `held_out=True` draws its tools from those pairs only, so that a model is measured on tools whose names it never saw.

Knows nothing of tokens or models. All of it is invented here (vocabulary.py); no data set was used.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import Any

from . import vocabulary as V

CONSONANTS, VOWELS = "b c d f g h j k l m n p r s t v w z st br cl dr gr kn pl sh th tr".split(), "a e i o u ai ee oo ou".split()
SPECIAL_VALUES = ("{w}@{v}.com", "www.{w}.org", "{h}:{m}", "20{h}-0{d}-{m}", "{w}.pdf", "{w}_{v}.txt", "{W}{d}{h}", "#{w}", "{h}/{m}",
                  "{w}-{v}", "{W} {d}.{d}", "v{d}.{h}")  # fmt: skip
#: Kind of parameter -> its names and what is known of each.
TABLES = {"text": V.TEXT_PARAMETERS, "integer": V.INTEGER_PARAMETERS, "number": V.NUMBER_PARAMETERS, "boolean": V.BOOLEAN_PARAMETERS,
          "enum": V.ENUMS, "list": V.LIST_PARAMETERS}  # fmt: skip
#: How an argument is derived from what was said, where it is not a copy; the description says it, so it can be known.
CONVENTIONS = {
    "capitalised": ("{}, first letter capitalised", "capitalised {}", "{} with a capital letter"),
    "title_case": ("{} in Title Case", "{}, every word capitalised"),
    "first_word": ("the first word, capitalised",),
    "rest": ("the rest of the text, capitalised",),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a synthetic tool and how requests speak of it."""

    name: str
    kind: str  # text | integer | number | boolean | enum | list
    base: str  # the key in the vocabulary that its phrases come from
    schema: dict[str, Any]
    required: bool
    values: tuple[str, ...] = ()
    convention: str = ""


@dataclass(frozen=True)
class Tool:
    """A synthetic tool: its declaration and the words that requests use for it."""

    spec: dict[str, Any]
    verb: str
    noun: str
    says: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()

    @property
    def name(self) -> str:
        return self.spec["function"]["name"]


@dataclass(frozen=True)
class Row:
    """One request and what a right answer is: calls as (name, arguments), or a reply in words when there are none."""

    request: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reply: str = ""

    def completion(self) -> dict[str, Any]:
        """The assistant message, in the shape of the OpenAI and TRL formats."""
        if not self.calls:
            return {"role": "assistant", "content": self.reply}
        calls = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in self.calls]
        return {"role": "assistant", "tool_calls": calls}


@dataclass(frozen=True)
class Mix:
    """How often requests take which form; shares of all rows, clauses, sets or values, as the names say."""

    no_call: float
    single: float
    double: float  # the rest asks for three things
    noun_only: float  # "lights on", where the verb is left out
    verb_only: float  # "rename it to ...", where the noun is
    value_first: float
    parameters: tuple[int, ...]  # weights of 0, 1, 2, ... parameters
    shared: tuple[str, ...]  # what the tools of a set may have in common
    special: float
    number_words: float
    phrase_forms: float  # "with NAME VALUE" beside the forms that the parameter has of its own


#: Everything at once: teaches the model to look closely, and asks what few people would say.
WIDE = Mix(0.08, 0.76, 0.14, 0.12, 0.12, 0.04, (8, 42, 30, 15, 5), ("noun", "verb", "", "", ""), 0.07, 0.12, 0.35)
#: Nearer to how people talk to an app.
PLAIN = Mix(0.08, 0.80, 0.11, 0.04, 0.04, 0.01, (12, 50, 28, 8, 2), ("noun", "verb", "", "", "", "", "", ""), 0.04, 0.06, 0.2)


def is_held_out(verb: str, noun: str) -> bool:
    """Whether tools with this verb and noun are kept from training (a tenth, by checksum: the same in every process)."""
    return zlib.crc32(f"{verb} {noun}".encode()) % 10 == 0


class World:
    """A seeded source of tool sets and requests."""

    def __init__(self, seed: int, mix: Mix = PLAIN, held_out: bool = False):
        self.random = random.Random(seed)
        self.mix = mix
        self.held_out = held_out

    # ------------------------------------------------------------------ words and values

    def invented(self) -> str:
        r = self.random
        syllables = [r.choice(CONSONANTS) + r.choice(VOWELS) for _ in range(r.choice((1, 2, 2, 3)))]
        return "".join(syllables) + r.choice(("", "", "n", "r", "x", "s"))

    def _word(self) -> str:
        r, u = self.random, self.random.random()
        if u < 0.45:
            return r.choice(V.WORDS)
        if u < 0.57:
            return r.choice(V.NOUNS)
        if u < 0.66:
            return r.choice(V.FIRST_NAMES)
        if u < 0.74:
            return r.choice(V.PLACES)
        if u < 0.80:
            return r.choice(V.ADJECTIVES)
        if u < 0.85:
            return str(r.randint(0, 10 ** r.randint(1, 4)))
        return self.invented()

    def _text(self, longest: int = 4) -> str:
        r = self.random
        if r.random() < self.mix.special:
            fill = {"w": self.invented(), "v": r.choice(V.NOUNS), "W": self.invented().upper(), "h": r.randint(10, 23),
                    "m": r.randint(10, 59), "d": r.randint(1, 9)}  # fmt: skip
            return r.choice(SPECIAL_VALUES).format(**fill)
        words = [self._word() for _ in range(min(longest, r.choice((1, 1, 1, 2, 2, 3, 3, 4, 5))))]
        u = r.random()
        if u < 0.30:
            words = [w.capitalize() for w in words]
        elif u < 0.50:
            words[0] = words[0].capitalize()
        elif u < 0.54:
            words = [w.upper() for w in words]
        return " ".join(words) + (r.choice("!?.") if r.random() < 0.03 else "")

    # ------------------------------------------------------------------ tools

    def tool_set(self, size: int) -> list[Tool]:
        """`size` tools that a request can always be told apart by."""
        r, tools = self.random, []
        shared = r.choice(self.mix.shared) if size > 1 else ""
        verb = noun = None
        while len(tools) < size:
            pair = self._pair(verb if shared == "verb" else None, noun if shared == "noun" else None)
            if pair is None or any(self._confusable(pair, (t.verb, t.noun)) for t in tools):
                if r.random() < 0.1:
                    shared = ""
                continue
            verb, noun = pair
            tools.append(self._tool(verb, noun))
        if len({t.name for t in tools}) < size:
            return self.tool_set(size)
        return tools

    def _pair(self, verb: str | None, noun: str | None) -> tuple[str, str] | None:
        r = self.random
        if noun is None and r.random() < 0.12:
            noun = self.invented()
        verb, noun = verb or r.choice(list(V.VERBS)), noun or r.choice(V.NOUNS)
        return (verb, noun) if is_held_out(verb, noun) == self.held_out else None

    @staticmethod
    def _confusable(a: tuple[str, str], b: tuple[str, str]) -> bool:
        return a[1] == b[1] and bool(set(V.VERBS[a[0]]) & set(V.VERBS[b[0]])) or a == b

    def _tool(self, verb: str, noun: str) -> Tool:
        r = self.random
        adjective = r.choice(V.ADJECTIVES)
        name = r.choices(
            (f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{verb}_{adjective}_{noun}", f"{noun}_{verb}", f"{noun}.{verb}",
             f"{verb.capitalize()}{noun.capitalize()}", f"app_{verb}_{noun}"), (55, 20, 6, 7, 4, 4, 4))[0]  # fmt: skip
        description = r.choice((
            f"{verb.capitalize()}s the {noun}", f"{verb} a {noun} for the user", f"Use this to {r.choice(V.VERBS[verb])} the {noun}.",
            f"{verb.capitalize()} {noun}.", f"{r.choice(V.VERBS[verb]).capitalize()} the {adjective} {noun}.",
            f"{verb.capitalize()}s the {noun} of the app with the given values.", f"Lets the user {r.choice(V.VERBS[verb])} a {noun}.",
        ))  # fmt: skip
        if r.random() < 0.05:
            parameters = self._heading_and_body(noun)
        else:
            parameters = self._parameters(noun)
        schema: dict[str, Any] = {"type": "object", "properties": {p.name: p.schema for p in parameters}}
        required = [p.name for p in parameters if p.required]
        if required:
            schema["required"] = required
        spec = {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
        return Tool(spec, verb, noun, tuple(V.VERBS[verb]), tuple(parameters))

    def _parameters(self, noun: str) -> list[Parameter]:
        r, chosen = self.random, {}
        for _ in range(r.choices(range(5), self.mix.parameters)[0]):
            p = self._parameter(noun)
            chosen.setdefault(p.base, p)
        unique = {p.name: p for p in chosen.values()}
        return list(unique.values())

    def _parameter(self, noun: str) -> Parameter:
        r = self.random
        kind = r.choices(("text", "integer", "number", "boolean", "enum", "list"), (50, 13, 8, 9, 17, 3))[0]
        base = r.choice(list(TABLES[kind]))
        name = r.choices((base, f"{noun}_{base}", f"{noun}{base.capitalize()}", f"new_{base}", f"{base}_value"), (76, 10, 6, 4, 4))[0]
        about = r.choice((f"the {base} of the {noun}", f"The {base}", f"{base.capitalize()} of the {noun}", f"The {base} to use",
                          f"the {base}", f"The new {base} of the {noun}"))  # fmt: skip
        values, convention, schema = (), "", {"type": {"text": "string", "enum": "string", "list": "array"}.get(kind, kind)}
        if kind == "enum":
            pool = V.ENUMS[base] if r.random() < 0.75 else [self.invented() for _ in range(6)]
            values = tuple(r.sample(pool, min(len(pool), r.randint(2, 6))))
            if r.random() < 0.7:
                schema["enum"] = list(values)
            else:
                about += f" ({', '.join(values)})"
        elif kind == "text" and r.random() < 0.2:
            convention = r.choice(("capitalised", "capitalised", "title_case"))
            about = r.choice(CONVENTIONS[convention]).format(about)
        elif kind == "list":
            schema["items"] = {"type": "string"}
        return Parameter(name, kind, base, {**schema, "description": about}, r.random() < 0.75, values, convention)

    def _heading_and_body(self, noun: str) -> list[Parameter]:
        """Two texts made of one phrase: its first word, and the rest of it."""
        r = self.random
        names = r.choice((("title", "message"), ("heading", "text"), ("subject", "body"), ("label", "content")))
        out = []
        for name, convention in zip(names, ("first_word", "rest"), strict=True):
            about = f"The {name} of the {noun}: {CONVENTIONS[convention][0]}"
            out.append(Parameter(name, "text", name, {"type": "string", "description": about}, True, (), convention))
        return out

    # ------------------------------------------------------------------ requests

    def row(self, tools: list[Tool]) -> Row:
        """A request about `tools`: one call, two or three calls, or none."""
        r, u = self.random, self.random.random()
        if u < self.mix.no_call:
            return Row(self._polish(self._unrelated(tools)), reply=r.choice(V.REFUSALS))
        one = self.mix.no_call + self.mix.single
        count = 1 if u < one else 2 if u < one + self.mix.double else 3
        lower = r.random() < 0.12
        clauses, calls = [], []
        for _ in range(count):
            tool = r.choice(tools)
            clause, arguments = self._clause(tool, tools, short=count > 1)
            clauses.append(clause.lower() if lower else clause)
            copied = {p.name for p in tool.parameters if p.kind in ("text", "list") and not p.convention}
            calls.append((tool.name, {k: _lower(v) if lower and k in copied else v for k, v in arguments.items()}))
        text = clauses[0]
        for clause in clauses[1:]:
            text += r.choice(V.JOINERS) + clause
        return Row(self._polish(text), calls)

    def _polish(self, text: str) -> str:
        r = self.random
        text = r.choice(V.OPENINGS) + text
        if r.random() < 0.10:
            text += (", " if r.random() < 0.4 else " ") + r.choice(V.CLOSINGS)
        if r.random() < 0.2:
            text = text[0].upper() + text[1:]
        return text + (r.choice(".!?") if r.random() < 0.08 else "")

    def _unrelated(self, tools: list[Tool]) -> str:
        r = self.random
        if r.random() < 0.5:
            return r.choice(V.CHATTER).format(self._word())
        nouns = {t.noun for t in tools}
        while True:
            noun, verb = r.choice(V.NOUNS), r.choice(list(V.VERBS))
            if noun not in nouns and verb not in {t.verb for t in tools}:
                return self._clause(self._tool(verb, noun), [], short=True)[0]

    def _clause(self, tool: Tool, tools: list[Tool], short: bool) -> tuple[str, dict[str, Any]]:
        """One thing asked for, in words, and the arguments it means."""
        r = self.random
        mentioned = [p for p in tool.parameters if p.required or r.random() < 0.5]
        arguments: dict[str, Any] = {}
        if any(p.convention == "first_word" for p in mentioned):
            words = [r.choice((r.choice(V.WORDS), r.choice(V.NOUNS), self.invented())) for _ in range(r.randint(2, 5))]
            arguments = {p.name: " ".join(words[:1] if p.convention == "first_word" else words[1:]).capitalize() for p in mentioned}
            return f"{r.choice(tool.says)} {r.choice(('', '', f'{tool.noun} ', f'a {tool.noun} '))}" + " ".join(words), arguments
        used: set[str] = set()
        phrases = []
        for p in mentioned:
            phrase, arguments[p.name] = self._phrase(p, used, short or len(mentioned) > 1)
            phrases.append(phrase)
        if len(phrases) > 1 and r.random() < 0.3:
            tail = phrases[1:]
            r.shuffle(tail)
            phrases[1:] = tail
        says = r.choice(tool.says)
        noun = r.choice(("the ", "the ", "a ", "my ", "", "")) + tool.noun
        others = [t for t in tools if t is not tool]
        distinct_noun = all(t.noun != tool.noun for t in others)
        distinct_verb = not any(set(t.says) & set(tool.says) for t in others)
        u = r.random()
        if u < self.mix.noun_only and phrases and distinct_noun and tools:
            head = r.choice((tool.noun, f"the {tool.noun}", f"{tool.noun}s"))
        elif u < self.mix.noun_only + self.mix.verb_only and phrases and distinct_verb and tools:
            head = says + r.choice(("", "", " it"))
        elif u < self.mix.noun_only + self.mix.verb_only + self.mix.value_first and phrases and tools:
            return f"{' '.join(phrases)}, {says} {noun}", arguments
        else:
            head = f"{says} {noun}"
        return " ".join([head, *phrases]), arguments

    def _phrase(self, p: Parameter, used: set[str], short: bool) -> tuple[str, Any]:
        """How one argument is said, and its value."""
        r = self.random
        if p.kind == "boolean":
            value = r.random() < 0.5
            return r.choice(V.BOOLEAN_PARAMETERS[p.base][0 if value else 1]), value
        said, value = self._value(p, short)
        word = p.base.replace("_", " ")
        own = {"color": ["{}", "to {}", "in {}"], "room": ["in the {}", "of the {}", "for the {}"], "day": ["on {}", "for {}"]}
        if p.kind == "enum":
            options = own.get(p.base, ["{}", "to {}", f"{word} {{}}", f"in {{}} {word}", f"with {word} {{}}", "as {}"])
        else:
            options = TABLES[p.kind][p.base]
        if r.random() < self.mix.phrase_forms:
            options = [*options, f"{word} {{}}", f"{word}: {{}}", f"with {word} {{}}", f"with {{}} as {word}"]
        free = [t for t in options if t.split("{")[0] not in used]
        template = r.choice(free or [f"with {word} {{}}"])
        used.add(template.split("{")[0])
        if p.kind == "text" and not p.convention and r.random() < 0.12:
            said = r.choice(('"{}"', "'{}'", '"{}"')).format(said)
        return template.format(said), value

    def _value(self, p: Parameter, short: bool) -> tuple[str, Any]:
        r = self.random
        if p.kind == "enum":
            value = r.choice(p.values)
            return (value.capitalize() if r.random() < 0.08 else value), value
        if p.kind == "integer":
            if r.random() < self.mix.number_words:
                value = r.randint(0, 20)
                return V.NUMBER_WORDS[value], value
            value = r.randint(0, 10 ** r.choice((1, 2, 2, 3, 4)))
            return str(value), value
        if p.kind == "number":
            value = r.choice((r.randint(0, 200), round(r.uniform(0, 100), 1), round(r.uniform(0, 1000), 2), r.randint(10, 30) + 0.5))
            return repr(value), value
        if p.kind == "list":
            items = list(dict.fromkeys(self._text(1) for _ in range(r.randint(1, 3))))
            return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1], items
        text = self._text(3 if short else 5)
        if p.convention:
            words = text.split(" ")
            said = text.lower() if r.random() < 0.7 else text
            return said, " ".join(w.capitalize() for w in words) if p.convention == "title_case" else text.lower().capitalize()
        return text, text


def _lower(value: Any) -> Any:
    return [v.lower() for v in value] if isinstance(value, list) else value.lower()
