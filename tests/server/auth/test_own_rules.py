"""Who may write rules, and that a key of one project neither writes nor sees another's."""

from __future__ import annotations

import pytest

RULE = """id: {id}
title: Reward below its line
family: training
severity: warning
matches: [{{statistic: reward}}]
detector: {{kind: threshold, below: 0.5}}
runbook: {{meaning: It means something., check: [this], try: [{{text: that, basis: inference, source: experience}}]}}
source: experience
"""


def make(house, who, rule, **more):
    return house.ask(who, "POST", "/rules/own", json={"text": RULE.format(id=rule), **more})


def test_writing_needs_an_admin_key_and_trying_does_not(house):
    assert make(house, "read", "a-rule").status_code == 403
    assert make(house, "ingest", "a-rule").status_code == 403
    assert make(house, "admin", "a-rule").status_code == 201
    assert house.ask("read", "POST", "/rules/check", json={"text": RULE.format(id="b-rule")}).json()["good"]
    assert house.ask("read", "DELETE", "/rules/own/a-rule").status_code == 403
    assert house.ask("admin", "GET", "/rules/own/a-rule").json()["made_by"] == "admin"


def test_the_rule_of_a_project_key_is_for_that_project(house):
    assert make(house, "admin-mine", "mine-rule").json()["project"] == "mine"
    assert make(house, "admin-mine", "other-rule", project="theirs").status_code == 403
    assert make(house, "admin-theirs", "theirs-rule").json()["project"] == "theirs"
    assert make(house, "admin", "all-rule").json()["project"] is None
    seen = {one["rule"] for one in house.ask("read-mine", "GET", "/rules/own").json()["rules"]}
    assert seen == {"mine-rule", "all-rule"}
    in_force = {one["id"] for one in house.ask("read-mine", "GET", "/rules").json()["rules"]}
    assert {"mine-rule", "all-rule"} <= in_force
    assert "theirs-rule" not in in_force
    exported = house.ask("read-mine", "GET", "/rules/export").text
    assert "theirs-rule" not in exported


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/restore"), ("PUT", "")],
)
def test_anothers_rule_does_not_exist_for_a_key(house, method, path):
    make(house, "admin", "theirs-rule", project="theirs")
    body = {"version": 1, **({"text": RULE.format(id="theirs-rule")} if method == "PUT" else {})}
    json = {"json": body} if method in ("PUT", "POST") else {}
    hidden = house.ask("admin-mine", method, f"/rules/own/theirs-rule{path}", **json)
    missing = house.ask("admin-mine", method, f"/rules/own/no-such-rule{path}", **json)
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["detail"] == missing.json()["detail"]
    assert house.ask("admin-mine", "GET", "/rules/source/theirs-rule").status_code == 404
    tried = {"rules": ["theirs-rule"], "runs": ["r"]}
    assert house.ask("read-mine", "POST", "/rules/backtest", json=tried).status_code == 422


def test_a_rule_for_all_is_changed_with_a_key_for_all(house):
    make(house, "admin", "all-rule")
    for method, path, body in (
        ("DELETE", "", None),
        ("POST", "/restore", {"version": 1}),
        ("PUT", "", {"version": 1, "text": RULE.format(id="all-rule")}),
    ):
        refused = house.ask(
            "admin-mine", method, f"/rules/own/all-rule{path}", **({"json": body} if body else {})
        )
        assert refused.status_code == 403
        assert "all projects" in refused.json()["detail"]


def test_another_site_cannot_write_with_our_cookie(house):
    opened = house.client.post("/api/v1/session", json={"key": house.texts["admin"]})
    assert opened.status_code == 200
    body = {"text": RULE.format(id="a-rule")}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert house.client.post("/api/v1/rules/own", json=body, headers=headers).status_code == 403
    assert house.client.post("/api/v1/rules/own", json=body).status_code == 201


def test_candidates_are_the_projects_runs(house, wire):
    for project in ("mine", "theirs"):
        trainer = wire.Trainer(house.client, run=f"run-{project}")
        house.client.headers.update(house.headers("boot"))
        trainer.open(project=project, config={"tags": ["healthy"]})
        trainer.send(1, [wire.rows(1, [1], [[2.0]])], [wire.frame(1, ["loss"])])
        house.client.headers.pop("Authorization")
    for tag in ("", "&tag=healthy"):
        found = house.ask("read-mine", "GET", f"/rules/candidates?search=run{tag}").json()["runs"]
        assert [(one["run"], one["tags"]) for one in found] == [("run-mine", ["healthy"])]
