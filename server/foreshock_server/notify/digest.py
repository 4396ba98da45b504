"""Several messages -> one that lists them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from foreshock_server.notify.message import AlertFacts, Message, RunFacts

TYPE = "alert.digest"
LISTED = 20  # alerts in its text; a webhook gets all of them as `parts`

_WORDS = {
    "alert.fired": "fired",
    "alert.escalated": "grew critical",
    "alert.repeated": "still fires",
    "alert.resolved": "resolved",
}


def digest_of(messages: Sequence[Message], page_url: str) -> Message:
    """The message that stands for these, of which there is at least one, in order."""
    runs = {one.run.id: one.run for one in messages}
    projects = sorted({one.run.project for one in messages})
    critical = any(one.alert.severity == "critical" for one in messages if one.type != "alert.resolved")
    lines = [f"- {_line(one)}" for one in messages[:LISTED]]
    if len(messages) > LISTED:
        lines.append(f"- and {len(messages) - LISTED:,} more")
    only = next(iter(runs.values()))
    several = RunFacts(id=only.id, project=", ".join(projects), name=f"{len(runs):,} runs", url=page_url)
    return Message(
        type=TYPE,
        at=messages[-1].at,
        link=only.url if len(runs) == 1 else page_url,
        run=only if len(runs) == 1 else several,
        alert=AlertFacts(
            rule="digest",
            title=f"{len(messages):,} messages",
            severity="critical" if critical else "warning",
            episode=0,
            message="\n".join(lines),
        ),
        parts=tuple(messages),
    )


def _line(message: Message) -> str:
    what = message.alert.message or message.alert.title
    return f"{message.run.project} / {message.run.name}: {_WORDS.get(message.type, message.type)}: {what}"
