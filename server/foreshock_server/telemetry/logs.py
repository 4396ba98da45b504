"""Log records -> lines on stderr: JSON for machines, or text for people; one record is one line, whatever its words hold."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from foreshock_server.settings import Settings
from foreshock_server.telemetry.context import fields

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+(?=@)")  # of a URL
_SECRET = re.compile(r"(?i)\b(bearer\s+|password=|whsec_|fsk_)[^\s'\"&,;]+")
_LONGEST = 8000  # characters of a message, and of a trace


class _Carrying(logging.Filter):
    """Notes on the record, in the thread that made it, what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.about = {**fields(), **getattr(record, "fields", {})}
        return True


class JsonLines(logging.Formatter):
    """`{"at", "level", "logger", "message", …}`: what the record is about lies beside its words."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _hidden(record.getMessage())[:_LONGEST],
            **_about(record),
        }
        if record.exc_info:
            line["trace"] = _hidden(self.formatException(record.exc_info))[-_LONGEST:]
        return json.dumps(line, ensure_ascii=True, default=str)


class TextLines(logging.Formatter):
    """`time LEVEL logger: message [field=value …]`; a trace follows, each of its lines behind a bar."""

    def format(self, record: logging.LogRecord) -> str:
        about = " ".join(f"{name}={_flat(str(value))}" for name, value in _spoken(record).items())
        line = (
            f"{_iso(record.created)} {record.levelname} {record.name}: {_flat(_hidden(record.getMessage())[:_LONGEST])}"
            f"{f' [{about}]' if about else ''}"
        )
        if not record.exc_info:
            return line
        trace = _hidden(self.formatException(record.exc_info))[-_LONGEST:]
        return "\n".join([line, *(f"    | {_flat(one)}" for one in trace.split("\n"))])


def log_to_stderr(settings: Settings) -> None:
    """For commands that stay. Ours from `log_level` on, other libraries' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    handler.addFilter(_Carrying())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("foreshock_server").setLevel(settings.log_level.upper())


def _about(record: logging.LogRecord) -> Mapping[str, Any]:
    about: Mapping[str, Any] = getattr(record, "about", {})
    return about


def _spoken(record: logging.LogRecord) -> dict[str, Any]:
    """What the text does not say already: the fields of an access line are its words."""
    said = {"method", "route", "status", "seconds", "bytes_in", "bytes_out"}
    return {name: value for name, value in _about(record).items() if name not in said}


def _flat(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _hidden(text: str) -> str:
    return _SECRET.sub(r"\1…", _PASSWORD.sub(r"\1…", text))


def _iso(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, timezone.utc)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
