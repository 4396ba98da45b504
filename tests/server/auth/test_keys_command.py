"""`foreshock keys`: the first key is made before a server listens, and a server that others can reach does not start without."""

from __future__ import annotations

import re

import pytest

from foreshock_server.cli import main


@pytest.fixture
def keys(database_url, monkeypatch, capsys):
    """Runs `foreshock keys WORD …` on the test's database, in this process: (status, out, err)."""
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database_url)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["keys", *words])
        return status, *capsys.readouterr()

    return run


def test_a_key_is_made_listed_and_revoked(keys, migrated_url):
    status, out, err = keys("create", "node 7", "--scope", "ingest", "--project", "grpo")
    assert status == 0
    assert re.fullmatch(r"fsk_[a-z0-9]{12}_[A-Za-z0-9]{43}\n", out), "and nothing else: it can be assigned"
    assert "ingest in 'grpo'" in err
    key_id, secret = out.strip().split("_")[1:]
    assert keys("create", "page", "--scope", "read", "--scope", "admin")[0] == 0
    assert "ingest+read" in keys("create", "usual")[2]
    status, out, _ = keys("list")
    assert status == 0
    assert secret not in out
    row = next(line for line in out.splitlines() if line.startswith(key_id))
    assert re.search(r"node 7 +ingest in 'grpo' +\d{4}-\d\d-\d\d \d\d:\d\d +never$", row)
    assert "admin+read" in out
    assert keys("revoke", f"fsk_{key_id}_{secret}")[0] == 0
    assert "revoked" in next(line for line in keys("list")[1].splitlines() if line.startswith(key_id))
    status, _, err = keys("revoke", "nobody")
    assert (status, "keys list" in err) == (1, True)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101, "\u202ename"])
def test_a_name_that_would_confuse_a_list_is_refused(keys, migrated_url, name):
    status, out, err = keys("create", name)
    assert (status, out) == (1, "")
    assert "printable" in err


def test_the_first_key_needs_no_server_and_lets_one_listen(wire, tmp_path):
    data = tmp_path / "data"
    process = wire.command("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(data))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "foreshock keys create" in err
    made = wire.command("keys", "create", "first", "--scope", "admin", "--data-dir", str(data))
    key = made.communicate(timeout=60)[0].strip()
    served = wire.Served(tmp_path).start("--host", "0.0.0.0", "--port", "0")
    try:
        address = f"http://127.0.0.1:{served.url.rpartition(':')[2]}/api/v1"
        bearer = {"Authorization": f"Bearer {key}"}
        assert served.http.get(f"{address}/runs").status_code == 401
        assert served.http.get(f"{address}/runs", headers=bearer).status_code == 200
        another = (
            wire.command("keys", "create", "later", "--data-dir", str(data))
            .communicate(timeout=60)[0]
            .strip()
        )
        later = {"Authorization": f"Bearer {another}"}
        assert served.http.get(f"{address}/runs", headers=later).status_code == 200, "while the server runs"
    finally:
        served.stop()
    revoked = wire.command("keys", "revoke", key, "--data-dir", str(data))
    assert revoked.wait(60) == 0
    revoked = wire.command("keys", "revoke", another, "--data-dir", str(data))
    assert revoked.wait(60) == 0
    process = wire.command("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(data))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "foreshock keys create" in err) == (1, True)


def test_no_key_yet_says_how_to_make_one(keys, migrated_url):
    status, out, err = keys("list")
    assert (status, out) == (0, "")
    assert "foreshock keys create" in err
