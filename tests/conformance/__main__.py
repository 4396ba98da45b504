"""`python -m tests.conformance URL`: every check against the service there, with the SDK of this interpreter.

FORESHOCK_API_KEY is its key; FORESHOCK_CONFORMANCE_RECEIVER the name under which it reaches this machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from .checks import CHECKS
from .subject import Subject


def main() -> int:
    """The exit status: 0 when all of them hold."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(
            sys.argv[1].rstrip("/"),
            Path(folder),
            os.environ.get("FORESHOCK_API_KEY"),
            os.environ.get("FORESHOCK_CONFORMANCE_RECEIVER", "127.0.0.1"),
        )
        for check in CHECKS:
            try:
                check(subject)
            except Exception:
                failed += 1
                print(f"FAILED {check.__name__}\n{traceback.format_exc()}", flush=True)
            else:
                print(f"ok     {check.__name__}", flush=True)
    return 1 if failed else 0


sys.exit(main())
