"""`python -m tests.bench [AREA …]`: each area in one go, its file into build/bench, the table of ratios printed last."""

from __future__ import annotations

import argparse
import datetime
import importlib
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import machine, report
from tests.bench.report import Measure

AREAS = ("overhead", "logits", "store", "reading", "detection", "alerts", "page")


def main() -> int:
    """0 when every area ran and ours was measured in each; a rival that will not run is a row, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "areas", nargs="*", metavar="AREA", help=f"any of {', '.join(AREAS)}; all of them when none is named"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="folder of the files (default: %(default)s)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few readings each: does it run at all; the numbers mean nothing",
    )
    parser.add_argument(
        "--pairs",
        nargs="+",
        default=[],
        help="of detection: the pairs of the zoo to train, and no other (default: all)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="of detection: a folder in which trainings stay, so that who was cut off begins where that was",
    )
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.areas) - set(AREAS))
    if unknown:
        parser.error(f"no area is called {', '.join(unknown)}; write one of {', '.join(AREAS)}")
    everything: list[Measure] = []
    failed = []
    for area in chosen.areas or AREAS:
        about, date = (
            machine.describe(),
            datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        )
        began = time.monotonic()
        more = {"pairs": chosen.pairs, "keep": chosen.keep and chosen.keep.resolve()}
        for measures in measured(area, chosen.quick, **more if area == "detection" else {}):
            report.write(chosen.out / f"{area}.json", about, date, measures)
        print(f"{area}: {time.monotonic() - began:.0f} s, {chosen.out / f'{area}.json'}", flush=True)
        everything += measures
        if any(reason_of.startswith(report.OURS) for measure in measures for reason_of in measure.reasons):
            failed.append(area)
    print("\nratios, ours / rival: median (min to max)" + report.table(everything))
    if failed:
        print(f"\nours was not measured in: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measured(area: str, quick: bool, **more: Any) -> Iterator[list[Measure]]:
    """The measures of one area, of a long one as many as are known so far, again and again; an area that breaks is one row with the reason."""
    sofar: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix=f"bench-{area}-", ignore_cleanup_errors=True) as folder:
        try:
            found = importlib.import_module(f"tests.bench.{area}").run(Path(folder), quick, **more)
            for sofar in [found] if isinstance(found, list) else found:
                yield sofar
        except Exception as error:
            traceback.print_exc()
            broken = Measure(area, "", "lower")
            broken.absent(report.OURS, f"{type(error).__name__}: {error}")
            yield [*sofar, broken]


if __name__ == "__main__":
    sys.exit(main())
