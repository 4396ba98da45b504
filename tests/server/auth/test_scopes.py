"""What each kind of key may do, on every route, and that a key of one project neither sees nor learns of another's runs."""

from __future__ import annotations

import re
import time

import msgpack
import pytest
from starlette.routing import Mount, Route

from foreshock_server.auth.needs import ROUTES, Reach, is_guarded, need_of

HIDDEN = "run-theirs"


def walk(app):
    """(method, template) of every route of the application."""

    def inner(routes):
        for route in routes:
            original = getattr(route, "original_router", None)
            if original is not None:  # a router that was included as a whole
                prefix = route.include_context.prefix
                for method, path in inner(original.routes):
                    yield method, prefix + path
            elif isinstance(route, Mount):
                continue
            elif isinstance(route, Route):
                for method in route.methods or ():
                    yield method, route.path

    return sorted(set(inner(app.routes)))


def test_every_route_declares_what_it_needs(house):
    routes = walk(house.client.app)
    assert len(routes) > 30
    guarded = {f"{method} {path}" for method, path in routes if is_guarded(path) and method != "HEAD"}
    documented = {
        f"{method.upper()} {path}"
        for path, operations in house.client.app.openapi()["paths"].items()
        for method in operations
    }
    assert documented <= {route.replace(":path}", "}") for route in guarded}
    assert guarded - set(ROUTES) == set(), "say in auth/needs.py what these need"
    assert set(ROUTES) - guarded == set(), "auth/needs.py names routes that do not exist"
    for route, need in ROUTES.items():
        method, _, template = route.partition(" ")
        run = "run-1" if "{run}" in template else None
        path = re.sub(r"{[\w:]+}", "x", template.replace("{run}", "run-1"))
        assert need_of(method, path) == (need, run)
        if need.reach is Reach.RUN:
            assert "{run}" in template
        if "{run}" in template:
            assert need.reach in (Reach.RUN, Reach.OWN)


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/nothing", "/api/v1/runs/a/b/c/d", "/api/v1//runs", "/api/v2/runs"]
)
def test_what_is_not_declared_needs_everything(house, path):
    for who in ("nobody", "ingest", "read", "admin-mine"):
        assert house.client.get(path, headers=house.headers(who)).status_code in (401, 403)
    assert house.client.get(path, headers=house.headers("admin")).status_code == 404


def status_of(house, who, route, run="run-none"):
    method, _, template = route.partition(" ")
    path = re.sub(r"{[\w:]+}", "x", template.replace("{run}", run))
    if path.endswith("/live"):  # would go on: it is enough that it is not refused
        path += "?cursor=nonsense"
    return house.client.request(method, path, headers=house.headers(who)).status_code


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_only_the_scope_that_a_route_needs_opens_it(house, route):
    need = ROUTES[route]
    if need.scope is None:
        return
    assert status_of(house, "nobody", route) == 401
    for who in ("ingest", "read", "admin", "boot"):
        let_in = who in (need.scope, "admin", "boot")
        assert (status_of(house, who, route) == 403) is not let_in, who
        assert status_of(house, who, route) != 401
        mine = status_of(house, f"{who}-mine", route) if who != "boot" else 200
        if (need.reach is Reach.ALL and who != "boot") or not let_in:
            assert mine == 403


def test_ingest_alone_cannot_read_and_read_alone_cannot_write(house):
    assert house.open("ingest", "r", "p").status_code == 200
    refused = house.ask("ingest", "GET", "/runs/r")
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    assert "read" in refused.json()["detail"]
    assert house.ask("read", "GET", "/runs/r").status_code == 200
    assert house.open("read", "r2", "p").status_code == 403
    assert house.ask("read", "GET", "/runs/r2").status_code == 404


def fill(house, wire):
    for project in ("mine", "theirs"):
        trainer = wire.Trainer(house.client, run=f"run-{project}")
        house.client.headers.update(house.headers("boot"))
        trainer.open(project=project)
        trainer.send(1, [wire.rows(1, [1], [[2.0]])], [wire.frame(1, [f"loss_{project}"])])
        house.client.headers.pop("Authorization")


def test_a_run_of_another_project_does_not_exist_for_a_key(house, wire):
    fill(house, wire)
    for route, need in ROUTES.items():
        if need.reach is not Reach.RUN:
            continue
        who = {"ingest": "ingest-mine", "read": "read-mine"}.get(need.scope, "admin-mine")
        hidden, missing = ask_for(house, who, route, HIDDEN), ask_for(house, who, route, "no-such-run")
        assert (hidden.status_code, hidden.json()["error"]) == (404, "UnknownRun"), route
        assert said(hidden) == said(missing)
        assert hidden.headers.keys() == missing.headers.keys()


def ask_for(house, who, route, run):
    method, _, template = route.partition(" ")
    path = re.sub(r"{[\w:]+}", "1", template.replace("{run}", run))
    return house.client.request(method, path, headers=house.headers(who))


def said(answer):
    return {name: value for name, value in answer.json().items() if "request" not in name}


def test_lists_show_only_the_projects_runs(house, wire):
    fill(house, wire)
    for path, of in (
        ("/runs", lambda body: {run["project"] for run in body["runs"]}),
        ("/projects", lambda body: {one["project"] for one in body["projects"]}),
        ("/statistics", lambda body: {one["statistic"].removeprefix("loss_") for one in body["statistics"]}),
    ):
        assert of(house.ask("read", "GET", path).json()) == {"mine", "theirs"}
        assert of(house.ask("read-mine", "GET", path).json()) == {"mine"}
    for path in ("/runs", "/alerts"):
        assert house.ask("read-mine", "GET", f"{path}?project=mine").status_code == 200
        refused = house.ask("read-mine", "GET", f"{path}?project=theirs")
        assert refused.status_code == 403
        assert "'mine'" in refused.json()["detail"]
        assert said(house.ask("read-mine", "GET", f"{path}?project=no-such")) == said(refused)


def test_deliveries_are_those_of_the_projects_runs(house, wire):
    from foreshock_server.models import Delivery

    fill(house, wire)
    with house.client.app.state.database.writing() as session:
        for project in ("mine", "theirs"):
            session.add(
                Delivery(
                    id=project, run_id=f"run-{project}", rule="r", series_id=1, episode=1, kind="fired", channel_id="c",
                    state="waiting", tries=1, next_at=time.time() + 1e6, created_at=time.time(), delivered_at=None, error=None,
                )
            )  # fmt: skip
    everything = house.ask("read", "GET", "/deliveries").json()
    mine = house.ask("read-mine", "GET", "/deliveries").json()
    assert {one["run"] for one in everything["deliveries"]} == {"run-mine", "run-theirs"}
    assert {one["run"] for one in mine["deliveries"]} == {"run-mine"}
    assert (everything["counts"]["waiting"], mine["counts"]["waiting"]) == (2, 1)
    other = house.ask("read-mine", "GET", f"/deliveries?run={HIDDEN}").json()
    assert (other["deliveries"], other["counts"]["waiting"]) == ([], 0)


def test_alerts_and_live_events_are_those_of_the_project(house, wire):
    from foreshock_server.models import Alert
    from foreshock_server.query import live

    fill(house, wire)
    state = house.client.app.state
    with state.database.writing() as session:
        for project in ("mine", "theirs"):
            session.add(
                Alert(
                    run_id=f"run-{project}", rule="r", series_id=1, state="firing", severity="critical", episode=1, since_step=1,
                    fired_step=1, last_step=1, attempt=1, memory={}, reading={},
                )
            )  # fmt: skip
    assert {one["project"] for one in house.ask("read", "GET", "/alerts").json()["alerts"]} == {
        "mine",
        "theirs",
    }
    assert {one["project"] for one in house.ask("read-mine", "GET", "/alerts").json()["alerts"]} == {"mine"}
    look = live.list_look(state.database, state.settings, None, time.time(), "mine")
    assert {event["data"]["run"] for event in look()} == {"run-mine"}


def test_a_key_opens_runs_in_its_project_alone(house, wire):
    fill(house, wire)
    assert house.open("ingest-mine", "new", "mine").status_code == 200
    refused = house.open("ingest-mine", "other", "theirs")
    assert refused.status_code == 403
    assert "'mine'" in refused.json()["detail"]
    assert house.ask("read", "GET", "/runs/other").status_code == 404, "nothing was stored"
    taken = house.open("ingest-mine", HIDDEN, "mine")
    assert taken.status_code == 403
    assert "theirs" not in taken.text
    before = house.ask("read", "GET", f"/runs/{HIDDEN}").json()
    assert [attempt["attempt"] for attempt in before["attempts"]] == [1]


def test_a_key_of_the_project_writes_and_reads_it(house, wire):
    fill(house, wire)
    trainer = wire.Trainer(house.client, run="run-mine", writer="r1-bbbb")
    body = msgpack.packb(trainer.block(1, [wire.rows(1, [5], [[2.0]])], [wire.frame(1, ["loss_mine"])]))
    headers = {"Content-Type": wire.MSGPACK}
    stored = house.ask("ingest-mine", "POST", "/runs/run-mine/blocks", content=body, headers=headers)
    assert stored.status_code == 200
    data = house.ask("read-mine", "GET", "/runs/run-mine/data?key=loss_mine&points=0")
    assert data.json()["series"][0]["steps"] == [1, 5]
    assert house.ask("read-theirs", "GET", "/runs/run-mine/data?key=loss_mine").status_code == 404


def test_channels_and_keys_are_for_admins_of_all_projects(house):
    for path in ("/channels", "/keys"):
        assert house.ask("admin", "GET", path).status_code == 200
        for who in ("read", "ingest", "admin-mine"):
            assert house.ask(who, "GET", path).status_code == 403
    assert house.client.get("/metrics", headers=house.headers("read")).status_code == 200
    assert house.client.get("/metrics", headers=house.headers("read-mine")).status_code == 403
