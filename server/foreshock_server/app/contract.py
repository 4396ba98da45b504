"""The routes -> the OpenAPI document, with what FastAPI cannot know: every error's one shape, who answers it where, and blocks."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from foreshock_server.app.samples import samples_of

ERROR = {
    "type": "object",
    "title": "Error",
    "description": "Every answer that is not what was asked for.",
    "required": ["error", "detail", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "which error it is, for programs", "pattern": "^[A-Z][A-Za-z]+$"},
        "detail": {"type": "string", "description": "a sentence for people: what is wrong, and what to write instead"},
        "request_id": {"type": "string", "description": "under which the server's log has it"},
        "field": {"type": "string", "description": "what of the request is wrong"},
    },
}  # fmt: skip
_RETRY = {
    "Retry-After": {"description": "seconds after which to try again", "schema": {"type": "string"}},
}
_ANYWHERE = {
    "401": "A key is missing or wrong.",
    "403": "The key may not do this, or the request comes from another site.",
    "422": "The request does not say what it must; `field` names what is wrong.",
    "429": "Too many requests; see `Retry-After`.",
    "431": "The address or the headers are longer than this server takes; ask for less at a time.",
    "503": "The database is away or full, or too much waits; nothing was stored. See `Retry-After`.",
}
_GONE = {"410": "This run was deleted; nothing more of it is stored."}
_SOMEWHERE = {  # operation id -> what only it answers
    "open_run": _GONE,
    "post_block": {
        **_GONE,
        "409": "A row names a frame that this writer never described; send the block again with its frames.",
    },
    "finish_attempt": _GONE,
    "create_own_rule": {"409": "Another rule has this id."},
    "change_own_rule": {"409": "There is a later version than the one that was changed; nothing was stored."},
    "compare_runs": {"404": "One of these runs is not there."},
    "get_compare_figure": {"404": "One of these runs is not there, or none of them has the series."},
}
_METHODS = ("get", "put", "post", "patch", "delete")


_LINKS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    # operation: the answer that has links, their parameters, and where they lead
    "create_channel": (
        "201",
        {"channel_id": "$response.body#/id"},
        ("get_channel", "change_channel", "test_channel", "delete_channel"),
    ),
    "create_own_rule": (
        "201",
        {"rule": "$response.body#/rule"},
        ("get_own_rule", "delete_own_rule"),
    ),
    "create_silence": ("201", {"silence_id": "$response.body#/id"}, ("end_silence",)),
    "open_run": (
        "200",
        {"run": "$request.path.run"},
        ("get_one_run", "post_block", "finish_attempt", "get_series", "get_verdict", "list_figures"),
    ),
}


def install(app: FastAPI) -> None:
    """Let `app.openapi()` and /openapi.json tell all of it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            app.openapi_schema = _completed(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for ours in ("HTTPValidationError", "ValidationError"):
        schemas.pop(ours, None)
    schemas["Error"] = ERROR
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(path, operations[method])
    return document


def _complete(path: str, operation: dict[str, Any]) -> None:
    errors = {**_ANYWHERE, **_SOMEWHERE.get(operation["operationId"], {})}
    if "{" in path:
        errors["404"] = "There is no such thing."
    if "requestBody" in operation:
        errors["413"] = "The body is larger than this server takes."
    for status, about in errors.items():
        told = operation["responses"].get(status, {})
        operation["responses"][status] = {
            "description": about
            if told.get("description") in (None, "Validation Error")
            else told["description"],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            **({"headers": _RETRY} if status in ("429", "503") else {}),
        }
    if operation["operationId"] in _LINKS:
        status, parameters, targets = _LINKS[operation["operationId"]]
        operation["responses"][status]["links"] = {
            target: {"operationId": target, "parameters": parameters} for target in targets
        }
    if lines := samples_of(operation["operationId"]):
        operation["x-codeSamples"] = lines
    for parameter in operation.get("parameters", ()):
        _without_nul(parameter["schema"])
    operation["security"] = [{"key": []}, {}]  # a server without a key, and the page's cookie, need none


def _without_nul(schema: dict[str, Any]) -> None:
    """No address may hold a NUL character: app/edge.py refuses it."""
    if schema.get("type") == "string" and not {"pattern", "enum", "const", "format"} & set(schema):
        schema["pattern"] = r"^[^\x00]*$"
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        _without_nul(inner)
