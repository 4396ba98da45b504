"""A file of rule tests -> its cases: a rule, drawn series, and what must come of them. What is wrong in a file is said in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from foreshock_server.rules.documents import BadRules, mapping_in

Text = Annotated[str, Field(min_length=1, max_length=200)]
Step = Annotated[int, Field(ge=0, le=10**15)]
When = Literal["never"] | Step | Annotated[list[Step], Field(min_length=2, max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Sketch(_Strict):
    """A series with more than its drawing."""

    draw: str | Annotated[list[str], Field(min_length=1, max_length=512)]  # a list: a vector, entry by entry
    family: Text | None = None  # default: as the reference says, else `training`
    unit: str | None = None
    axis: Text = "entry"  # what the entries of a vector are: head, expert, …


class Expected(_Strict):
    """Where the alert stands after the reading at a step, or at every step from one to another."""

    step: Step | None = None
    steps: Annotated[list[Step], Field(min_length=2, max_length=2)] | None = None
    state: Literal["ok", "pending", "firing"]
    severity: Literal["warning", "critical"] | None = None
    series: Text | None = None  # default: the worst of all that the rule watches

    @model_validator(mode="after")
    def _one_place(self) -> Expected:
        if (self.step is None) == (self.steps is None):
            raise ValueError("write either `step: 40` or `steps: [40, 60]`")
        if self.steps is not None and self.steps[0] > self.steps[1]:
            raise ValueError(f"`steps: {self.steps}` runs backwards")
        if self.severity is not None and self.state != "firing":
            raise ValueError("`severity` is only said of `state: firing`")
        return self

    @property
    def range(self) -> tuple[int, int]:
        """First and last step."""
        if self.steps is not None:
            return self.steps[0], self.steps[1]
        return self.step or 0, self.step or 0


class Case(_Strict):
    """One test."""

    name: Text
    rule: Text
    series: Annotated[
        dict[str, str | list[str] | Sketch], Field(min_length=1, max_length=200)
    ]  # by key, as `statistic{place=…,label=…}`
    reference: Annotated[dict[str, str], Field(max_length=200)] = Field(
        default_factory=dict
    )  # what the run that they are compared with read, by key
    start: Step = 0  # step of the first reading
    every: Annotated[int, Field(ge=1, le=10**6)] = 1  # steps from one to the next
    seconds: Annotated[float, Field(ge=0, le=10**6)] = 1.0  # the same by the clock
    seed: int = 0  # of the noise
    fires: When | None = None  # its first firing, at any series: at this step, between two, or never
    resolves: When | None = None  # its first resolution
    expect: list[Expected] = Field(default_factory=list)

    @model_validator(mode="after")
    def _expects_something(self) -> Case:
        if self.fires is None and self.resolves is None and not self.expect:
            raise ValueError("it expects nothing; write `fires: [40, 60]`, `fires: never` or `expect:`")
        for name, when in (("fires", self.fires), ("resolves", self.resolves)):
            if isinstance(when, list) and when[0] > when[1]:
                raise ValueError(f"`{name}: {when}` runs backwards")
        return self


class Cases(_Strict):
    """One file."""

    pack: Text | None = None  # a file beside this one, or a built-in pack's name; default: all built-in rules
    tests: Annotated[list[Case], Field(min_length=1, max_length=1000)]


def parse_cases(text: str, name: str) -> Cases:
    """The cases in this text; BadRules names `name`, the case and the field."""
    data = mapping_in(text, name, "a file of rule tests is a mapping; begin with `tests:`")
    try:
        return Cases.model_validate(data)
    except ValidationError as error:
        problems = [sentence_of(name, data, one) for one in error.errors(include_url=False)]
        raise BadRules(list(dict.fromkeys(one for one in problems if one))) from None


def sentence_of(name: str, data: Mapping[str, Any], error: ErrorDetails) -> str | None:
    """None for what another sentence says better: of several ways to write a thing, each complains."""
    where, rest, said = name, list(error["loc"]), error["msg"]
    if len(rest) >= 2 and rest[0] == "tests" and isinstance(rest[1], int):
        where += f", {_called(data['tests'], rest[1])}"
        rest = rest[2:]
    if rest[:1] in (["fires"], ["resolves"]) and error["type"] != "value_error":
        rest, said = rest[:1], "write a step, `[first, last]` or `never`"
    elif rest[:1] == ["series"] and len(rest) > 2:
        given = data["tests"][error["loc"][1]]["series"].get(rest[1])
        if isinstance(given, dict) and (rest[2] != "Sketch" or len(rest) == 3):
            return None
        if isinstance(given, dict):
            rest = [*rest[:2], *rest[3:4]]
        else:
            rest = rest[:2]
            said = "write its drawing in quotes (YAML takes 0x10 for a number), a list of them for a vector, or `{draw: …}`"
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest).lstrip(".")
    message = said.removeprefix("Value error, ")
    return f"{where}: {f'`{path}`: ' if path else ''}{message[:1].lower()}{message[1:]}."


def _called(tests: Any, place: int) -> str:
    case = tests[place] if isinstance(tests, list) else None
    if isinstance(case, dict) and isinstance(case.get("name"), str):
        return f"test {case['name']!r}"
    return f"test number {place + 1}"
