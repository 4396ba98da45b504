"""Which series a rule is about: what of a series can be matched, and how. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]

ALL_RANKS = "all"  # the label `rank` of what several ranks read together


class SeriesLike(Protocol):
    """What of a series a rule can match."""

    @property
    def statistic(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...


class Strict(BaseModel):
    """A part of a pack: every unknown key is refused, and nothing is taken for something else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Match(Strict):
    """Series that fit all of it; `*` and `?` stand for anything (also for dots), `[…]` for one of some characters."""

    statistic: Text = Field("*", description="name of the statistic")
    family: Text = Field("*", description="family of the statistic")
    place: str = Field("*", description="place in the model; an empty one means: the series without a place")
    rank: str | None = Field(
        None,
        pattern=r"^(all|\*|\d{1,6})$",
        description='`"3"`: of this rank alone; `"*"`: of every single rank; default: what all ranks read together',
    )
    labels: dict[str, str] = Field(default_factory=dict, description="further labels and what they must be")

    def fits(self, series: SeriesLike) -> bool:
        """True when every part fits."""
        return (
            fnmatchcase(series.statistic, self.statistic)
            and fnmatchcase(series.family, self.family)
            and fnmatchcase(series.place, self.place)
            and all(
                name in series.labels and fnmatchcase(series.labels[name], wanted)
                for name, wanted in self.labels.items()
            )
            and (self.rank is None or fnmatchcase(series.labels.get("rank", ALL_RANKS), self.rank))
        )

    @property
    def names_ranks(self) -> bool:
        """True when it says which ranks it is about."""
        return self.rank is not None or "rank" in self.labels
