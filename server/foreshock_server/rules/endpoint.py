"""GET /rules: the rules in force, with every parameter and the runbook of each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from foreshock_server.deps import Asking, Reading
from foreshock_server.rules.load import RuleSet

router = APIRouter(tags=["rules"])


@router.get("/rules")
def get_rules(request: Request, session: Reading, access: Asking) -> dict[str, Any]:
    """Every rule in force and the pack that it comes from, as packs write them; `origin` is built-in, a file, or made here: then `own`
    says for which project, and for which other rule it stands in."""
    book = request.app.state.rulebook
    rules: RuleSet = book.look(session).seen_by(access.within(None))
    return {
        "rules": [
            {
                **rule.model_dump(mode="json", by_alias=True),
                "origin": rules.origins[rule.id],
                "pack": rules.packs[rule.id],
                "own": rules.own[rule.id]._asdict() if rule.id in rules.own else None,
            }
            for rule in rules.rules
        ]
    }
