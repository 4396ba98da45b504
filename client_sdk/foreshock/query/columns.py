"""The server's answer, JSON or Arrow -> one or more series as numpy columns, and from there pandas, polars or Arrow."""

from __future__ import annotations

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
    values: NDArray[np.float64]  # [n]; of a vector [n, entries]
    attempts: NDArray[np.int32]
    axis: Mapping[str, Any] | None = None  # of a vector: name, size, perhaps ticks of its entries

    @property
    def entries(self) -> tuple[str, ...]:
        """What its entries are called; none of a number."""
        if self.axis is None:
            return ()
        numbers, named = _numbers(self.axis), _ticks(self.axis)
        distinct = named if len(set(named)) == len(numbers) else numbers
        return tuple(f"{self.axis['name']} {one}" for one in distinct)


class SeriesView:
    """Readings of one series, or of one statistic at several places one after the other.

    Every form has the same columns: key, place, step, time, value, attempt. Of vectors (a value per head, expert, bin, …) it has,
    instead of `value`, a column per entry, such as `head 3`. Where numbers and vectors, or vectors with other entries, have one
    name, go through the view: `for one in view`.
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
    def entries(self) -> tuple[str, ...]:
        """What the entries of these vectors are called; none of numbers."""
        found = {column.entries for column in self._columns}
        if len(found) > 1:
            sizes = ", ".join(str(len(one) or "numbers") for one in sorted(found, key=len))
            raise ValueError(
                f"these series have different entries ({sizes}); go through them: for one in view"
            )
        return found.pop() if found else ()

    @property
    def values(self) -> NDArray[np.float64]:
        """The readings, of vectors [readings, entries]; NaN and infinities are there as they were read."""
        self.entries  # noqa: B018 (says what is wrong where they do not fit together)
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
        entries, values = self.entries, self.values
        of_it = {"value": values} if not entries else {name: values[:, i] for i, name in enumerate(entries)}
        return {"step": self.steps, "time": self.times, **of_it, "attempt": self.attempts}

    def __iter__(self) -> Iterator[SeriesView]:
        """Each series by itself."""
        return (SeriesView([column], self._of) for column in self._columns)

    def __len__(self) -> int:
        """How many readings."""
        return sum(len(column.steps) for column in self._columns)

    def __repr__(self) -> str:
        what = self.keys[0] if len(self._columns) == 1 else f"{len(self._columns)} series"
        steps = self.steps
        parts = [f"{len(steps):,} readings"]
        if len(self._columns) == 1 and (axis := self._columns[0].axis) is not None:
            parts[0] += f" of {axis['size']} entries ({axis['name']})"
        if len(steps):
            parts.append(f"steps {steps.min():,} to {steps.max():,}")
            if len(self._columns) == 1 and self._columns[0].axis is None:
                parts.append(f"last {self._columns[0].values[-1]:.6g}")
        if odd := sum(int(np.count_nonzero(~np.isfinite(column.values))) for column in self._columns):
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
                _shaped(
                    np.asarray(one["values"], np.float64), one.get("axis")
                ),  # float("NaN") is what the text says
                np.repeat(lives, np.diff([*begins, len(steps)])),
                one.get("axis"),
            )
        )
    return columns


def from_arrow(
    body: bytes,
    places: Mapping[str, str],
    units: Mapping[str, str],
    axes: Mapping[str, Mapping[str, Any] | None],
) -> list[Column]:
    """The columns of an Arrow stream, which has one batch per series; a series without readings has an empty one."""
    ipc = needs("pyarrow.ipc", "reading Arrow")
    found: dict[str, list[Any]] = {}
    for batch in ipc.open_stream(body):
        for key in batch.column("key").unique().to_pylist():
            found.setdefault(key, []).append(batch)
    return [_column(key, found.get(key, []), places[key], units[key], axes[key]) for key in places]


def part_of(axis: Mapping[str, Any], entries: Sequence[str]) -> dict[str, Any]:
    """The axis of these entries alone, asked for by name or by number."""
    numbers, named = _numbers(axis), _ticks(axis)
    by_name = {**dict(zip(numbers, named or numbers, strict=True)), **{one: one for one in named}}
    return {"name": axis["name"], "size": len(entries), "ticks": [by_name.get(one, one) for one in entries]}


def _numbers(axis: Mapping[str, Any]) -> list[str]:
    return [str(place) for place in range(int(axis["size"]))]


def _ticks(axis: Mapping[str, Any]) -> list[str]:
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in axis.get("ticks") or ()]


def _column(
    key: str, batches: Sequence[Any], place: str, unit: str, axis: Mapping[str, Any] | None
) -> Column:
    def take(name: str, kind: type[Any]) -> NDArray[Any]:
        found = [batch.column(name) for batch in batches]
        if name == "value" and axis is not None:
            found = [lists.flatten() for lists in found]
        return _joined([one.to_numpy() for one in found], kind)

    return Column(
        key,
        place,
        unit,
        take("step", np.int64),
        take("time", np.float64),
        _shaped(take("value", np.float64), axis),
        take("attempt", np.int32),
        axis,
    )


def _shaped(values: NDArray[np.float64], axis: Mapping[str, Any] | None) -> NDArray[np.float64]:
    return values if axis is None else values.reshape(-1, int(axis["size"]))


def _joined(pieces: Sequence[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    """One array; without a copy when there is one piece."""
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.empty(0, kind)
