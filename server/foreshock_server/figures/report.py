"""A stored run -> one HTML file with its verdict, alerts and figures. It holds plotly.js, and may load nothing from anywhere."""

from __future__ import annotations

import html
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plotly.offline import get_plotlyjs
from sqlalchemy.orm import Session

from foreshock_server.errors import DomainError
from foreshock_server.figures import drawing, listing
from foreshock_server.figures.report_style import SCRIPT, style
from foreshock_server.figures.sending import as_json
from foreshock_server.models import Run
from foreshock_server.query.alerts import alerts
from foreshock_server.query.runs import details, state_of
from foreshock_server.query.verdict import verdict
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings
from foreshock_server.store.runs import get_run, list_writers

CELLS = 120
MOST_FIGURES = 100  # those in trouble are first; the others are named
MOST_BYTES = 24_000_000  # of figures
WORDS = {"none": "No verdict", "fine": "Fine", "watch": "Watch", "collapsing": "Collapsing"}
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def report(
    session: Session, rules: RuleSet, settings: Settings, run_id: str, theme: str, now: float
) -> tuple[str, str]:
    """The file's name, and the file as it is at this moment."""
    run = get_run(session, run_id)
    told = verdict(session, run_id, CELLS)
    parts = [
        _head(run, told, state_of(run, settings, now), f"{settings.page_url}/runs/{run.id}", now),
        _note(run),
        _strip(told),
        _alerts(alerts(session, run_id, rules)["alerts"]),
        *_figures(session, rules, run_id, theme),
        _origin(run, details(session, run, list_writers(session, run_id))),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(f'{run.project}/{run.name or run.id} · Foreshock')}</title><style>{style(theme)}</style></head>"
        f"<body>{''.join(parts)}<script>{get_plotlyjs()}</script><script>{SCRIPT}</script></body></html>"
    )
    return f"{run.name or run.id}.html", page


def _head(run: Run, told: Mapping[str, Any], state: str, address: str, now: float) -> str:
    word = WORDS[told["verdict"]]
    said = told["message"] or (
        f"Nothing is wrong up to step {run.last_step:,}."
        if told["verdict"] == "fine" and run.last_step is not None
        else "No rule has looked at it yet."
        if told["verdict"] == "none"
        else f"{word}: an alert is about to fire."
    )
    step = "no step yet" if run.last_step is None else f"step {run.last_step:,}"
    return (
        f"<header><p class=muted>{_text(run.project)}</p><h1>{_text(run.name or run.id)}</h1>"
        f"<p class=muted>{state} · {step} · {run.points:,} readings · written {_moment(now)} · "
        f'<a href="{_text(address)}">its page</a></p>'
        f"<p class='banner {told['verdict']}'><strong>{word}</strong> {_text(said)}</p></header>"
    )


def _note(run: Run) -> str:
    if run.note is None:
        return ""
    said = " · ".join(filter(None, (run.note_by, _moment(run.note_at))))
    return (
        f"<section><h2>Note</h2><p class=note>{_text(run.note)}</p><p class=muted>{_text(said)}</p></section>"
    )


def _strip(told: Mapping[str, Any]) -> str:
    """Family by step; neighbours of one state are one cell, which says its steps."""
    if not told["families"]:
        return ""
    bins = told["bins"]
    rows = []
    for family in told["families"]:
        cells, at = [], 0
        for word, group in itertools.groupby(family["cells"]):
            size = len(list(group))
            steps = f"steps {bins[at][0]:,} to {bins[at + size - 1][1]:,}: {word}"
            cells.append(f"<span class='cell {word}' style='flex-grow:{size}' title='{steps}'></span>")
            at += size
        rows.append(
            f"<tr><th scope=row>{_text(family['family'])}</th><td class=row>{''.join(cells)}</td>"
            f"<td class=state>{WORDS[family['state']]}</td></tr>"
        )
    return f"<section><h2>Families over steps</h2><table class=strip>{''.join(rows)}</table></section>"


def _alerts(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "<section><h2>Alerts</h2><p class=muted>Nothing fired.</p></section>"
    lead = next((one for one in found if one["state"] == "firing"), None)
    told = "".join(_alert(one, " open" if one is lead else "") for one in found)
    return f"<section><h2>Alerts</h2>{told}</section>"


def _alert(one: Mapping[str, Any], opened: str) -> str:
    steps = [
        f"{word} {one[name]:,}"
        for word, name in (("since step", "since_step"), ("fired at", "fired_step"), ("resolved at", "resolved_step"))
        if one[name] is not None
    ]  # fmt: skip
    state = "resolved" if one["state"] == "ok" else one["state"]
    about = f"{one['severity']} · {state} · {one['series']} · {', '.join(steps)}"
    return (
        f"<details class='alert {_text(one['severity'])}'{opened}><summary><strong>{_text(one['title'])}</strong> "
        f"<span class=muted>{_text(about)}</span></summary><p>{_text(one['message'] or '')}</p>{_runbook(one['runbook'])}</details>"
    )


def _runbook(book: Mapping[str, Any] | None) -> str:
    if book is None:
        return ""
    check = "".join(f"<li>{_text(one)}</li>" for one in book["check"])
    tries = "".join(
        f"<li>{_text(one['text'])} <span class=muted>{_text(one.get('source') or '')}</span></li>"
        for one in book["try"]
    )
    return f"<p>{_text(book['meaning'])}</p><h4>Check</h4><ul>{check}</ul><h4>Try</h4><ul>{tries}</ul>"


def _figures(session: Session, rules: RuleSet, run_id: str, theme: str) -> Iterator[str]:
    """Family by family, those in trouble first; what is too much for one file is named instead."""
    left_out: list[str] = []
    drawn = size = 0
    listed = listing.listed(session, rules, run_id)["figures"]
    for family, group in itertools.groupby(listed, lambda one: one["family"]):
        panels = []
        for one in group:
            if drawn >= MOST_FIGURES or size >= MOST_BYTES:
                left_out.append(one["title"])
                continue
            panels.append(_panel(session, rules, run_id, theme, one))
            drawn, size = drawn + 1, size + len(panels[-1])
        if panels:
            yield f"<section><h2>{_text(family)}</h2><div class=panels>{''.join(panels)}</div></section>"
    if left_out:
        names = ", ".join(left_out[:50]) + (" …" if len(left_out) > 50 else "")
        yield f"<p class=muted>{len(left_out):,} further figures are on the run's page: {_text(names)}.</p>"


def _panel(session: Session, rules: RuleSet, run_id: str, theme: str, one: Mapping[str, Any]) -> str:
    head = f"<h3>{_text(one['title'])}</h3><p class=muted>{_text(one['about'])}</p>"
    try:
        keys = [one["key"]] if "key" in one else []
        figure = as_json(drawing.drawn(session, rules, run_id, one["name"], theme, keys))
    except DomainError as error:
        body = f"<p>{_text(error)}</p>"
    else:
        data = figure.replace("<", "\\u003c")  # nothing in it may end the element
        body = f"<div class=figure style='height:{one['height']}px'><script type='application/json'>{data}</script></div>"
    return f"<article class='panel{' wide' if one['wide'] else ''}'>{head}{body}</article>"


def _origin(run: Run, more: Mapping[str, Any]) -> str:
    attempts = "".join(
        f"<tr><td>{one['attempt']}</td><td>{_text(one['state'])}</td><td>{_moment(one['started_at'])}</td>"
        f"<td>{_moment(one['finished_at'])}</td><td>{_text(_facts(one['info']))}</td></tr>"
        for one in more["attempts"]
    )
    config = _text(json.dumps(run.config, indent=2, ensure_ascii=False, default=str))
    return (
        "<section><h2>Where it comes from</h2><table class=plain><tr><th>attempt<th>state<th>began<th>ended<th>about</tr>"
        f"{attempts}</table><details><summary>Configuration</summary><pre>{config}</pre></details></section>"
    )


def _facts(info: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in info.items() if isinstance(value, str | int | float)
    )


def _moment(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _text(words: object) -> str:
    return html.escape(str(words))
