"""`python -m tests.topology.hasty serve|worker …`: the same process, whose stages count and seal each block as soon as they may.

With their ordinary patience nothing of a run of seconds is sealed before its end, so a kill would hardly ever find them at it.
"""

from __future__ import annotations

import sys

from foreshock_server import worker
from foreshock_server.cli import main
from foreshock_server.sealing import ready, sealer, tallier

worker.LOOK_EVERY = 0.05
tallier.EVERY = sealer.EVERY = 0.0
ready.ENOUGH_STEPS = 1

sys.exit(main(sys.argv[1:]))
