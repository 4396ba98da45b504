"""Which alerts a silence mutes and a channel gets: globs over what an alert is about, as people write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.deps import PLAIN
from foreshock_server.models import Run, Series, Transition

Glob = Annotated[str, Field(min_length=1, max_length=500, pattern=PLAIN)]


class Matches(BaseModel):
    """Which alerts: those that fit every part that is given; at least one is. `*` and `?` stand for anything, `[…]` for one of some
    characters."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    project: Glob = Field("*", description="name of the project")
    run: Glob = Field("*", description="id or name of the run")
    family: Glob = Field("*", description="family of the rule or of the statistic")
    rule: Glob = Field("*", description="id of the rule")
    statistic: Glob = Field("*", description="name of the statistic")
    place: str = Field(
        "*", max_length=500, pattern=PLAIN, description="place in the model; empty: series without one"
    )
    severity: Literal["warning", "critical", "*"] = Field("*", description="severity of the alert")
    labels: dict[str, Glob] = Field(
        default_factory=dict,
        max_length=20,
        description="labels of the series or the rule, and what they must be",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Matches:
        if not self.model_fields_set:
            raise ValueError(
                'say which alerts, such as {"rule": "non-finite*"}; for all of them {"rule": "*"}'
            )
        return self

    def given(self) -> dict[str, Any]:
        """The parts that are given, as they are stored."""
        return self.model_dump(exclude_unset=True)


class About(NamedTuple):
    """What of an alert can be matched; a place with several names fits by any of them."""

    project: str
    run: tuple[str, ...]  # id and name
    family: tuple[str, ...]  # of the rule and of the series
    rule: str
    statistic: str
    place: str
    severity: str
    labels: Mapping[str, str]


def about(run: Run, transition: Transition, series: Series | None) -> About:
    """What this transition is about. Labels are the rule's, where it has some, and the series'."""
    detail = transition.detail
    families = (
        detail.get("rule_family"),
        series.family if series is not None else detail.get("family"),
    )
    labels = {**detail.get("labels", {}), **(series.labels if series is not None else {})}
    return About(
        project=run.project,
        run=(run.id, run.name),
        family=tuple(one for one in families if isinstance(one, str)),
        rule=transition.rule,
        statistic=series.statistic if series is not None else "",
        place=series.place if series is not None else "",
        severity=transition.severity,
        labels={name: str(value) for name, value in labels.items()},
    )


def fits(matches: Mapping[str, Any] | None, alert: About) -> bool:
    """True when each part that is given fits; nothing given fits everything.

    `project`, `run` (id or name), `family`, `rule`, `statistic`, `place`, `severity` and each of `labels` are globs: `*` and `?` stand
    for anything, `[…]` for one of some characters. An alert without a label that is asked for does not fit.
    """
    for name, glob in (matches or {}).items():
        if name == "labels":
            if not all(
                key in alert.labels and fnmatchcase(alert.labels[key], one) for key, one in glob.items()
            ):
                return False
            continue
        found = getattr(alert, name)
        names = found if isinstance(found, tuple) else (found,)
        if not any(fnmatchcase(one, glob) for one in names):
            return False
    return True
