"""Rules made on the page, over HTTP: written, changed, deleted, restored, with all that they ever were; exported as a pack."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from foreshock_server.deps import PLAIN, WHOLE, Access, Asking, Reading, Writing
from foreshock_server.errors import Invalid, RuleChanged, RuleExists, UnknownRule
from foreshock_server.models import RuleChange
from foreshock_server.rules.own import drafts
from foreshock_server.rules.own.checking import RuleId, RuleText, TestsText
from foreshock_server.rules.own.view import shown, taken
from foreshock_server.store import own_rules
from foreshock_server.store.own_rules import Content

router = APIRouter(tags=["rules"])

YAML = "application/yaml"

Project = Annotated[str, Field(min_length=1, max_length=200, pattern=PLAIN)]
Pack = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,98}$")]
Note = Annotated[str, Field(max_length=1000, pattern=PLAIN)]
Version = Annotated[int, Field(ge=1, le=2**53, strict=False), WHOLE]


class NewRule(BaseModel):
    """A rule to be in force from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: RuleText = Field(description="YAML of one rule, as it stands under `rules:` of a pack")
    tests: TestsText = Field("", description="YAML of its drawn tests, with `tests:`; empty: none")
    project: Project | None = Field(
        None, description="only this project's runs; left out: all, or that of the key"
    )
    pack: Pack = Field("yours", description="the pack that it is listed and exported under")
    replaces: RuleId | None = Field(
        None, description="id of a rule of a file that is not in force where this one is"
    )
    note: Note = Field("", description="why, for whoever reads the history")


class ChangedRule(NewRule):
    """What the rule shall be from now on; its id stays."""

    version: Version = Field(
        description="the version that was changed; if there is a later one by now, nothing is stored"
    )


class Restored(BaseModel):
    """A version to go back to."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Version
    note: Note = ""


@router.get("/rules/own")
def list_own_rules(
    request: Request,
    session: Reading,
    access: Asking,
    deleted: Annotated[bool, Query(description="also those that were deleted and can be restored")] = False,
) -> dict[str, Any]:
    """The rules made here, as they are now; of a key of one project those that concern it. `problem`: why one is not in force."""
    book = request.app.state.rulebook
    book.look(session)
    found = own_rules.current(session, access.within(None), deleted=deleted)
    return {
        "revision": own_rules.revision(session),
        "rules": [shown(one, book.problems.get(one.rule)) for one in found],
    }


@router.post("/rules/own", status_code=201)
def create_own_rule(wish: NewRule, request: Request, session: Writing, access: Asking) -> dict[str, Any]:
    """A new rule: workers heed it within seconds, from the readings on that come then. The rule of a key of one project is for it alone."""
    own_rules.lock(session)
    rule = _good(session, request, wish, None)
    if rule in taken(session, request.app.state.rules, None):
        raise RuleExists
    project = access.within(wish.project)
    return shown(_append(session, rule, own_rules.CREATED, wish, access, project))


@router.get("/rules/own/{rule}")
def get_own_rule(rule: str, request: Request, session: Reading, access: Asking) -> dict[str, Any]:
    """A rule made here, with every version that it ever had, the latest first."""
    versions = _visible(own_rules.versions(session, rule), access)
    request.app.state.rulebook.look(session)
    now = shown(versions[0], request.app.state.rulebook.problems.get(rule))
    return {**now, "history": [shown(one) for one in versions]}


@router.put("/rules/own/{rule}")
def change_own_rule(
    rule: str, wish: ChangedRule, request: Request, session: Writing, access: Asking
) -> dict[str, Any]:
    """The next version of it; alerts go on with what they remember, as far as the new detector understands it."""
    own_rules.lock(session)
    last = _writable(own_rules.versions(session, rule), access)[0]
    if last.kind == own_rules.DELETED:
        raise UnknownRule("This rule was deleted; restore a version of it first.")
    if last.version != wish.version:
        raise RuleChanged(
            f"{last.made_by} changed this rule since you opened it (version {last.version}); look at that first."
        )
    _good(session, request, wish, rule)
    return shown(_append(session, rule, own_rules.CHANGED, wish, access, access.within(wish.project)))


@router.delete("/rules/own/{rule}")
def delete_own_rule(rule: str, session: Writing, access: Asking) -> dict[str, Any]:
    """Not in force any more: what fires under it is resolved. Its history stays, and it can be restored."""
    own_rules.lock(session)
    last = _writable(own_rules.versions(session, rule), access)[0]
    if last.kind == own_rules.DELETED:
        raise UnknownRule("This rule is deleted already.")
    return shown(_again(session, last, own_rules.DELETED, last, "", access))


@router.post("/rules/own/{rule}/restore")
def restore_own_rule(
    rule: str, wish: Restored, request: Request, session: Writing, access: Asking
) -> dict[str, Any]:
    """An earlier version as the next one; also of a rule that was deleted."""
    own_rules.lock(session)
    versions = _writable(own_rules.versions(session, rule), access)
    earlier = next((one for one in versions if one.version == wish.version), None)
    if earlier is None:
        raise Invalid(f"The rule has versions 1 to {versions[0].version}.", field="version")
    found = drafts.checked(earlier.text, earlier.tests, request.app.state.rulebook.look(session), {})
    if found.problems:
        raise Invalid(f"That version cannot be in force any more: {found.problems[0].says}", field="version")
    note = wish.note or f"version {wish.version} again"
    return shown(_again(session, versions[0], own_rules.RESTORED, earlier, note, access))


@router.get(
    "/rules/export", responses={200: {"content": {YAML: {}}, "description": "A pack, or a file of tests."}}
)
def export_rules(
    session: Reading,
    access: Asking,
    pack: Annotated[str, Query(max_length=100, description="only this pack; left out: all in one")] = "",
    part: Annotated[
        Literal["rules", "tests"], Query(description="the pack, or the file of its tests")
    ] = "rules",
) -> Response:
    """The rules made here as a pack for FORESHOCK_RULES_DIR, or their tests as a file for `foreshock rules test`, as they were written."""
    found = [one for one in own_rules.current(session, access.within(None)) if pack in ("", one.pack)]
    name = pack or "yours"
    if part == "rules":
        text = drafts.as_pack(name, [one.text for one in found])
    else:
        text = drafts.as_tests(f"{name}.yaml", [(one.rule, one.tests) for one in found])
    headers = {
        "Content-Disposition": f'attachment; filename="{"tests" if part == "tests" else "rules"}.yaml"'
    }
    return Response(text, media_type=YAML, headers=headers)


def _good(session: Session, request: Request, wish: NewRule, rule: str | None) -> str:
    """The id of the rule; Invalid with the first thing that is wrong in it."""
    rules = request.app.state.rulebook.look(session)
    found = drafts.checked(wish.text, wish.tests, rules, {}, rule)
    if found.rule is None or found.problems:
        first = found.problems[0]
        where = "" if first.line is None else f" (line {first.line})"
        raise Invalid(f"{first.says}{where}", field="text" if first.part == "rule" else "tests")
    if wish.replaces is not None and request.app.state.rules.get(wish.replaces) is None:
        raise Invalid(
            f"`replaces`: no rule of a file has the id {wish.replaces!r}; leave it out.", field="replaces"
        )
    return found.rule.id


def _visible(versions: Any, access: Access) -> list[RuleChange]:
    """Those of rules of another project do not exist."""
    if access.project is not None and versions[0].project not in (None, access.project):
        raise UnknownRule
    return list(versions)


def _writable(versions: Any, access: Access) -> list[RuleChange]:
    found = _visible(versions, access)
    if found[0].project is None:
        access.must_own("", "This rule is for all projects; change it with a key for all of them.")
    return found


def _append(
    session: Session, rule: str, kind: str, wish: NewRule, access: Access, project: str | None
) -> RuleChange:
    content = Content(wish.text, wish.tests, wish.pack, wish.replaces)
    return _stored(session, rule, kind, content, project, wish.note, access)


def _again(
    session: Session, last: RuleChange, kind: str, content: RuleChange, note: str, access: Access
) -> RuleChange:
    """What an earlier row says, as the next one; a key of one project never moves it to another."""
    kept = Content(content.text, content.tests, content.pack, content.replaces)
    project = last.project if access.project is not None else content.project
    return _stored(session, last.rule, kind, kept, project, note, access)


def _stored(
    session: Session, rule: str, kind: str, content: Content, project: str | None, note: str, access: Access
) -> RuleChange:
    who = (access.name or "somebody without a key")[:100]
    return own_rules.append(
        session, rule, kind, content, project=project, note=note, made_by=who, now=time.time()
    )
