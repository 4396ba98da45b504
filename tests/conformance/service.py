"""Everything around the numbers: readiness, alerts, errors, keys, deletion."""

from __future__ import annotations

import math

import foreshock
from foreshock.demo.receiver import Receiver

from .by_hand import address_of, block_of, opening_of, series_of
from .subject import Subject, soon


def it_is_alive_and_ready(subject: Subject) -> None:
    """The page, its parts and the answers about the service itself."""
    assert subject.ask("GET", "/healthz").body == {"status": "ok"}
    ready = subject.ask("GET", "/readyz")
    assert (ready.status, ready.body["status"]) == (200, "ok")
    metrics = subject.ask("GET", "/metrics")
    assert metrics.status == 200
    assert b"foreshock_" in metrics.body
    for path in ("/", "/runs", "/docs"):
        page = subject.ask("GET", path)
        assert page.status == 200
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "/api/v1/runs/{run}/blocks" in subject.ask("GET", "/openapi.json").body["paths"]


def an_alert_fires_once_and_tells_once(subject: Subject) -> None:
    """From the training loop to the pager and back: one firing, one signed message, and the SDK hears of it."""
    receiver = Receiver("127.0.0.1" if subject.receiver_host == "127.0.0.1" else "0.0.0.0")
    made = subject.ask(
        "POST",
        "/api/v1/channels",
        {
            "name": subject.named("conformance"),
            "kind": "webhook",
            "url": receiver.url_from(subject.receiver_host),
            "secret": receiver.secret,
            "project": subject.named("conformance"),
        },
    )
    assert made.status == 201, made.body
    assert receiver.secret not in str(subject.ask("GET", "/api/v1/channels").body), "a secret is shown"
    try:
        run = subject.begin("alerting")
        for step in range(200):
            run.log(policy_entropy=math.exp(-step / 50) + 0.01 * math.sin(step), loss=2.0)
            run.step()
        soon(lambda: receiver.messages, "a message")
        soon(
            lambda: (_touch(run), run.alerts.firing("policy-entropy-collapse"))[1],
            "the training loop hears of it",
        )
        run.finish()
        seen = subject.run("alerting")
        counts = soon(lambda: _done(subject, "alerting"), "every delivery is done")
        told = [one for one in seen.transitions() if one["rule"] == "policy-entropy-collapse"]
        assert len([one for one in told if one["kind"] == "fired"]) == 1
        messages = receiver.about(seen.id)
        assert all(message.verified for message in messages)
        fired = [message for message in messages if message.body["type"] == "alert.fired"]
        assert len(fired) == 1
        assert len({message.id for message in messages}) == len(messages) == counts["delivered"]
        alert = next(one for one in seen.alerts() if one["rule"] == "policy-entropy-collapse")
        body = fired[0].body["alert"]
        assert (body["series"], body["episode"]) == ("policy_entropy", 1)
        assert body["step"] == next(one["step"] for one in told if one["kind"] == "fired")
        assert (alert["state"], alert["severity"]) == ("firing", "critical")
        assert seen.refresh().verdict == "collapsing"
    finally:
        subject.ask("DELETE", f"/api/v1/channels/{made.body['id']}")
        receiver.close()


def what_cannot_be_is_refused_in_a_sentence(subject: Subject) -> None:
    """The status of the contract, a name for programs, a sentence for people; and nothing of it is stored."""
    where = address_of(subject, "refused")
    unopened = address_of(subject, "never-opened")
    assert subject.ask("PUT", where, opening_of("r0-a")).status == 200
    row = {"frame": 1, "steps": [0], "times": [0.0], "values": [1.0]}
    whole = block_of("r0-a", 1, [row], [{"frame": 1, "series": [series_of("x")]}])
    cases = [
        ("GET", unopened, None, 404, "UnknownRun"),
        ("POST", f"{unopened}/blocks", whole, 404, "UnknownRun"),
        ("GET", f"{where}/data?key=nobody", None, 404, "UnknownSeries"),
        ("GET", f"{where}/figures/nobody", None, 404, "UnknownFigure"),
        ("POST", f"{where}/blocks", block_of("r0-a", 1, [row]), 409, "UnknownFrame"),
        ("POST", f"{where}/blocks", {**whole, "v": 2}, 422, "MalformedBlock"),
        ("POST", f"{where}/blocks", {**whole, "seq": 0}, 422, "MalformedBlock"),
        ("POST", f"{where}/blocks", b"{", 422, "MalformedBlock"),
        ("PUT", where, {"project": ""}, 422, "Invalid"),
        ("POST", f"{where}/attempts/1/finish", {"state": "gone", "at": 0}, 422, "Invalid"),
        ("POST", "/api/v1/channels", {"name": "x", "kind": "pigeon", "url": "http://x"}, 422, "Invalid"),
    ]
    for method, path, body, status, name in cases:
        answer = subject.ask(method, path, body)
        assert (answer.status, answer.body["error"]) == (status, name), (method, path, answer.body)
        assert answer.body["detail"].endswith("."), answer.body
    assert subject.run("refused").fields["points"] == 0
    assert subject.ask("POST", f"{where}/blocks", whole).body["ack"] == 1, "what was refused blocks nobody"


def a_key_is_asked_for_where_there_is_one(subject: Subject) -> None:
    """Without it nothing is told; where there is none, every name but our own is refused instead."""
    if subject.api_key:
        for key in (None, "not-the-key-at-all"):
            refused = subject.ask("GET", "/api/v1/runs", key=key)
            assert (refused.status, refused.body["error"]) == (401, "Unauthorized")
        assert subject.ask("GET", "/healthz", key=None).status == 200
    else:
        other = subject.ask("GET", "/api/v1/runs", headers={"Host": "elsewhere.example"})
        assert other.status in (400, 403, 421), "any web page could point its name here"
    assert subject.ask("GET", "/api/v1/runs").status == 200


def a_key_opens_what_it_is_for(subject: Subject) -> None:
    """One that may only write, one that may only read, of one project; and a revoked one lets nobody in any more."""
    if not subject.api_key:
        return  # the first key would close the door to the other checks
    project = subject.named("keyed")
    made = {
        scope: subject.ask(
            "POST", "/api/v1/keys", {"name": scope, "scopes": [scope], "project": project}
        ).body
        for scope in ("ingest", "read")
    }
    keys = {scope: key["key"] for scope, key in made.items()}
    assert keys["read"] not in str(subject.ask("GET", "/api/v1/keys").body), "a secret is shown again"
    where, opening = address_of(subject, "keyed"), {**opening_of("r0-a"), "project": project}
    soon(
        lambda: all(subject.ask("PUT", where, opening, key=keys["ingest"]).status == 200 for _ in range(8)),
        "every replica knows it",
    )
    soon(
        lambda: all(subject.ask("GET", where, key=keys["read"]).status == 200 for _ in range(8)),
        "every replica knows it",
    )
    assert subject.ask("GET", where, key=keys["ingest"]).status == 403
    assert subject.ask("PUT", where, opening, key=keys["read"]).status == 403
    foreign = f"{where}-foreign"
    assert subject.ask("PUT", foreign, opening_of("r0-a"), key=keys["ingest"]).status == 403
    assert subject.ask("PUT", foreign, opening_of("r0-a")).status == 200
    assert subject.ask("GET", foreign, key=keys["read"]).status == 404, "it must not even tell that it exists"
    seen = {run["id"] for run in subject.ask("GET", "/api/v1/runs", key=keys["read"]).body["runs"]}
    assert seen == {subject.named("keyed")}
    for key in made.values():
        assert subject.ask("DELETE", f"/api/v1/keys/{key['id']}").status == 200
    soon(
        lambda: all(subject.ask("GET", where, key=keys["read"]).status == 401 for _ in range(8)),
        "no replica takes it any more",
    )


def a_deleted_run_is_gone(subject: Subject) -> None:
    """For readers it never was; who still writes to it is told so."""
    with subject.begin("deleted") as run:
        run.log(loss=1.0)
        run.step()
    where = address_of(subject, "deleted")
    assert subject.run("deleted").state == "finished"
    assert subject.ask("DELETE", where).status in (200, 202, 204)
    for path in ("", "/series", "/data?key=loss", "/alerts", "/verdict", "/figures"):
        gone = subject.ask("GET", where + path)
        assert (gone.status, gone.body["error"]) == (404, "UnknownRun"), path
    listed = subject.ask("GET", "/api/v1/runs?limit=500").body["runs"]
    assert subject.named("deleted") not in {one["id"] for one in listed}
    late = subject.ask("POST", f"{where}/blocks", block_of("r0-late", 1, []))
    assert late.status == 410
    assert late.body["detail"].endswith(".")


def _touch(run: foreshock.Run) -> None:
    """One more step, whose block brings the alerts back."""
    run.log(policy_entropy=0.02, loss=2.0)
    run.step()


def _done(subject: Subject, name: str) -> dict[str, int] | None:
    counts: dict[str, int] = subject.client.get("deliveries", run=subject.named(name))["counts"]
    return counts if counts.get("delivered") and not counts.get("waiting") else None
