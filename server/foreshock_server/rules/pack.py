"""What a rule pack may say, as pydantic models: strict, every unknown key refused. One model for built-in packs and people's own."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreshock_server.rules.applies import Intention, Profile, Runs
from foreshock_server.rules.detectors import Absence, AnyDetector, NonFinite
from foreshock_server.rules.reduction import Reduction
from foreshock_server.rules.state import Policy, Severity

Text = Annotated[str, Field(min_length=1)]
Steps = Annotated[int, Field(ge=0, le=10**9)]

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


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Match(_Strict):
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


class Remedy(_Strict):
    """Something to try."""

    text: Text = Field(description="what to do")
    basis: Literal["paper", "inference"] = Field(
        description="paper: the source itself proposes it; inference: nobody's claim but the author's of the rule"
    )
    source: Text = Field(description="the paper, or how it was found")


class Runbook(_Strict):
    """What a person who gets the alert needs."""

    meaning: Text = Field(description="what it means, to someone who did not write the rule")
    check: list[Text] = Field(min_length=1, description="what to look at first")
    remedies: list[Remedy] = Field(
        alias="try", min_length=1, description="what to try: text, basis and source of each"
    )


class Says(_Strict):
    """The beginning of an alert's sentence; default: the title."""

    warning: Text
    critical: Text


class Notify(_Strict):
    """When the rule speaks. One message when it fires in a run, one when all its series have resolved."""

    severity: Literal["warning", "critical"] = Field(
        "warning", description="the least severity that is worth a message; less than that stays on the page"
    )
    places: int = Field(1, ge=1, description="warnings at fewer places than this stay on the page …")
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="… unless they are this share of all places that the rule watches in the run",
    )
    escalation: bool = Field(False, description="one more message when a warning becomes critical")


class Rule(_Strict):
    """One thing that can go wrong, how it is seen, and what to do about it."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,98}[a-z0-9]$")
    title: Text = Field(description="a few words for lists")
    says: Says | None = None
    family: Text = Field(description="what it is listed under, such as `policy entropy` or `representation`")
    severity: Literal["warning", "critical"] = Field(
        description="warning or critical: of a breach that its detector does not call critical"
    )
    matches: list[Match] = Field(
        min_length=1, description="the series it is about: any that fits one of these"
    )
    exclude: list[Match] = Field(default_factory=list, description="but none that fits one of these")
    runs: Runs = Field(
        default_factory=lambda: Runs.model_validate({}), description="the runs it is about; default: all"
    )
    intention: Intention | None = Field(
        None, description="what it does in runs that mean its subject to fall, hold or rise"
    )
    labels: dict[str, Text] = Field(
        default_factory=dict, description="for channels to choose by: they travel with its alerts"
    )
    detector: AnyDetector = Field(description="`kind` and its parameters")
    reduce: Reduction | None = Field(
        None,
        description="of a vector (per head, per expert, …) the one number a step that is compared: min, max, mean, median, p10 "
        "or p90; default: the worst entry",
    )
    for_steps: Steps = 0
    min_samples: Annotated[int, Field(ge=1, le=100_000)] = 1
    warmup_steps: Steps = 0
    keep_firing_steps: Steps = 0
    cooldown_steps: Steps = 0
    notify: Notify = Field(default_factory=lambda: Notify.model_validate({}))
    runbook: Runbook = Field(description="`meaning`, `check` and `try`")
    source: Text = Field(description="where the statistic and the levels come from")

    @model_validator(mode="after")
    def _samples_are_counted(self) -> Rule:
        if isinstance(self.detector, NonFinite) and self.min_samples > 1:
            raise ValueError("a non-finite rule does not count good readings: leave `min_samples` out")
        if isinstance(self.detector, NonFinite) and self.reduce is not None:
            raise ValueError("a non-finite rule looks at every entry of a vector: leave `reduce` out")
        return self

    @model_validator(mode="after")
    def _silence_waits_by_itself(self) -> Rule:
        waits = self.for_steps or self.keep_firing_steps or self.cooldown_steps or self.min_samples > 1
        if isinstance(self.detector, Absence) and (waits or self.reduce is not None):
            raise ValueError(
                "an absence rule waits by its own `steps` and `seconds`: leave `for_steps`, `keep_firing_steps`, "
                "`cooldown_steps`, `min_samples` and `reduce` out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_turned(self) -> Rule:
        if self.intention is not None and self.intention.turns and self.detector.turned() is None:
            raise ValueError(
                f"the signs of this `{self.detector.kind}` cannot be turned: write `silent`, and a rule of its own for such runs"
            )
        return self

    def applied(self, run: Profile) -> Rule | None:
        """The rule as it is in force for this run; None: it is not."""
        stance = "watch" if self.intention is None else self.intention.stance(run)
        if not self.runs.fit(run) or stance == "silent":
            return None
        return self if stance == "watch" else self._turned

    @cached_property
    def _turned(self) -> Rule:
        return self.model_copy(update={"detector": self.detector.turned()})

    @cached_property
    def reduction(self) -> Reduction | None:
        """How a vector becomes one number; None: its first entry that is news."""
        return self.detector.worst if self.reduce is None else self.reduce

    @property
    def inhibits(self) -> bool:
        """True when what else fires in the run while it is critical follows from it."""
        return isinstance(self.detector, NonFinite)

    @cached_property
    def policy(self) -> Policy:
        """How long it waits, as the state machine takes it."""
        return Policy(
            Severity(self.severity),
            self.for_steps,
            self.min_samples,
            self.warmup_steps,
            self.keep_firing_steps,
            self.cooldown_steps,
        )

    def watches(self, series: SeriesLike) -> bool:
        """True when the rule is about this series. Single ranks beside the first are watched only by rules that name the label:
        what all of them read together is a series of its own."""
        if series.labels.get("rank", ALL_RANKS) != ALL_RANKS and not any(
            one.names_ranks for one in self.matches
        ):
            return False
        return any(one.fits(series) for one in self.matches) and not any(
            one.fits(series) for one in self.exclude
        )

    def opening(self, severity: str) -> str:
        """How a sentence about it begins."""
        if self.says is None:
            return self.title
        return self.says.critical if severity == Severity.CRITICAL.value else self.says.warning


class Pack(_Strict):
    """One file of rules."""

    pack: Text = Field(description="name of the pack")
    disable: list[str] = Field(default_factory=list, description="ids of built-in rules that shall not run")
    rules: list[Rule] = Field(default_factory=list)
