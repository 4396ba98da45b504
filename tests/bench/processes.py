"""A process group -> what it has used so far, from /proc: CPU seconds, resident bytes now, and the sum of its processes' peaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Of all processes of some groups that live now, with the CPU time of their ended children."""

    cpu: float
    rss: int
    peak: int


def usage(*groups: int) -> Usage:
    """What they used."""
    cpu = 0.0
    rss = peak = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) not in groups:
                continue
            status = (folder / "status").read_text()
        except OSError:  # it ended meanwhile
            continue
        cpu += sum(map(int, fields[11:15])) / _TICK
        rss += int(fields[21]) * _PAGE
        peak += int(status.partition("VmHWM:")[2].split()[0] if "VmHWM:" in status else 0) * 1024
    return Usage(cpu, rss, peak)
