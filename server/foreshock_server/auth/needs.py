"""A request's method and path -> what a key must hold for it. Every route stands here; what does not needs an admin key of all projects."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from foreshock_server.deps import ADMIN, INGEST, READ


class Reach(Enum):
    """How a key of one project is kept to it."""

    RUN = "run"  # the gate looks up the run in the path; another project's is unknown to the key
    OWN = "own"  # the endpoint does, with `Access.within` or `must_own`
    COMMON = "common"  # nothing there belongs to a project
    ALL = "all"  # only keys of all projects


class Need(NamedTuple):
    """What a route asks of a key. `scope` None: nothing, it judges by itself."""

    scope: str | None
    reach: Reach


ROUTES = {
    "PUT /api/v1/runs/{run}": Need(INGEST, Reach.OWN),
    "POST /api/v1/runs/{run}/blocks": Need(INGEST, Reach.RUN),
    "POST /api/v1/runs/{run}/attempts/{attempt}/finish": Need(INGEST, Reach.RUN),
    "DELETE /api/v1/runs/{run}": Need(ADMIN, Reach.RUN),
    "PATCH /api/v1/runs": Need(ADMIN, Reach.OWN),
    "GET /api/v1/tags": Need(READ, Reach.OWN),
    "GET /api/v1/compare": Need(READ, Reach.OWN),
    "GET /api/v1/compare/figure": Need(READ, Reach.OWN),
    "GET /api/v1/projects": Need(READ, Reach.OWN),
    "PUT /api/v1/projects/{project:path}": Need(ADMIN, Reach.ALL),
    "GET /api/v1/runs": Need(READ, Reach.OWN),
    "GET /api/v1/live": Need(READ, Reach.OWN),
    "GET /api/v1/alerts": Need(READ, Reach.OWN),
    "GET /api/v1/statistics": Need(READ, Reach.OWN),
    "GET /api/v1/deliveries": Need(READ, Reach.OWN),
    "GET /api/v1/deliveries/{delivery_id}": Need(READ, Reach.OWN),
    "POST /api/v1/deliveries/{delivery_id}/retry": Need(ADMIN, Reach.ALL),
    "POST /api/v1/deliveries/retry": Need(ADMIN, Reach.ALL),
    "GET /api/v1/runs/{run}": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/series": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/data": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/export": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/heatmap": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/ceiling": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/live": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/alerts": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/verdict": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/figures": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/figures/{name}": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/report": Need(READ, Reach.RUN),
    "GET /api/v1/incidents": Need(READ, Reach.OWN),
    "GET /api/v1/runs/{run}/incidents": Need(READ, Reach.RUN),
    "GET /api/v1/runs/{run}/incidents/{number}": Need(READ, Reach.RUN),
    "POST /api/v1/runs/{run}/incidents/{number}/acknowledge": Need(ADMIN, Reach.RUN),
    "DELETE /api/v1/runs/{run}/incidents/{number}/acknowledge": Need(ADMIN, Reach.RUN),
    "GET /api/v1/silences": Need(READ, Reach.OWN),
    "POST /api/v1/silences": Need(ADMIN, Reach.OWN),
    "DELETE /api/v1/silences/{silence_id}": Need(ADMIN, Reach.OWN),
    "GET /api/v1/rules": Need(READ, Reach.OWN),
    "GET /api/v1/rules/source/{rule}": Need(READ, Reach.OWN),
    "GET /api/v1/rules/candidates": Need(READ, Reach.OWN),
    "GET /api/v1/rules/own": Need(READ, Reach.OWN),
    "POST /api/v1/rules/own": Need(ADMIN, Reach.OWN),
    "GET /api/v1/rules/own/{rule}": Need(READ, Reach.OWN),
    "PUT /api/v1/rules/own/{rule}": Need(ADMIN, Reach.OWN),
    "DELETE /api/v1/rules/own/{rule}": Need(ADMIN, Reach.OWN),
    "POST /api/v1/rules/own/{rule}/restore": Need(ADMIN, Reach.OWN),
    "GET /api/v1/rules/export": Need(READ, Reach.OWN),
    "POST /api/v1/rules/check": Need(READ, Reach.OWN),
    "POST /api/v1/rules/edit": Need(READ, Reach.COMMON),
    "POST /api/v1/rules/tests": Need(READ, Reach.OWN),
    "GET /api/v1/runs/{run}/rule-proposal": Need(READ, Reach.RUN),
    "POST /api/v1/rules/backtest": Need(READ, Reach.OWN),
    "POST /api/v1/rules/suggest": Need(READ, Reach.OWN),
    "GET /api/v1/reference": Need(READ, Reach.COMMON),
    "GET /api/v1/reference/{statistic}": Need(READ, Reach.COMMON),
    "GET /api/v1/channels": Need(ADMIN, Reach.ALL),
    "POST /api/v1/channels": Need(ADMIN, Reach.ALL),
    "GET /api/v1/channels/{channel_id}": Need(ADMIN, Reach.ALL),
    "PATCH /api/v1/channels/{channel_id}": Need(ADMIN, Reach.ALL),
    "DELETE /api/v1/channels/{channel_id}": Need(ADMIN, Reach.ALL),
    "POST /api/v1/channels/{channel_id}/test": Need(ADMIN, Reach.ALL),
    "GET /api/v1/keys": Need(ADMIN, Reach.ALL),
    "POST /api/v1/keys": Need(ADMIN, Reach.ALL),
    "DELETE /api/v1/keys/{key_id}": Need(ADMIN, Reach.ALL),
    "GET /api/v1/session": Need(None, Reach.COMMON),
    "POST /api/v1/session": Need(None, Reach.COMMON),
    "DELETE /api/v1/session": Need(None, Reach.COMMON),
    "GET /metrics": Need(READ, Reach.ALL),
}
OTHERS = Need(ADMIN, Reach.ALL)


def is_guarded(path: str) -> bool:
    """True for everything but the page's files and health."""
    return path.startswith("/api/") or path == "/metrics"


def need_of(method: str, path: str) -> tuple[Need, str | None]:
    """The need of the route that serves this, and the run in its path."""
    node, run = _TREE, None
    for part in path.split("/")[1:]:
        following = node.named.get(part) or (node.any if part else None)
        if following is None and node.rest is not None:
            node = node.rest
            break
        if following is None:
            return OTHERS, None
        if following.is_run:
            run = part
        node = following
    return node.needs.get("GET" if method == "HEAD" else method, OTHERS), run


@dataclass
class _Node:
    """What may follow the part of a path."""

    named: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    rest: _Node | None = None  # takes all that is left, with slashes
    is_run: bool = False
    needs: dict[str, Need] = field(default_factory=dict)  # by method, of a path that ends here


def _tree() -> _Node:
    tree = _Node()
    for route, need in ROUTES.items():
        method, _, template = route.partition(" ")
        node = tree
        for part in template.split("/")[1:]:
            if part.endswith(":path}"):
                node.rest = node.rest or _Node()
                node = node.rest
            elif part.startswith("{"):
                node.any = node.any or _Node()
                node = node.any
                node.is_run = node.is_run or part == "{run}"
            else:
                node = node.named.setdefault(part, _Node())
        node.needs[method] = need
    return tree


_TREE = _tree()
