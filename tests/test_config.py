"""One definition, many faces: flag, check, default, JSON."""

from __future__ import annotations

import re

import pytest

from pipeline.config import (
    BASE_DEFAULTS,
    PRESETS,
    EvalConfig,
    ExportConfig,
    TrainConfig,
    planned_steps,
    preset,
    resolve,
)
from pipeline.errors import ConfigError


@pytest.mark.parametrize("config", [TrainConfig(), EvalConfig(), ExportConfig()])
def test_defaults_pass_their_own_check_and_every_option_has_help(config):
    config.check()
    for option in config.options():
        assert option.help.endswith(".") and option.flag.startswith("--")
    assert type(config).from_json(config.to_json()) == config


@pytest.mark.parametrize(("values", "sentence"), [
    ({"learning_rate": 2.0}, "--learning-rate must be at most 1, found 2.0"),
    ({"learning_rate": float("nan")}, "--learning-rate must be a finite number"),
    ({"learning_rate": "fast"}, "--learning-rate must be a number, found 'fast'"),
    ({"num_train_epochs": True}, "--num-train-epochs must be a number, found True"),
    ({"max_steps": 1.5}, "--max-steps must be a whole number, found 1.5"),
    ({"max_steps": 0}, "--max-steps must be at least 1, found 0"),
    ({"method": "qlora"}, "--method must be one of full, lora, found 'qlora'"),
    ({"dtype": "float16"}, "--dtype must be one of auto, bfloat16, float32, found 'float16'"),
    ({"seed": None}, "--seed needs a value"),
    ({"lora_r": 8}, "--lora-r needs --method lora"),
    ({"max_steps": 0, "method": "x"}, r"--method must .*; --max-steps must"),
])
def test_a_bad_value_is_named_in_words_of_the_flag(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig.from_json(values)


def test_an_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="Unknown option 'warmup_ratio'"):
        TrainConfig.from_json({"warmup_ratio": 0.1})


@pytest.mark.parametrize(("name", "text", "value"), [
    ("learning_rate", "2e-5", 2e-5), ("learning_rate", "", None), ("max_steps", " 12 ", 12), ("method", "lora", "lora"),
    ("gradient_checkpointing", "True", True), ("gradient_checkpointing", "auto", None), ("dtype", "auto", "auto"),
])
def test_typed_text_becomes_a_value(name, text, value):
    assert TrainConfig.option(name).parse(text) == value


@pytest.mark.parametrize(("name", "text"), [
    ("learning_rate", "fast"), ("max_steps", "1.5"), ("gradient_checkpointing", "maybe"), ("seed", ""),
])
def test_text_that_stands_for_no_value_is_refused(name, text):
    with pytest.raises(ConfigError, match=re.escape(TrainConfig.option(name).flag)):
        TrainConfig.option(name).parse(text)


def test_flags_repeat_what_was_chosen_and_nothing_else():
    assert TrainConfig().to_flags() == []
    chosen = TrainConfig(method="lora", learning_rate=2e-4, gradient_checkpointing=True, max_steps=5)
    assert chosen.to_flags() == ["--method", "lora", "--max-steps", "5", "--learning-rate", "0.0002", "--gradient-checkpointing", "true"]


@pytest.mark.parametrize(("kind", "method"), list(BASE_DEFAULTS))
def test_resolving_leaves_nothing_open_and_keeps_what_was_chosen(kind, method):
    resolved = resolve(TrainConfig(method=method, seed=7), kind == "embedded", 1024)
    assert [name for name, value in resolved.to_json().items() if value is None] == ["max_steps"]
    assert resolved.seed == 7 and resolved.max_length == 1024
    assert resolved.learning_rate == BASE_DEFAULTS[kind, method]["learning_rate"]
    assert resolve(resolved, kind == "embedded", 1024) == resolved
    resolved.check()


def test_a_length_beyond_the_model_is_refused():
    with pytest.raises(ConfigError, match="--max-length must be at most 512, what this base model can read, found 2048"):
        resolve(TrainConfig(max_length=2048), True, 512)


def test_presets_change_the_epochs_only():
    epochs = [resolve(preset(name, True), True, 1024).num_train_epochs for name in PRESETS]
    assert epochs == sorted(epochs) and len(set(epochs)) == 3
    with pytest.raises(ConfigError, match="--preset must be one of"):
        preset("best", True)


@pytest.mark.parametrize(("rows", "values", "steps"), [
    (288, {}, 27), (1, {}, 3), (33, {}, 6), (288, {"gradient_accumulation_steps": 4}, 9), (288, {"max_steps": 5}, 5),
    (288, {"num_train_epochs": 0.5}, 5),
])
def test_planned_steps(rows, values, steps):
    assert planned_steps(resolve(TrainConfig(**values), False, 1024), rows) == steps
