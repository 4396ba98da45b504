"""What a rule pack may say, as pydantic models: strict, every unknown key refused. One model for built-in packs and people's own."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from foreshock_server.rules.applies import Intention, Profile, Runs
from foreshock_server.rules.derived import AnyDerivation
from foreshock_server.rules.detectors import Absence, AnyDetector, NonFinite, Threshold
from foreshock_server.rules.guards import Need
from foreshock_server.rules.joint import Joint
from foreshock_server.rules.lapse import NoData
from foreshock_server.rules.matching import ALL_RANKS, Match, SeriesLike, Strict, Text
from foreshock_server.rules.reduction import Reduction
from foreshock_server.rules.state import Policy, Severity

Steps = Annotated[int, Field(ge=0, le=10**9)]
Basis = Literal["definition", "paper", "measurement", "heuristic"]


class Remedy(Strict):
    """Something to try."""

    text: Text = Field(description="what to do")
    basis: Literal["paper", "inference"] = Field(
        description="paper: the source itself proposes it; inference: nobody's claim but the author's of the rule"
    )
    source: Text = Field(description="the paper, or how it was found")


class Runbook(Strict):
    """What a person who gets the alert needs."""

    meaning: Text = Field(description="what it means, to someone who did not write the rule")
    check: list[Text] = Field(min_length=1, description="what to look at first")
    remedies: list[Remedy] = Field(
        alias="try", min_length=1, description="what to try: text, basis and source of each"
    )


class Says(Strict):
    """The beginning of an alert's sentence; default: the title."""

    warning: Text
    critical: Text


class Notify(Strict):
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


class Rule(Strict):
    """One thing that can go wrong, how it is seen, and what to do about it."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,98}[a-z0-9]$")
    title: Text = Field(description="a few words for lists")
    says: Says | None = None
    family: Text = Field(description="what it is listed under, such as `policy entropy` or `representation`")
    severity: Literal["warning", "critical"] = Field(
        description="warning or critical: of a breach that its detector does not call critical"
    )
    matches: list[Match] = Field(description="the series it is about: any that fits one of these")
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
    derive: AnyDerivation | None = Field(
        None,
        description="`kind` and its parameters: the detector judges what is made of several series instead of each by itself",
    )
    joint: Joint | None = Field(
        None,
        description="`all`, `any` or `sequence` of other rules, instead of `matches`: it is about what they say; `detector` may be left out",
    )
    reduce: Reduction | None = Field(
        None,
        description="of a vector (per head, per expert, …) the one number a step that is compared: min, max, mean, median, p10 "
        "or p90; default: the worst entry, or with `derive` the mean",
    )
    needs: tuple[Need, ...] = Field(
        (),
        strict=False,
        max_length=4,
        description="companion series of the same place, and what they must be for a reading to count",
    )
    no_data: NoData | None = Field(
        None,
        description="what its alert does when the series comes no more while training goes on; default: it stays as it is",
    )
    boundary: Literal["announced", "detected"] | None = Field(
        None,
        description="its firing says that a new task begins, told by the run or found; where a run tells, what is found does not count",
    )
    renew: bool = Field(
        False,
        description="when a new task begins, its baseline becomes what was reached by then, where that asks for more",
    )
    for_steps: Steps = 0
    min_samples: Annotated[int, Field(ge=1, le=100_000)] = 1
    warmup_steps: Steps = 0
    keep_firing_steps: Steps = 0
    cooldown_steps: Steps = 0
    notify: Notify = Field(default_factory=lambda: Notify.model_validate({}))
    runbook: Runbook = Field(description="`meaning`, `check` and `try`")
    basis: Basis = Field(
        "heuristic",
        description="what its levels rest on. definition: on what the number is, one is enough; paper: the source gives them; "
        "measurement: they were measured on runs or on series made like them; heuristic: on judgement",
    )
    source: Text = Field(description="where the statistic and the levels come from")

    @model_validator(mode="before")
    @classmethod
    def _joint_needs_no_series(cls, given: Any) -> Any:
        """What it compares is the number of its parts that hold."""
        if not isinstance(given, dict) or not isinstance(given.get("joint"), dict):
            return given
        ways = [given["joint"].get(way) for way in ("all", "sequence")]
        needed = next((len(parts) for parts in ways if isinstance(parts, list) and parts), 1)
        return {"matches": [], "detector": {"kind": "threshold", "above": needed - 0.5}, **given}

    @model_validator(mode="after")
    def _is_about_something(self) -> Rule:
        if self.joint is None:
            if not self.matches:
                raise ValueError(
                    "`matches` is empty: name the series it is about, such as `{statistic: reward}`"
                )
            return self
        if self.matches or self.exclude or self.derive or self.reduce or self.min_samples > 1:
            raise ValueError(
                "a joint rule is about what other rules say: leave `matches`, `exclude`, `derive`, `reduce` and `min_samples` out"
            )
        if not isinstance(self.detector, Threshold) or self.detector.relative_to_baseline:
            raise ValueError(
                "a joint rule compares how many of its parts hold: leave `detector` out, or write a `threshold` for that number"
            )
        return self

    @model_validator(mode="after")
    def _samples_are_counted(self) -> Rule:
        if isinstance(self.detector, NonFinite) and self.min_samples > 1:
            raise ValueError("a non-finite rule does not count good readings: leave `min_samples` out")
        if isinstance(self.detector, NonFinite) and self.reduce is not None:
            raise ValueError("a non-finite rule looks at every entry of a vector: leave `reduce` out")
        return self

    @model_validator(mode="after")
    def _has_a_baseline(self) -> Rule:
        if self.renew and not self.detector.renews:
            raise ValueError(
                "`renew` is about a baseline: write it with `relative_to_baseline: true`, or with `against: first`"
            )
        return self

    @model_validator(mode="after")
    def _every_reading_is_its_news(self) -> Rule:
        if self.needs and isinstance(self.detector, (NonFinite, Absence)):
            raise ValueError(
                f"to a rule of kind `{self.detector.kind}` every reading is news, whatever it rests on: leave `needs` out"
            )
        return self

    @model_validator(mode="after")
    def _silence_waits_by_itself(self) -> Rule:
        waits = self.for_steps or self.keep_firing_steps or self.cooldown_steps or self.min_samples > 1
        if isinstance(self.detector, Absence) and self.no_data is not None:
            raise ValueError("that nothing comes is what an absence rule is about: leave `no_data` out")
        if isinstance(self.detector, Absence) and (waits or self.reduce is not None):
            raise ValueError(
                "an absence rule waits by its own `steps` and `seconds`: leave `for_steps`, `keep_firing_steps`, "
                "`cooldown_steps`, `min_samples` and `reduce` out"
            )
        return self

    @model_validator(mode="after")
    def _derived_is_a_number(self) -> Rule:
        if self.derive is not None and isinstance(self.detector, NonFinite | Absence):
            raise ValueError(
                f"`derive` makes finite numbers of series that come; `{self.detector.kind}` is about single ones: leave `derive` out"
            )
        return self

    @model_validator(mode="after")
    def _one_series_is_asked(self) -> Rule:
        if (self.derive is not None or self.joint is not None) and (
            self.needs or self.no_data is not None or self.boundary is not None or self.renew
        ):
            raise ValueError(
                "`needs`, `no_data`, `boundary` and `renew` are about a single series; write them on rules without `derive` and `joint`"
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
        if self.derive is not None and self.reduce is None:
            return "mean"
        return self.detector.worst if self.reduce is None else self.reduce

    @cached_property
    def listening(self) -> Absence | None:
        """What asks whether its series comes at all; None: it does not matter."""
        if isinstance(self.detector, Absence):
            return self.detector
        return None if self.no_data is None else self.no_data.listening

    @property
    def made(self) -> str | None:
        """How its numbers come from several series or rules; None: they are those of one series."""
        if self.derive is not None:
            return self.derive.kind
        return None if self.joint is None else self.joint.way

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
        if _rank_of(series) != ALL_RANKS and not any(one.names_ranks for one in self.matches):
            return False
        return any(one.fits(series) for one in self.matches) and not any(
            one.fits(series) for one in self.exclude
        )

    def compares(self, series: SeriesLike, other: SeriesLike) -> bool:
        """True when what it derives from the one series, which it watches, is made with the other."""
        return (
            self.compares_with(other)
            and series != other
            and series.labels.get("rank") == other.labels.get("rank")
            and (series.place == other.place or not (series.place and other.place))
        )

    def compares_with(self, other: SeriesLike) -> bool:
        """True when it derives something of other series with this one."""
        partner = None if self.derive is None else self.derive.partner
        return partner is not None and partner.fits(other)

    def opening(self, severity: str) -> str:
        """How a sentence about it begins."""
        if self.says is None:
            return self.title
        return self.says.critical if severity == Severity.CRITICAL.value else self.says.warning


def _rank_of(series: SeriesLike) -> str:
    return series.labels.get("rank", ALL_RANKS)


class Pack(Strict):
    """One file of rules."""

    pack: Text = Field(description="name of the pack")
    disable: list[str] = Field(default_factory=list, description="ids of built-in rules that shall not run")
    rules: list[Rule] = Field(default_factory=list)
