"""What a training looks like, from records alone: nothing a stranger wrote becomes markup, long curves stay readable."""

from __future__ import annotations

import pytest

from pipeline.runs import Sample, StepLog
from pipeline.ui import train_view, work_view

EVIL = '<img src=x onerror="alert(1)">'


def log(steps: int) -> list[StepLog]:
    return [StepLog(step, steps, loss=1 / step, eval_loss=0.5 if step % 10 == 0 else None, memory=1_500_000_000) for step in range(1, steps + 1)]


def test_a_curve_keeps_its_ends_and_every_validation_point():
    rows = train_view.curve(log(5_003))
    training = [row["step"] for row in rows if row["of"] == "training"]
    assert len(training) <= train_view.POINTS + 1
    assert (training[0], training[-1]) == (1, 5_003)
    assert training == sorted(training)
    assert len([row for row in rows if row["of"] == "validation"]) == 500


def test_a_short_curve_is_drawn_whole():
    assert [row["step"] for row in train_view.curve(log(7))] == [1, 2, 3, 4, 5, 6, 7]
    assert train_view.curve([]) == []


def test_facts_are_the_newest_of_each_with_units():
    entries = [*log(30), StepLog(31, 40, examples_per_second=31.52, eta=70.0)]
    facts = dict(train_view.step_facts(entries))
    assert facts["Step"] == "31 of 40"
    assert facts["Speed"] == "31.5 examples/s"
    assert facts["Time left"] == "about 1 min"
    assert facts["Memory"] == "1.5 GB"
    assert facts["Loss, validation"] == "0.500"
    assert train_view.step_facts([]) == []


def test_answers_show_request_wanted_and_what_came_each_epoch():
    wanted = "<start_function_call>call:set_light{on:true}<end_function_call><start_function_response>"
    shown = train_view.trials([Sample(3, 1, "light on", wanted, "No.<end_of_turn>"), Sample(6, 2, "light on", wanted, wanted)])
    assert shown.count("light on") == 1, "one card a request"
    assert "as wanted" in shown and "epoch 2" in shown and "epoch 1" in shown
    assert shown.index("epoch 2") < shown.index("epoch 1"), "the newest answer first"


def test_an_answer_that_cannot_be_read_is_not_taken_for_words():
    wanted = "<start_function_call>call:f{}<end_function_call><start_function_response>"
    shown = train_view.trials([Sample(1, 1, "r", wanted, "<start_function_call>call:f{a:<escape>x")])
    assert "cannot be read" in shown and "differs" in shown


def test_text_of_strangers_never_becomes_markup():
    shown = train_view.trials([Sample(1, 1, EVIL, EVIL, EVIL)]) + work_view.headline(EVIL, EVIL) + work_view.bar(0.5, EVIL)
    assert "<img" not in shown and "&lt;img" in shown


@pytest.mark.parametrize(("number", "words"), [(900, "900 bytes"), (9_100_000, "9.1 MB"), (292_000_000, "292 MB"), (1_530_000_000, "1.5 GB")])
def test_sizes(number, words):
    assert work_view.size(number) == words


@pytest.mark.parametrize(("fraction", "percent"), [(-1, 0), (0.333, 33), (7, 100)])
def test_a_bar_stays_within_its_bounds(fraction, percent):
    assert f'aria-valuenow="{percent}"' in work_view.bar(fraction, "x")
