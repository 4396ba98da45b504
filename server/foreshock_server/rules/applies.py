"""What a run says of itself -> whether a rule is in force for it, and which way round. Pure.

A run says it in its config, which `foreshock.init` sends: `tags` is a list of words, and `intentions` tells for a subject which way it
is meant to go, such as `{"entropy": "fall"}` where certainty is the aim. A tag `entropy:fall` tells the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

Way = Literal["fall", "hold", "rise"]
Stance = Literal["watch", "turn", "silent"]
Glob = Annotated[str, Field(min_length=1)]

_WAYS: tuple[Way, ...] = ("fall", "hold", "rise")


class Profile(NamedTuple):
    """What rules ask of a run."""

    project: str
    tags: frozenset[str]
    intentions: Mapping[str, Way]  # by subject, in lower case

    def means(self, subject: str) -> Way | None:
        """Which way the subject is meant to go; None: the run does not say."""
        return self.intentions.get(subject.lower())


def profile_of(project: str, config: Mapping[str, Any]) -> Profile:
    """The profile of a run with this config; what is not written as expected says nothing."""
    told = config.get("tags")
    words = told.split(",") if isinstance(told, str) else told if isinstance(told, (list, tuple)) else ()
    tags = frozenset(word.strip() for word in words if isinstance(word, str) and word.strip())
    intentions: dict[str, Way] = {}
    meant = config.get("intentions")
    pairs = [tuple(tag.rsplit(":", 1)) for tag in sorted(tags) if ":" in tag]
    pairs += list(meant.items()) if isinstance(meant, Mapping) else []
    for subject, way in pairs:
        if isinstance(subject, str) and way in _WAYS:
            intentions[subject.strip().lower()] = way
    return Profile(project, tags, intentions)


class Runs(BaseModel):
    """The runs that a rule is about; default: all."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    projects: list[Glob] = Field(
        default_factory=list, description="their project fits one of these; `*` and `?` as in `matches`"
    )
    tags: list[Glob] = Field(default_factory=list, description="they have a tag that fits, for each of these")
    without_tags: list[Glob] = Field(default_factory=list, description="and none that fits one of these")

    def fit(self, run: Profile) -> bool:
        """True when the rule is about this run."""
        return (
            (not self.projects or any(fnmatchcase(run.project, one) for one in self.projects))
            and all(any(fnmatchcase(tag, one) for tag in run.tags) for one in self.tags)
            and not any(fnmatchcase(tag, one) for tag in run.tags for one in self.without_tags)
        )


class Intention(BaseModel):
    """What the rule does in runs that mean its subject to go one way: watch as written, turn its signs, or be silent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    of: Glob = Field(description="the subject, such as `entropy`")
    fall: Stance = Field("watch", description="in runs that mean it to fall")
    hold: Stance = Field("watch", description="in runs that mean it to stay")
    rise: Stance = Field("watch", description="in runs that mean it to rise")
    unsaid: Stance = Field("watch", description="in runs that do not say")

    @model_validator(mode="after")
    def _says_something(self) -> Intention:
        if {self.fall, self.hold, self.rise, self.unsaid} == {"watch"}:
            raise ValueError(
                "say what is different: `fall`, `hold`, `rise` or `unsaid` as `silent` or `turn`"
            )
        return self

    @property
    def turns(self) -> bool:
        """True when there is a run in which the rule's signs are turned."""
        return "turn" in {self.fall, self.hold, self.rise, self.unsaid}

    def stance(self, run: Profile) -> Stance:
        """What the rule does in this run."""
        stances = {"fall": self.fall, "hold": self.hold, "rise": self.rise, None: self.unsaid}
        return stances[run.means(self.of)]
