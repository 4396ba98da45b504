"""RUN ATTEMPT FIRST PAUSE: a training process without torch, which says each step once that step was handed over.

Where the server is and where the spool lies comes from FORESHOCK_URL and FORESHOCK_DIR, as it does for anybody.
"""

from __future__ import annotations

import sys
import time

from tests.crash.logged import STEPS, row

import foreshock
from foreshock.record import recorder

recorder.BLOCK_SECONDS = 0.05  # many small blocks: many moments to be killed in


def main() -> None:
    """Log from FIRST to the end."""
    name, attempt, first, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    run = foreshock.init(project="crash", name=name, run=name, attempt=attempt)
    for step in range(first, STEPS):
        run.log(row(step))
        run.step(step)
        print(step, time.monotonic(), flush=True)
        time.sleep(pause)
    run.finish()


main()
