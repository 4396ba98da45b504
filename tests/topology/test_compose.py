"""docker-compose.yml says what the README promises, and its proxy does in front of replicas what the suite asks of a service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from tests.conformance.checks import CHECKS
from tests.conformance.subject import Subject
from tests.topology.processes import ROOT, Process, eventually, free_port
from tests.topology.scale import topology_in

KEY = "compose-compose"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_one_profile_is_one_service_and_the_other_is_the_whole_topology(compose: dict[str, Any]) -> None:
    def of(profile: str) -> dict[str, int]:
        return {
            name: service.get("deploy", {}).get("replicas", 1)
            for name, service in compose["services"].items()
            if profile in service["profiles"]
        }

    assert of("one") == {"foreshock": 1}
    assert of("scale") == {
        "proxy": 1,
        "api-1": 1,
        "api-2": 1,
        "worker": 2,
        "migrate": 1,
        "postgres": 1,
        "redis": 1,
    }


def test_all_that_share_the_work_share_database_redis_and_key(compose: dict[str, Any]) -> None:
    ours = [compose["services"][name] for name in ("api-1", "api-2", "worker", "migrate")]
    assert all(service["environment"] == ours[0]["environment"] for service in ours)
    told = ours[0]["environment"]
    assert "@postgres/" in told["FORESHOCK_DATABASE_URL"]
    assert told["FORESHOCK_REDIS_URL"].startswith("redis://redis:")
    assert told["FORESHOCK_WORKERS"] == "false"
    assert told["FORESHOCK_API_KEY"].startswith("${FORESHOCK_API_KEY:?"), "without a key it must not start"
    assert [service.get("command", ["serve"]) for service in ours] == [
        ["serve"],
        ["serve"],
        ["worker"],
        ["migrate"],
    ]


def test_only_one_port_is_published_and_that_on_loopback(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {"foreshock": ["127.0.0.1:8642:8642"], "proxy": ["127.0.0.1:8642:8642"]}


def test_whatever_is_named_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(compose["volumes"])
        assert {config["source"] for config in service.get("configs", [])} <= set(compose["configs"])
    assert set(re.findall(r"\bapi-\d\b", caddyfile(compose))) == {"api-1", "api-2"}


def test_docker_reads_it() -> None:
    installed = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )
    if not installed:
        pytest.skip("`docker compose` is not installed")
    for profile in ("one", "scale"):
        done = subprocess.run(
            ["docker", "compose", "--profile", profile, "config", "--quiet"],
            cwd=ROOT,
            env={**os.environ, "FORESHOCK_API_KEY": KEY},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_image_is_built_from_all_that_the_wheel_needs() -> None:
    lines = (ROOT / "server/Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"wheel\]\npackages = \[(.*?)\]", project, re.S)
    assert packages is not None
    sources = {name.partition("/")[0] for name in re.findall(r'"([^"]+)"', packages[1])}
    assert sources | {"pyproject.toml", "README.md", "LICENSE"} <= copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
def test_its_proxy_passes_on_what_the_suite_asks_for(compose: dict[str, Any], tmp_path: Path) -> None:
    topology = topology_in(tmp_path, {"FORESHOCK_API_KEY": KEY})
    port = free_port()
    told = re.sub(r"^:8642", f":{port}", caddyfile(compose), flags=re.M)
    for name, replica in zip(("api-1", "api-2"), topology.replicas, strict=True):
        told = told.replace(f"{name}:8642", f"127.0.0.1:{replica.port}")
    (tmp_path / "Caddyfile").write_text(told)
    words = ["caddy", "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    proxy = Process(words, tmp_path / "caddy.log", {"HOME": str(tmp_path)})
    try:
        proxy.start()
        subject = Subject(f"http://127.0.0.1:{port}", tmp_path, KEY)
        eventually(lambda: answers(subject), says=lambda: proxy.words)
        for check in CHECKS:
            check(subject)
        topology.replicas[0].kill()
        for _ in range(10):
            assert subject.ask("GET", "/api/v1/runs").status == 200, "the other replica does not step in"
    finally:
        proxy.stop()
        topology.close()


def answers(subject: Subject) -> bool:
    """Whether anything does at this address."""
    try:
        return subject.ask("GET", "/healthz").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def caddyfile(compose: dict[str, Any]) -> str:
    """The proxy's configuration."""
    return str(compose["configs"]["proxy"]["content"])
