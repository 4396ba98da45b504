"""The reference over HTTP: formula, source, what healthy and collapsed look like, cost and caveats of each statistic."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter

from foreshock_server.errors import UnknownStatistic

router = APIRouter(tags=["reference"])


@router.get("/reference")
def get_reference() -> dict[str, Any]:
    """Every statistic that Foreshock computes."""
    return reference()


@router.get("/reference/{statistic}")
def get_one(statistic: str) -> dict[str, Any]:
    """One statistic."""
    found = reference()["statistics"].get(statistic)
    if found is None:
        raise UnknownStatistic(
            f"There is no statistic {statistic!r}; GET /api/v1/reference lists them. Numbers that a training loop logs"
            " by itself mean what it means by them."
        )
    return {"name": statistic, **found}


@lru_cache(maxsize=1)
def reference() -> dict[str, Any]:
    """The document as it ships."""
    text = files("foreshock_server.reference").joinpath("statistics.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
