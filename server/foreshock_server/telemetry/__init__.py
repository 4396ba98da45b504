"""What the service says about itself: counters, timings, logs with request ids. Imports nothing of ours but settings and errors.

Any room may call `note` (about the request in course), `about` and `of_run` (what log lines of a stage carry); see README.md.
"""

from foreshock_server.telemetry.context import about, note, of_run
from foreshock_server.telemetry.instruments import Instruments
from foreshock_server.telemetry.probe import Probe, Seen

__all__ = ["Instruments", "Probe", "Seen", "about", "note", "of_run"]
