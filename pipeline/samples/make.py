"""Writes the sample project's tools.json and examples.jsonl: `python -m pipeline.samples.make`, the same files every time.

Few ways of asking for each tool and many values, so that a held-out request is new as a whole and known in its parts: what a
model of a few million parameters can learn from 270 rows. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from pipeline import dataset, samples
from pipeline.dataset import Example, ToolDataset, example, normalised
from pipeline.tools import ToolCall, ToolSpec

SEED = 7
SINGLE = {"set_light": 60, "set_temperature": 40, "start_timer": 50, "send_message": 35, "find_phone": 10}
PARALLEL, NONE = 60, 45
REPLY = "I can't help with that."

ROOMS = ("kitchen", "bedroom", "bathroom", "hall", "office", "garage")
NAMES = ("Anna", "Omar", "Maria", "Paul", "Nina", "Tom", "Sara", "Ivan", "Emma", "Lucas")
LABELS = ("pasta", "rice", "eggs", "tea", "pizza", "bread", "soup", "coffee", "laundry", "meeting")
TEXTS = (
    "dinner is ready", "the train is late", "see you tomorrow", "call me back", "the meeting is at noon", "happy birthday",
    "the door is open", "lunch is at one", "the game starts soon", "bring some milk", "good night", "the bus is here",
)  # fmt: skip
BRIGHTNESS = (5, 10, 15, 20, 25, 30, 40, 45, 50, 60, 70, 75, 80, 90, 100)
DEGREES = (16, 17, 17.5, 18, 18.5, 19, 19.5, 20, 20.5, 21, 21.5, 22, 22.5, 23, 24.5)
MINUTES = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90)  # none that would need "an"


def _parameters(required: list[str], **properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": required}


TOOLS = (
    ToolSpec(
        "set_light",
        "Turns the light of a room on or off.",
        _parameters(
            ["room", "on"],
            room={"type": "string", "description": "The room", "enum": list(ROOMS)},
            on={"type": "boolean", "description": "True for on, false for off"},
            brightness={"type": "integer", "description": "Brightness in percent"},
        ),
    ),
    ToolSpec(
        "set_temperature",
        "Sets the temperature of a room.",
        _parameters(
            ["room", "degrees"],
            room={"type": "string", "description": "The room", "enum": list(ROOMS)},
            degrees={"type": "number", "description": "Degrees Celsius"},
        ),
    ),
    ToolSpec(
        "start_timer",
        "Starts a timer.",
        _parameters(
            ["minutes"],
            minutes={"type": "integer", "description": "Minutes to count down"},
            label={"type": "string", "description": "What the timer is for"},
        ),
    ),
    ToolSpec(
        "send_message",
        "Sends a text message.",
        _parameters(
            ["name", "text"],
            name={"type": "string", "description": "The name of the person"},
            text={"type": "string", "description": "The text of the message"},
        ),
    ),
    ToolSpec("find_phone", "Makes the phone ring, so that it can be found.", {"type": "object", "properties": {}}),
)

LIGHT = (
    "turn {on} the {room} light",
    "switch the {room} light {on}",
    "turn the {room} light {on}",
    "{room} light {on}",
)
DIMMED = (
    "turn on the {room} light at {percent} percent",
    "switch the {room} light on at {percent} percent",
    "{room} light on at {percent} percent",
)
TEMPERATURE = (
    "set the {room} to {degrees} degrees",
    "heat the {room} to {degrees} degrees",
    "make it {degrees} degrees in the {room}",
)
TIMER = ("start a {minutes} minute timer", "set a timer for {minutes} minute{s}", "start a timer for {minutes} minute{s}")
LABELLED = ("start a {minutes} minute timer for the {label}", "set a {minutes} minute timer for the {label}")
MESSAGE = ("tell {name} {text}", "text {name} {text}", "send {name} the message {text}", "message {name} {text}")
PHONE = ("find my phone", "ring my phone", "where is my phone", "locate my phone", "make my phone ring")
OPENINGS = ("", "", "", "", "please ", "can you ", "could you ", "hey, ")
JOINERS = (" and ", " and ", " and then ", ", then ")

OTHER = {  # what no tool does
    "what is the weather in {}": ("Paris", "Tokyo", "Berlin", "Madrid", "Oslo"),
    "play some {}": ("jazz", "rock music", "piano music", "pop songs", "blues"),
    "book a {}": ("flight to Rome", "table for two", "hotel in Vienna", "taxi to the airport", "ticket for the concert"),
    "who wrote {}": ("Hamlet", "the Odyssey", "Dracula", "this song", "that book"),
    "what is the capital of {}": ("France", "Japan", "Peru", "Norway", "Egypt"),
    "order a {}": ("new lamp", "birthday cake", "pair of shoes", "phone charger", "coffee machine"),
    "translate {} to French": ("good morning", "thank you", "where is the station", "I am hungry", "see you soon"),
    "tell me a {}": ("joke", "story", "riddle", "fun fact", "poem"),
    "how {}": ("tall is Mount Everest", "old is the moon", "far is the sun", "do planes fly", "deep is the ocean"),
}  # fmt: skip

QUESTIONS = ("what", "who", "how")  # "please" and "can you" go before a request only

Clause = tuple[str, ToolCall]


def light(random: Random) -> Clause:
    room, on = random.choice(ROOMS), random.random() < 0.5
    if random.random() < 0.4:
        percent = random.choice(BRIGHTNESS)
        said = random.choice(DIMMED).format(room=room, percent=percent)
        return said, ToolCall("set_light", {"room": room, "on": True, "brightness": percent})
    said = random.choice(LIGHT).format(room=room, on="on" if on else "off")
    return said, ToolCall("set_light", {"room": room, "on": on})


def temperature(random: Random) -> Clause:
    room, degrees = random.choice(ROOMS), random.choice(DEGREES)
    return random.choice(TEMPERATURE).format(room=room, degrees=degrees), ToolCall(
        "set_temperature", {"room": room, "degrees": degrees}
    )


def timer(random: Random) -> Clause:
    minutes, label = random.choice(MINUTES), random.choice(LABELS)
    if random.random() < 0.5:
        return random.choice(LABELLED).format(minutes=minutes, label=label), ToolCall(
            "start_timer", {"minutes": minutes, "label": label}
        )
    return random.choice(TIMER).format(minutes=minutes, s="" if minutes == 1 else "s"), ToolCall("start_timer", {"minutes": minutes})


def message(random: Random) -> Clause:
    name, text = random.choice(NAMES), random.choice(TEXTS)
    return random.choice(MESSAGE).format(name=name, text=text), ToolCall("send_message", {"name": name, "text": text})


def phone(random: Random) -> Clause:
    return random.choice(PHONE), ToolCall("find_phone", {})


MAKERS: dict[str, Callable[[Random], Clause]] = {
    "set_light": light, "set_temperature": temperature, "start_timer": timer, "send_message": message, "find_phone": phone,
}  # fmt: skip


def single(random: Random, tool: str) -> Example:
    """One thing asked for."""
    said, call = MAKERS[tool](random)
    return example(random.choice(OPENINGS) + said, [call])


def parallel(random: Random) -> Example:
    """Two things of different tools asked for at once; a message comes last, since nothing marks where its text would end."""
    first, second = random.sample(list(MAKERS), 2)
    if first == "send_message":
        first, second = second, first
    (said, call), (also, other) = MAKERS[first](random), MAKERS[second](random)
    return example(random.choice(OPENINGS) + said + random.choice(JOINERS) + also, [call, other])


def none(random: Random) -> Iterator[Example]:
    """Requests that no tool serves."""
    for template, values in OTHER.items():
        openings = ("", "", "hey, ") if template.startswith(QUESTIONS) else OPENINGS
        for value in values:
            yield example(random.choice(openings) + template.format(value), reply=REPLY)


def make(seed: int = SEED) -> ToolDataset:
    """The sample project: no request twice, in an order that mixes the kinds."""
    random = Random(seed)
    examples: dict[str, Example] = {}

    def collect(draw: Callable[[], Example], count: int) -> None:
        wanted = len(examples) + count
        while len(examples) < wanted:
            row = draw()
            examples.setdefault(normalised(row.request), row)

    for tool, count in SINGLE.items():
        collect(lambda tool=tool: single(random, tool), count)
    collect(lambda: parallel(random), PARALLEL)
    replies = none(random)
    collect(lambda: next(replies), NONE)
    rows = list(examples.values())
    random.shuffle(rows)
    return ToolDataset(TOOLS, tuple(rows))


if __name__ == "__main__":
    dataset.save(make(), samples.FOLDER)
