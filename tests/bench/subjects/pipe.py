"""The child's half of a turn: JSON requests on stdin -> a handler -> JSON answers on the pipe that stdout was.

Runs in any subject's environment: standard library only, nothing of this project.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(handle: Callable[[dict[str, Any]], Any]) -> None:
    """Answers until stdin ends. What a library prints goes to the log, so that it cannot spoil an answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"answer": handle(json.loads(line))}
        except (
            BaseException
        ) as error:  # also SystemExit: a library that ends the process is a reason, not silence
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
