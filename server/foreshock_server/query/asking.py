"""What a list of runs can be asked, and the shape of its answer, as the OpenAPI document has them; and the cursor of its pages."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foreshock_server.errors import Invalid
from foreshock_server.store.listing import TEXTS, Place, Wish

_CURSOR = r"^(-?[0-9]{1,19}(\.[0-9]{1,20})?(e-[0-9]{1,3})?|t[A-Za-z0-9_-]{0,1200})~[A-Za-z0-9._-]{1,64}$"
_TEXT = r"^[^\x00]*$"
_Seconds = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]

State = Literal["running", "finished", "failed", "silent"]
Verdict = Literal["none", "fine", "watch", "collapsing"]
Sort = Literal[
    "updated", "-updated", "created", "-created", "name", "-name", "step", "-step",
    "verdict", "-verdict", "alerts", "-alerts", "owner", "-owner",
]  # fmt: skip


class RunsQuery(BaseModel):
    """The query of GET /runs."""

    model_config = ConfigDict(extra="ignore")

    project: str | None = Field(None, max_length=200, pattern=_TEXT)
    q: str = Field(
        "", max_length=200, pattern=_TEXT, description="words, each in name, project, id, owner or a tag"
    )
    state: State | None = None
    verdict: Verdict | None = None
    tag: list[Annotated[str, Field(max_length=64, pattern=_TEXT)]] = Field(
        default_factory=list, max_length=20, description="all of them"
    )
    owner: str | None = Field(None, max_length=100, pattern=_TEXT)
    created_from: _Seconds | None = Field(None, description="seconds since 1970, UTC")
    created_until: _Seconds | None = Field(None, description="before this moment")
    archived: Literal["no", "yes", "all"] = "no"
    trashed: bool = Field(False, description="what lies in the trash, and nothing else")
    id: list[Annotated[str, Field(max_length=64, pattern=_TEXT)]] = Field(
        default_factory=list, max_length=500, description="only these, as far as they fit the rest"
    )
    sort: Sort = Field("-updated", description="with a minus: from the greatest")
    limit: int = Field(100, ge=1, le=500)
    before: str | None = Field(
        None,
        max_length=1300,
        description="`next` of the page before, with the same `sort`",
        json_schema_extra={"pattern": _CURSOR},
    )

    @property
    def order(self) -> str:
        """By what."""
        return self.sort.removeprefix("-")

    @property
    def down(self) -> bool:
        """From the greatest."""
        return self.sort.startswith("-")

    def wish(self, project: str | None) -> Wish:
        """The same for the store; `project` as far as the key may see."""
        return Wish(
            project=project,
            words=self.q,
            state=self.state,
            verdict=self.verdict,
            tags=self.tag,
            owner=self.owner,
            created_from=self.created_from,
            created_until=self.created_until,
            archived={"no": False, "yes": True, "all": None}[self.archived],
            trashed=self.trashed,
            ids=self.id,
        )


class FamilyState(BaseModel):
    """How a family of statistics stands now."""

    family: str
    state: Verdict


class Lead(BaseModel):
    """The series that tells most, as a few dozen points."""

    key: str
    statistic: str
    unit: str
    last: float | str | None
    spark: dict[str, list[Any]] = Field(description="`steps` and `values`")


class ListedRun(BaseModel):
    """A run as a list shows it."""

    id: str
    project: str
    name: str
    state: str
    created_at: float
    updated_at: float
    revision: int
    last_step: int | None
    planned_steps: int | None = Field(description="what its configuration says, as `max_steps` or the like")
    points: int
    dropped: int
    lost: dict[str, int]
    overhead_percent: float | None
    verdict: Verdict
    firing: int = Field(description="alerts that fire now")
    families: list[FamilyState]
    lead: Lead | None
    owner: str | None
    tags: list[str]
    archived: bool
    trashed_at: float | None
    url: str


class RunsPage(BaseModel):
    """A page of the list."""

    runs: list[ListedRun]
    next: str | None
    total: int | None = Field(description="how many fit, on the first page")


def write_cursor(place: Place) -> str:
    """A place as `before` carries it."""
    if isinstance(place.value, str):
        packed = base64.urlsafe_b64encode(place.value.encode()).decode().rstrip("=")
        return f"t{packed}~{place.id}"
    return f"{place.value!r}~{place.id}"


def read_cursor(before: str, order: str) -> Place:
    """The place that `before` carries; Invalid when it is none, or none of this order."""
    value, _, run_id = before.partition("~")
    if re.fullmatch(_CURSOR.strip("^$"), before) is None or value.startswith("t") != (order in TEXTS):
        raise Invalid(
            "`before` is not a cursor of this order; pass the `next` of the page before, with the same `sort`.",
            field="before",
        )
    if not value.startswith("t"):
        return Place(float(value) if set(value) & set(".e") else int(value), run_id)
    try:
        packed = value[1:]
        return Place(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode(), run_id)
    except ValueError:
        raise Invalid(
            "`before` is cut off; pass the whole `next` of the page before.", field="before"
        ) from None
