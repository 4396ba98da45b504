"""`foreshock demo`: a server, a receiver, two trainings side by side -> progress, the alert as it fires, a summary."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreshock.query.client import Client, ForeshockError
from foreshock.version import __version__

from .children import Child, Variant
from .receiver import Receiver
from .service import NotStarted, Service
from .summary import report, sentences

WAIT_FOR_DELIVERIES = 20.0  # seconds after the last step in which messages may still go out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when both trainings ended and everything that they recorded is stored."""
    arguments = _parser().parse_args(argv)
    try:
        from .screen import Screen
    except ModuleNotFoundError as missing:
        print(f"foreshock demo needs {missing.name}: pip install 'foreshock[demo]'", file=sys.stderr)
        return 1
    signal.signal(
        signal.SIGTERM, lambda _number, _frame: sys.exit(143)
    )  # so that nothing we started outlives us
    began = time.monotonic()
    folder = Path(arguments.data_dir or tempfile.mkdtemp(prefix="foreshock-demo-"))
    receiver = Receiver()
    children: list[Child] = []
    try:
        service = Service(
            folder / "server",
            port=arguments.port,
            environment={"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret},
        )
        try:
            service.wait_until_ready()
            with Screen(service.url) as screen:
                checkpoint = folder / f"pretrained-{arguments.seed}.pt"
                teacher = Child.teacher(checkpoint, seed=arguments.seed, log=folder / "pretrain.log")
                children.append(teacher)
                screen.follow([teacher])
                runs = [
                    Child.run(
                        variant,
                        checkpoint,
                        seed=arguments.seed,
                        url=service.url,
                        spool=folder / "spool",
                        log=folder / f"{variant}.log",
                    )
                    for variant in Variant
                ]
                children += runs
                screen.follow(runs)
            told = _collect(service.url, runs, receiver, arguments.seed)
            told["seconds"] = round(time.monotonic() - began, 1)
            for variant, one in told["runs"].items():
                screen.say(*sentences(variant, one))
            screen.say(f"Everything took {told['seconds']:.0f} s; the data is in {folder}.")
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(told, indent=2) + "\n")
            if not arguments.exit:
                screen.say(f"Still serving {service.url} (Ctrl-C ends it).")
                service.wait()
        finally:
            for child in children:
                child.stop()
            service.stop()
    except (NotStarted, ForeshockError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        receiver.close()
    lost = [name for name, one in told["runs"].items() if one["points"]["stored"] != one["points"]["sent"]]
    return 1 if lost else 0


def _collect(url: str, runs: Sequence[Child], receiver: Receiver, seed: int) -> dict[str, Any]:
    client = Client(url)
    _wait_for_deliveries(client)
    told = {}
    for child in runs:
        stored = client.get(f"runs/{child.run_id}")
        told[child.name] = report(
            seed=seed,
            curve=child.curve,
            tally=child.tally,
            stored=stored,
            alerts=client.get(f"runs/{child.run_id}/alerts")["transitions"],
            deliveries=client.get("deliveries", run=str(child.run_id))["deliveries"],
            received=[{"id": m.id, "verified": m.verified} for m in receiver.about(str(child.run_id))],
        )
    return {"foreshock": __version__, "seed": seed, "server": url, "runs": told}


def _wait_for_deliveries(client: Client) -> None:
    """Until the rules saw every block and no message waits; at most WAIT_FOR_DELIVERIES seconds."""
    deadline = time.monotonic() + WAIT_FOR_DELIVERIES
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        waiting = [d for d in _rows(client.get("deliveries")) if d["state"] == "waiting"]
        now = time.monotonic()
        quiet_since = None if waiting else quiet_since or now
        if quiet_since is not None and now - quiet_since > 2.0:
            return
        time.sleep(0.25)


def _rows(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = answer["deliveries"]
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foreshock demo",
        description="Train two small language models with GRPO on arithmetic puzzles: one loses its policy entropy, its twin does not.",
    )
    parser.add_argument(
        "--exit", action="store_true", help="end when both runs have ended, instead of serving on"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there")
    parser.add_argument("--seed", type=int, default=0, help="decides noise and nothing else (default 0)")
    parser.add_argument(
        "--port", type=int, default=None, help="port of the page (default 8642, or a free one)"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="keep the database and logs there (default: a new temporary folder)"
    )
    return parser
