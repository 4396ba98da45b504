"""`python -m tests.zoo.judging --keep FOLDER [NAME …]`: what the rules as they now stand say of the tuning runs, by family."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.zoo.judging import campaign, pairs
from tests.zoo.judging.counted import by_family, ours
from tests.zoo.judging.telling import say, table


def main() -> int:
    """Trains what the folder has not, and judges all."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.judging", description=__doc__)
    parser.add_argument("names", nargs="*", help="pairs; default: all")
    parser.add_argument("--keep", type=Path, required=True, help="where trainings stay, to be judged again")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(campaign.TUNING_SEEDS))
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    names = chosen.names or pairs.names()
    wanted = campaign.settings(chosen.seeds, [])
    tried = list(campaign.campaign(names, wanted, chosen.processes, say, chosen.keep.resolve()))
    ran = [one for pair in tried for one in pair.ran if pair.error is None]
    better = {name: pairs.load(name).better for name in names}
    print(table(by_family(ours(), ran, better)))
    failed = [f"{pair.pair}: {pair.error}" for pair in tried if pair.error is not None]
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
