"""How a run is written as Parquet: one row per reading (of a vector: per entry), and the rest as JSON beside the schema.

Any reader of Parquet has the readings at once; the key `foreshock` of the file's metadata holds what `describe` (records.py) says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from foreshock_server.errors import Invalid

FORMAT = 1  # of files; a later release reads earlier ones
ABOUT = b"foreshock"  # the key of the file's metadata
MEDIA_TYPE = "application/vnd.apache.parquet"

_WORD = pa.dictionary(pa.int32(), pa.string())
WORDS = ("run", "key", "statistic", "family", "place", "labels", "unit", "dtype", "writer")
SCHEMA = pa.schema(
    [
        ("run", _WORD),
        ("key", _WORD),
        ("statistic", _WORD),
        ("family", _WORD),
        ("place", _WORD),
        ("labels", _WORD),  # a JSON object
        ("unit", _WORD),
        ("dtype", _WORD),  # f32 | f64: how the value was measured
        ("attempt", pa.int32()),
        ("writer", _WORD),
        ("step", pa.int64()),
        ("time", pa.float64()),  # seconds since 1970, UTC
        ("entry", pa.int32()),  # 0, 1, … of a vector; null: a number
        ("value", pa.float64()),  # NaN and infinities as they were; a reading that does not exist has no row
    ]
)


def with_about(about: Mapping[str, Any]) -> pa.Schema:
    """The schema of a file about this run."""
    return SCHEMA.with_metadata({ABOUT: json.dumps(about, ensure_ascii=False).encode()})


def about_of(schema: pa.Schema, name: str) -> dict[str, Any]:
    """What a file says about its run; Invalid when it is not a file of ours."""
    found = (schema.metadata or {}).get(ABOUT)
    if found is None:
        raise Invalid(f"{name} was not written by `foreshock export`: it lacks the description of a run.")
    about: dict[str, Any] = json.loads(found)
    if about.get("format") != FORMAT:
        raise Invalid(
            f"{name} has format {about.get('format')!r}, and this release reads {FORMAT}; install a later release of Foreshock."
        )
    missing = [field.name for field in SCHEMA if field.name not in schema.names]
    if missing:
        raise Invalid(f"{name} lacks the column {', '.join(missing)}; export the run again.")
    return about
