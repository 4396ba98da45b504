"""The server's answer, JSON or Arrow -> one or more series as numpy columns, and from there pandas, polars or Arrow."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

ARROW = "application/vnd.apache.arrow.stream"


def needs(module: str, what: str) -> Any:
    """The module, or an ImportError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(
            f"{what} needs {package}: pip install {package}, or pip install 'foreshock[notebook]'"
        ) from error


@dataclass(frozen=True)
class Column:
    """The readings of one series, by (attempt, step). NaN is a reading."""

    key: str
    place: str
    unit: str
    steps: NDArray[np.int64]
    times: NDArray[np.float64]  # seconds since the epoch, UTC
    values: NDArray[np.float64]
    attempts: NDArray[np.int32]


class SeriesView:
    """Readings of one series, or of one statistic at several places one after the other.

    Every form has the same columns: key, place, step, time, value, attempt.
    """

    def __init__(self, columns: Sequence[Column], of: str = "") -> None:
        self._columns = list(columns)
        self._of = of

    @property
    def keys(self) -> list[str]:
        """The series in it."""
        return [column.key for column in self._columns]

    @property
    def unit(self) -> str:
        """The unit of the values; empty where there is none, or more than one."""
        units = {column.unit for column in self._columns}
        return units.pop() if len(units) == 1 else ""

    @property
    def steps(self) -> NDArray[np.int64]:
        """The step of each reading."""
        return _joined([column.steps for column in self._columns], np.int64)

    @property
    def times(self) -> NDArray[np.float64]:
        """When each reading was taken: seconds since the epoch, UTC."""
        return _joined([column.times for column in self._columns], np.float64)

    @property
    def values(self) -> NDArray[np.float64]:
        """The readings; NaN and infinities are there as they were read."""
        return _joined([column.values for column in self._columns], np.float64)

    @property
    def attempts(self) -> NDArray[np.int32]:
        """Which life of the run each reading is from."""
        return _joined([column.attempts for column in self._columns], np.int32)

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas frame in long form; key and place are categories."""
        pd = needs("pandas", "to_pandas()")
        codes = self._codes()
        frame: pandas.DataFrame = pd.DataFrame(
            {
                "key": pd.Categorical.from_codes(codes, self.keys),
                "place": pd.Categorical(np.array([c.place for c in self._columns], object)[codes]),
                **self._numbers(),
            }
        )
        return frame

    def to_polars(self) -> polars.DataFrame:
        """A polars frame in long form; NaN stays NaN and is not null."""
        pl = needs("polars", "to_polars()")
        codes = self._codes()
        frame: polars.DataFrame = pl.DataFrame(
            {
                name: pl.Series(name, words, dtype=pl.String).gather(codes).cast(pl.Categorical)
                for name, words in self._names()
            }
            | self._numbers()
        )
        return frame

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table in long form; NaN stays NaN and is not null."""
        pa = needs("pyarrow", "to_arrow()")
        names = {
            name: pa.DictionaryArray.from_arrays(self._codes(), pa.array(words, pa.string()))
            for name, words in self._names()
        }
        return pa.table({**names, **{name: pa.array(one) for name, one in self._numbers().items()}})

    def _codes(self) -> NDArray[np.int32]:
        return np.repeat(np.arange(len(self._columns), dtype=np.int32), [len(c.steps) for c in self._columns])

    def _names(self) -> list[tuple[str, list[str]]]:
        return [("key", self.keys), ("place", [column.place for column in self._columns])]

    def _numbers(self) -> dict[str, NDArray[Any]]:
        return {"step": self.steps, "time": self.times, "value": self.values, "attempt": self.attempts}

    def __iter__(self) -> Iterator[SeriesView]:
        """Each series by itself."""
        return (SeriesView([column], self._of) for column in self._columns)

    def __len__(self) -> int:
        """How many readings."""
        return sum(len(column.steps) for column in self._columns)

    def __repr__(self) -> str:
        what = self.keys[0] if len(self._columns) == 1 else f"{len(self._columns)} series"
        values, steps = self.values, self.steps
        parts = [f"{len(values):,} readings"]
        if len(values):
            parts.append(f"steps {steps.min():,} to {steps.max():,}")
            if len(self._columns) == 1:
                parts.append(f"last {values[-1]:.6g}")
        if odd := int(np.count_nonzero(~np.isfinite(values))):
            parts.append(f"{odd:,} not finite")
        unit = f" [{self.unit}]" if self.unit else ""
        return f"<{what}{unit}{f' of {self._of}' if self._of else ''}: {', '.join(parts)}>"


def from_json(body: bytes, places: Mapping[str, str]) -> list[Column]:
    """The columns of a JSON answer."""
    columns = []
    for one in json.loads(body)["series"]:
        steps = np.asarray(one["steps"], np.int64)
        begins = [life["from"] for life in one["attempts"]]
        lives = np.asarray([life["attempt"] for life in one["attempts"]], np.int32)
        columns.append(
            Column(
                one["key"],
                places[one["key"]],
                one["unit"],
                steps,
                np.asarray(one["times"], np.float64),
                np.asarray(one["values"], np.float64),  # float("NaN") is what the text says
                np.repeat(lives, np.diff([*begins, len(steps)])),
            )
        )
    return columns


def from_arrow(body: bytes, places: Mapping[str, str], units: Mapping[str, str]) -> list[Column]:
    """The columns of an Arrow stream, which has one batch per series; a series without readings has an empty one."""
    ipc = needs("pyarrow.ipc", "reading Arrow")
    found: dict[str, list[Any]] = {}
    for batch in ipc.open_stream(body):
        for key in batch.column("key").unique().to_pylist():
            found.setdefault(key, []).append(batch)
    return [_column(key, found.get(key, []), places[key], units[key]) for key in places]


def with_arrays(figure: Any) -> Any:
    """Plotly's JSON with its packed arrays as numpy arrays, which a person can read and plotly packs again alike."""
    if isinstance(figure, list):
        return [with_arrays(one) for one in figure]
    if not isinstance(figure, dict):
        return figure
    if "bdata" in figure and "dtype" in figure:
        packed = np.frombuffer(base64.b64decode(figure["bdata"]), np.dtype(figure["dtype"]).newbyteorder("<"))
        shape = [int(size) for size in str(figure["shape"]).split(",")] if "shape" in figure else [-1]
        return packed.reshape(shape)
    return {name: with_arrays(one) for name, one in figure.items()}


def _column(key: str, batches: Sequence[Any], place: str, unit: str) -> Column:
    def take(name: str, kind: type[Any]) -> NDArray[Any]:
        return _joined([batch.column(name).to_numpy() for batch in batches], kind)

    return Column(
        key,
        place,
        unit,
        take("step", np.int64),
        take("time", np.float64),
        take("value", np.float64),
        take("attempt", np.int32),
    )


def _joined(pieces: Sequence[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    """One array; without a copy when there is one piece."""
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.empty(0, kind)
