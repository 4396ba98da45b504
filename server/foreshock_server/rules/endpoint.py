"""GET /rules: the rules in force, with every parameter and the runbook of each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from foreshock_server.rules.load import RuleSet

router = APIRouter(tags=["rules"])


@router.get("/rules")
def get_rules(request: Request) -> dict[str, Any]:
    """Every rule in force and the pack that it comes from, as packs write them; `origin` is built-in or a file."""
    rules: RuleSet = request.app.state.rules
    return {
        "rules": [
            {**rule.model_dump(mode="json", by_alias=True), "origin": rules.origins[rule.id]}
            for rule in rules.rules
        ]
    }
