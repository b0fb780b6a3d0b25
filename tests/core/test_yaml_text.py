"""YAML that two readers take for two values is refused in one line, and so is what has no end."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bench.core.errors import BenchError
from bench.core.registries import DATASETS, DETECTORS, MATCHERS
from bench.core.validation import Spec, validate
from bench.core.yaml_text import MAX_DEPTH, read_yaml
from bench.data.dataset import parse_options
from bench.data.reading import NoData


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("off", "off"), ("n", "n"), ("true", True), ("FALSE", False), ("null", None), ("", None),
        ("2020-01-01", "2020-01-01"), ("08", "08"), ("0", 0), ("-12", -12), ("0x1F", 31), ("1.50", 1.5), ("'010'", "010"),
        (".5", 0.5), ("1e3", "1e3"), ("=", "="), ("-.inf", -math.inf), ("{no: 1}", {"no": 1}),
        ("- &a {x: 1}\n- {<<: *a, y: 2}", [{"x": 1}, {"x": 1, "y": 2}]),
    ],
)  # fmt: skip
def test_what_is_certain_is_read(text: str, value: Any) -> None:
    assert read_yaml(text, "it") == value
    assert type(read_yaml(text, "it")) is type(value)


LAUGHS = "- &a0 [" + "1," * 10 + "]\n" + "".join(f"- &a{i + 1} [{f'*a{i},' * 10}]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 010", "it: 010 is one number in YAML 1.1"),
        ("a: 1\nb: -017", "it line 2, column 4: -017 is one number"),
        ("1:30", "1:30 is one number"),
        ("190:20:30.15", "190:20:30.15 is a number in YAML 1.1 and a text in 1.2"),
        ("1_000", "1_000 is one number"),
        ("1_0.5", "1_0.5 is a number in YAML 1.1"),
        ("0b101", "0b101 is one number"),
        ("!!int 010", "010 is one number"),
        ("9" * 5000, "not valid YAML: Exceeds the limit"),
        ("{null: 1}", "key 'null' is no text"),
        ("{1: 1}", "key '1' is no text"),
        ("? [a]\n: b", "a key is a text"),
        ("{a: 1, a: 2}", "key 'a' stands twice"),
        ('"x\\ud800y"', "a text with a character that no file can hold"),
        ('{"\\udc00": 1}', "a text with a character that no file can hold"),
        ('"a\\0b"', "a text with a character that no file can hold"),
        ("x\udcff", "not valid YAML: unacceptable character"),
        ("&x {a: *x}", "*x stands inside itself"),
        ("[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ("{a: " * 3000, f"nested deeper than {MAX_DEPTH} levels"),
        ("- &a " + "[" * 30 + "]" * 30 + "\n- " + "[" * 30 + "*a" + "]" * 30, f"nested deeper than {MAX_DEPTH} levels"),
        (LAUGHS, "more than 250,000 values"),
        ("!!binary aGk=", "not valid YAML: could not determine a constructor"),
        ("!!set {a, b}", "not valid YAML"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_what_is_not_certain_is_refused_in_one_line(text: str, wanted: str) -> None:
    with pytest.raises(BenchError) as error:
        read_yaml(text, "it")
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("{}[]&*!:-?|>'\"\\\n 0123456789_.~"), max_size=40))
def test_any_text_is_a_value_or_an_error_in_one_line(text: str) -> None:
    try:
        read_yaml(text, "it")
    except BenchError as error:
        assert "\n" not in str(error)


# -- values that pydantic would take for numbers -----------------------------------------------------------------------
class Part(Spec):
    share: float = 0.5


class Whole(Spec):
    count: int = 1
    rate: float | None = None
    many: tuple[int, ...] = ()
    of: dict[str, float] = {}
    parts: dict[str, Part] = {}
    switch: bool = False
    either: Annotated[int | Literal["all"], Field()] = "all"
    nodata: NoData = None
    anything: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"count": True}, "count"),
        ({"rate": False}, "rate"),
        ({"rate": math.inf}, "rate"),
        ({"rate": "nan"}, "rate"),
        ({"many": [1, True]}, "many.1"),
        ({"of": {"a": True}}, "of.a"),
        ({"parts": {"a": {"share": True}}}, "parts.a.share"),
        ({"parts": {"a": {"share": -math.inf}}}, "parts.a.share"),
        ({"either": True}, "either"),
    ],
)
def test_truths_and_infinities_are_no_numbers(written: dict[str, Any], place: str) -> None:
    with pytest.raises(BenchError, match=f"^it: {place}: .*no number|^it: {place}: .*not finite"):
        validate(Whole, written, "it")
    with pytest.raises(BenchError, match=f"^it, option {place}: "):
        parse_options(Whole, written, "it")


def test_what_is_meant_as_it_is_written_passes() -> None:
    written = {"switch": True, "nodata": -math.inf, "anything": {"a": True, "b": math.inf}, "count": 2, "rate": 3}
    read = validate(Whole, written, "it")
    assert (read.switch, read.nodata, read.anything, read.rate) == (True, "-inf", written["anything"], 3.0)


def test_every_number_of_every_component_refuses_a_truth() -> None:
    seen = 0
    for registry in (MATCHERS, DETECTORS, DATASETS):
        for name in registry.names():
            options = registry.get(name).Options
            needed = {field: "x" for field, info in options.model_fields.items() if info.is_required()}
            for field, info in options.model_fields.items():
                if info.annotation not in (int, float, int | None, float | None):
                    continue
                seen += 1
                with pytest.raises(BenchError, match=field):
                    validate(options, {**needed, field: True}, name)
                with pytest.raises(BenchError, match=field):
                    validate(options, {**needed, field: math.inf}, name)
    assert seen > 100
