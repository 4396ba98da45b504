"""Where a part of a text stands, and the text with another value there, its comments kept."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from foreshock_server.rules.own.places import Place, place_of, with_value

TEXT = """# what we saw in March
id: falls
matches:
  - {statistic: reward, place: "a.b"}  # only there
detector:
  kind: threshold  # a line
  below: 0.3
for_steps: 5
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (["id"], (2, 1)),
        (["matches", 0], (4, 5)),
        (["matches", 0, "place"], (4, 25)),
        (["detector", "threshold", "below"], (7, 3)),  # pydantic names the kind, which the text does not
        (["detector", "gone"], (5, 1)),
        ([], (2, 1)),
    ],
)
def test_a_path_leads_to_a_line(path, place):
    assert place_of(TEXT, path) == Place(*place)


def test_no_yaml_has_no_place():
    assert place_of("a: [", ["a"]) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["detector", "below"], 0.25),
        (["detector", "median"], 5),
        (["id"], "a: b # c"),
        (["matches", 0, "place"], "x"),
        (["matches", 0, "rank"], "3"),
        (["for_steps"], 0),
        (["warmup_steps"], 100),
        (["severity"], "critical"),
    ],
)
def test_a_value_is_exchanged_where_it_stands(path, value):
    changed = with_value(TEXT, path, value)
    wanted = yaml.safe_load(TEXT)
    inner = wanted
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    assert yaml.safe_load(changed) == wanted
    assert [line for line in TEXT.splitlines() if "#" in line and path != ["id"]] == [
        line for line in changed.splitlines() if "#" in line and path != ["id"]
    ] or path[0] == "matches"
    assert changed.startswith("# what we saw in March")


def test_what_cannot_be_exchanged_is_written_anew():
    changed = with_value(TEXT, ["detector"], {"kind": "spike", "z": 8})
    assert yaml.safe_load(changed)["detector"] == {"kind": "spike", "z": 8}
    assert yaml.safe_load(changed)["for_steps"] == 5


def test_nothing_takes_a_key_away():
    assert "for_steps" not in yaml.safe_load(with_value(TEXT, ["for_steps"], None))
    assert yaml.safe_load(with_value(TEXT, ["gone"], None)) == yaml.safe_load(TEXT)


def test_an_empty_text_gets_its_first_line():
    assert yaml.safe_load(with_value("", ["detector", "below"], 1)) == {"detector": {"below": 1}}


@pytest.mark.parametrize("text", ["a\x85b", "\x85", "\u2028", "x\u2029"])
def test_what_breaks_a_line_only_in_yaml_is_read_back(text):
    assert yaml.safe_load(with_value("a: 1\nb: [2]\n", ["a"], text)) == {"a": text, "b": [2]}
    assert yaml.safe_load(with_value("a: 1\nb: [2]\n", ["b"], {"c": text})) == {"a": 1, "b": {"c": text}}


SCALARS = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.booleans())


@given(
    st.dictionaries(st.sampled_from("abc"), SCALARS | st.dictionaries(st.sampled_from("de"), SCALARS)),
    SCALARS,
    st.booleans(),
)
def test_whatever_stands_there_the_new_value_is_read_back(data, value, flow):
    text = yaml.safe_dump(data, default_flow_style=flow or None, allow_unicode=True)
    data = yaml.safe_load(text)  # the library writes a next-line character that it reads back as a space
    assert yaml.safe_load(with_value(text, ["a"], value)) == {**data, "a": value}
    inner = data.get("b") if isinstance(data.get("b"), dict) else {}
    assert yaml.safe_load(with_value(text, ["b", "d"], value)) == {**data, "b": {**inner, "d": value}}
