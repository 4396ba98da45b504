"""`foreshock rules`: checks rule packs, runs their tests, tries rules on stored runs, and prints examples."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreshock_server.cli.common import Refused, bring_up_to_date, sentences, settings_from
from foreshock_server.db import Database
from foreshock_server.rules.check import check
from foreshock_server.rules.description import listed
from foreshock_server.rules.load import RuleSet, example_packs
from foreshock_server.rules.own.book import Rulebook
from foreshock_server.rules.trial.asking import only
from foreshock_server.rules.trial.backtest import Asked, backtest
from foreshock_server.rules.trial.files import named_rules, run_builtin, run_files
from foreshock_server.rules.trial.suggest import suggest
from foreshock_server.settings import Settings


def rules(argv: Sequence[str]) -> int:
    """Check rule packs, run their tests, and try rules on stored runs."""
    arguments = _parser().parse_args(argv)
    status: int = arguments.act(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("foreshock rules", description=rules.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    checking = words.add_parser("check", help="say what is wrong in rule packs, and where")
    checking.add_argument(
        "paths", nargs="*", type=Path, help="YAML files or folders; none: the built-in packs"
    )
    checking.set_defaults(act=lambda arguments: _said(*check(arguments.paths)))
    testing = words.add_parser("test", help="run rules on drawn series and compare with what is expected")
    testing.add_argument("paths", nargs="*", type=Path, help="YAML files of tests, or folders of them")
    testing.add_argument("--builtin", action="store_true", help="the tests that ship with the built-in packs")
    testing.set_defaults(act=_test)
    listing = words.add_parser(
        "list", help="the rules in force: what each watches, its level, what that rests on, and from when on"
    )
    listing.add_argument(
        "--pack", help="a YAML file or the name of a built-in pack; none: the rules in force"
    )
    listing.set_defaults(act=_list)
    showing = words.add_parser("example", help="print a pack that ships but is not in force, to be copied")
    showing.add_argument("name", choices=sorted(example_packs()))
    showing.set_defaults(act=lambda arguments: _said([example_packs()[arguments.name].rstrip()], True))
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    where.add_argument("--json", action="store_true", help="everything, as JSON")
    replaying = words.add_parser(
        "backtest",
        parents=[where],
        help="try rules on stored runs: where each would have fired, and how early",
    )
    replaying.add_argument(
        "pack", nargs="?", help="a YAML file or the name of a built-in pack; none: the rules in force"
    )
    replaying.add_argument(
        "--runs", type=_names, default=[], help="runs that went wrong, by id or name: A,B,…"
    )
    replaying.add_argument(
        "--healthy", type=_names, default=[], help="runs in which nothing should fire: C,D,…"
    )
    replaying.add_argument(
        "--outcome",
        action="append",
        default=[],
        metavar="RUN=STEP",
        help="the step at which people saw it, from which the lead is counted; a STEP alone is of all --runs",
    )
    replaying.add_argument("--rule", action="append", default=[], help="only this rule; once per rule")
    replaying.set_defaults(act=_backtest)
    suggesting = words.add_parser(
        "suggest", parents=[where], help="the threshold that keeps a rate of false alarms, from healthy runs"
    )
    suggesting.add_argument("rule", help="a rule whose detector has one number that says how bad is bad")
    suggesting.add_argument("--pack", help="as for backtest")
    suggesting.add_argument(
        "--healthy", type=_names, required=True, help="healthy runs, by id or name: C,D,…"
    )
    suggesting.add_argument(
        "--rate",
        type=float,
        default=0.05,
        help="the share of healthy runs in which it may fire (default 0.05)",
    )
    suggesting.set_defaults(act=_suggest)
    return parser


def _said(lines: Sequence[str], good: bool) -> int:
    for line in lines:
        print(line)
    return 0 if good else 1


def _test(arguments: argparse.Namespace) -> int:
    with sentences():
        if bool(arguments.paths) == arguments.builtin:
            raise Refused("Name files of tests, or write --builtin for those that ship.")
        return _said(*(run_builtin() if arguments.builtin else run_files(arguments.paths)))
    return 1


def _list(arguments: argparse.Namespace) -> int:
    with sentences():
        return _said(listed(_rules_of(arguments.pack, settings_from()).rules), True)
    return 1


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _backtest(arguments: argparse.Namespace) -> int:
    with sentences():
        if not arguments.runs and not arguments.healthy:
            raise Refused("Name runs to try the rules on: --runs A,B,… and perhaps --healthy C,D,…")
        outcomes = _outcomes(arguments.outcome, arguments.runs)
        asked = [Asked(one, outcome=outcomes.get(one)) for one in arguments.runs]
        asked += [Asked(one, healthy=True) for one in arguments.healthy]
        with _at_work(arguments) as (database, in_force):
            found = backtest(database, only(in_force, arguments.rule), asked)
        for line in [json.dumps(found, indent=1)] if arguments.json else _told(found):
            print(line)
        return 0
    return 1


def _suggest(arguments: argparse.Namespace) -> int:
    with sentences():
        if not 0 < arguments.rate < 1:
            raise Refused(f"--rate {arguments.rate:g}: write a share of runs, such as 0.05.")
        with _at_work(arguments) as (database, in_force):
            rule = only(in_force, [arguments.rule]).rules[0]
            found = suggest(database, rule, arguments.healthy, arguments.rate)
        if arguments.json:
            print(json.dumps(found, indent=1))
        elif found["refused"] is None:
            rests_on = found["rests_on"]
            print(f"{rule.id}: {found['says']}")
            print(f"It rests on {rests_on['runs']:,} runs and {rests_on['steps']:,} steps.")
        if found["refused"] is None:
            return 0
        raise Refused(found["refused"])
    return 1


@contextmanager
def _at_work(arguments: argparse.Namespace) -> Iterator[tuple[Database, RuleSet]]:
    """The database, and the rules of the pack or those in force."""
    settings = settings_from(data_dir=arguments.data_dir)
    rule_set = _rules_of(arguments.pack, settings)
    database = Database(settings.url)
    try:
        bring_up_to_date(database)
        if arguments.pack is None:
            with database.reading() as session:
                rule_set = Rulebook(rule_set).look(session)
        yield database, rule_set
    finally:
        database.close()


def _rules_of(pack: str | None, settings: Settings) -> RuleSet:
    """Those of a pack, or those in force."""
    return RuleSet.load(settings) if pack is None else named_rules(pack, Path())


def _outcomes(given: Sequence[str], runs: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in given:
        run, _, step = one.rpartition("=")
        if not step.lstrip("-").isdecimal() or (run and run not in runs):
            raise Refused(f"--outcome {one}: write RUN=STEP with one of --runs, or a STEP for all of them.")
        found.update({run: int(step)} if run else dict.fromkeys(runs, int(step)))
    return found


def _told(found: Mapping[str, Any]) -> list[str]:
    """A line for each rule that has something to say, and one below for each run."""
    names = {one["run"]: f"{one['project']}/{one['name']} ({one['run']})" for one in found["runs"]}
    lines: list[str] = []
    silent = 0
    for rule in found["rules"]:
        fired = [one for one in rule["runs"] if one["fired_step"] is not None]
        watched = rule["healthy"]["watched"] or any(one["watched"] for one in rule["runs"])
        if len(found["rules"]) > 1 and not fired and not rule["healthy"]["fired"]:
            silent += 1
            continue
        lines.append(f"{rule['rule']}: {rule['summary'] if watched else 'no run has a series for it'}")
        if len(rule["runs"]) > 1:
            lines += [f"  {names[one['run']]}: {one['summary']}" for one in rule["runs"] if one["watched"]]
        lines += [f"  fired in the healthy run {names[one]}" for one in rule["healthy"]["fired_in"]]
    if silent:
        lines.append(f"{silent} {'rule' if silent == 1 else 'rules'} fired in none of these runs")
    return lines
