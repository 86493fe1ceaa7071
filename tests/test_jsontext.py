"""JSON whose values survive, or are refused with a reason."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jsontext import MAX_DEPTH, JsonTextError, dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES, st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_a_value_comes_back_with_its_types(value, indent):
    assert repr(loads(dumps(value, indent))) == repr(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "broken JSON"), ("{", "broken JSON at column"), ('{\n"a": }', "line 2 column 6"), ("NaN", "NaN"), ("[-Infinity]", "-Infinity"),
        ("1e400", "larger than a number"), ("-1e400", "larger than a number"), ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("9" * 4301, "4300 digits"), ('"\\udc00"', "surrogate"), ('{"\\ud800": 1}', "surrogate"), ("[" * 65 + "]" * 65, "deeper than 64"),
        ("[" * 100_000, "deeper than 64|broken"), ("{'a': 1}", "broken JSON"), ("1 2", "broken JSON"),
    ],
)  # fmt: skip
def test_what_is_not_json_says_why(text, why):
    with pytest.raises(JsonTextError, match=why):
        loads(text)


def test_the_bounds_themselves_are_fine():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert dumps(loads(deep)) == deep
    assert loads("9" * 4300) == int("9" * 4300)
    with pytest.raises(JsonTextError, match="4300"):
        dumps(10**4301)
    for value in (float("nan"), {1: 2}, {1}, b"x", "\ud83d"):
        with pytest.raises(JsonTextError):
            dumps(value)


def test_deep_text_does_not_end_the_process_where_a_library_has_raised_the_recursion_limit():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        for text in ("[" * 99_000, '{"a":' * 99_000, '"' + "\\\\" * 9 + '[', "[" * 99_000 + '"' + '\\"' * 99_000):
            with pytest.raises(JsonTextError):
                loads(text)
        assert loads('["' + "[" * 99_000 + '"]')[0].count("[") == 99_000  # in a string they nest nothing
    finally:
        sys.setrecursionlimit(before)
