"""A block in JSON as a JSON Schema, for the OpenAPI document: what schema.py checks, as far as a schema can say it."""

from __future__ import annotations

from typing import Any

from foreshock_server.ingest import decode
from foreshock_server.ingest.schema import FURTHEST, LONGEST_KEY, LONGEST_LABEL, WAYS

_MOST = 2**53
_NUMBER = {"oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": _PRINTABLE}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


_SERIES = {
    "type": "object",
    "required": ["key", "statistic", "family", "dtype"],
    "properties": {
        "key": {**_text(LONGEST_KEY, 1), "description": "statistic, or statistic{label=value,…}, labels by name"},
        "statistic": _text(LONGEST_LABEL, 1),
        "family": _text(100),
        "place": {**_text(LONGEST_LABEL), "description": "the same as the label `place`"},
        "labels": {"type": "object", "maxProperties": 64, "additionalProperties": _text(LONGEST_LABEL)},
        "unit": _text(40),
        "dtype": {"enum": ["f32", "f64"]},
        "about": {
            "type": "object",
            "description": "title, source, low, high, merge, weight, layout: what a person or a rule must know of it",
            "properties": {
                "merge": {"enum": list(WAYS)},
                "layout": {
                    "type": "object",
                    "description": "in place of merge, where ranks share rows: of those of one part and shard one counts",
                    "required": ["part", "merge"],
                    "properties": {
                        "part": _whole(0, 2**31),
                        "merge": {"enum": list(WAYS)},
                        "weight": _text(LONGEST_LABEL),
                        "columns": {"enum": list(WAYS)},
                        "shard": _whole(0, 2**31),
                        "shards": _whole(1, 2**31),
                        "width": _whole(0, _MOST),
                    },
                },
            },
        },
    },
}  # fmt: skip

_ROWS = {
    "type": "object",
    "required": ["frame", "steps", "times", "values"],
    "properties": {
        "frame": _whole(1, 2**31),
        "steps": {
            "type": "array", "minItems": 1, "items": _whole(-_MOST, _MOST), "description": "they do not go back",
        },
        "times": {"type": "array", "items": {"type": "number", "minimum": -FURTHEST, "maximum": FURTHEST}, "description": "seconds since 1970, UTC; one per step"},
        "values": {"type": "array", "items": _NUMBER, "description": "row by row: every series of the frame at a step"},
        "absent": {"type": "array", "items": _whole(0, _MOST), "description": "places in `values` without a reading"},
    },
}  # fmt: skip

_BLOCK = {
    "type": "object",
    "title": "Block",
    "description": "Some consecutive steps of one writer.",
    "required": ["v", "attempt", "writer", "seq"],
    "properties": {
        "v": {"const": 1},
        "attempt": _whole(1, 2**31),
        "writer": _text(64, 1),
        "seq": _whole(1, _MOST),
        "frames": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["frame", "series"],
                "properties": {
                    "frame": _whole(1, 2**31),
                    "series": {"type": "array", "minItems": 1, "items": _SERIES},
                },
            },
        },
        "rows": {"type": "array", "items": _ROWS},
        "dropped": _whole(0, _MOST),
        "lost": {"type": "object", "maxProperties": 64, "additionalProperties": _whole(0, _MOST)},
        "cost": {"type": "object", "maxProperties": 64, "additionalProperties": {"type": "number", "minimum": 0}},
    },
}  # fmt: skip

REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            decode.JSON: {"schema": _BLOCK},
            decode.MSGPACK: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
