"""A query parameter that takes one value and is given several is refused: the last one would count, unnoticed."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from foreshock_server.errors import Invalid


async def said_once(request: Request) -> None:
    """Raises `Invalid` with the parameter's name. What no operation declares is nobody's."""
    names = [name for name, _ in request.query_params.multi_items()]
    if len(names) == len(set(names)):
        return
    asked = getattr(request.scope.get("route"), "name", None)  # which is its operation's id
    operations = (one for path in request.app.openapi()["paths"].values() for one in path.values())
    declared = (
        one
        for operation in operations
        if operation["operationId"] == asked
        for one in operation.get("parameters", ())
    )
    for one in declared:
        if one["in"] == "query" and names.count(one["name"]) > 1 and not _takes_several(one["schema"]):
            raise Invalid(
                f"{one['name']} is there {names.count(one['name'])} times; give it once.", field=one["name"]
            )


def _takes_several(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "array" or any(map(_takes_several, schema.get("anyOf", ())))
