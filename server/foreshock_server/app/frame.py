"""index.html as it is sent: it names the modules of its view, which the browser then asks for all at once and not file by file."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

# Address -> the module of its view, which app.js loads; None: it shows no view of its own.
VIEWS: dict[str, str | None] = {
    "/": "runs.js",
    "/login": None,
    "/runs": None,
    "/runs/{rest:path}": "run.js",
    "/compare": "compare.js",
    "/incidents": "incidents.js",
    "/incidents/{run}/{number}": "incident.js",
    "/alerts": None,
    "/rules": "rules.js",
    "/rules/{rest:path}": "rule-editor.js",
    "/reference": "reference.js",
    "/reference/{rest:path}": "reference.js",
    "/settings": "settings.js",
}
FIRST = ("early.js", "app.js")  # what index.html starts
_IMPORT = re.compile(r"""^(?:import|export)\b[^;"]*"\./([\w-]+\.js)";""", re.MULTILINE)
_PLOTLY = "/assets/plotly.js"  # as index.html names it, which redirects to the version in use
_BEFORE = '<script type="module"'


@lru_cache(maxsize=64)
def html(folder: Path, view: str | None, plotly: str) -> tuple[str, str]:
    """The frame with this view's modules named before they are imported, and plotly.js where it is; and its ETag."""
    names = modules(folder, *FIRST, *([] if view is None else [view]))
    hints = "".join(f'<link rel="modulepreload" href="/{name}">\n' for name in names)
    text = (folder / "index.html").read_text("utf-8")
    text = text.replace(_PLOTLY, plotly).replace(_BEFORE, hints + _BEFORE, 1)
    return text, f'W/"{blake2b(text.encode(), digest_size=16).hexdigest()}"'


def modules(folder: Path, *roots: str) -> list[str]:
    """These modules and all that they import as they are loaded, each once, in the order in which a browser would come to them."""
    found = dict.fromkeys(roots)
    waiting = list(roots)
    while waiting:
        for name in _IMPORT.findall((folder / waiting.pop(0)).read_text("utf-8")):
            if name not in found:
                found[name] = None
                waiting.append(name)
    return list(found)
