"""Arguments, then environment, then defaults -> one frozen Config, checked once, its key hidden from repr."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8642"
EVERY: Mapping[str, int] = {
    "activations": 10,
    "adaptation": 1,
    "attention": 50,
    "classifier": 10,
    "codes": 1,
    "curvature": 0,
    "diversity": 10,
    "drift": 50,
    "features": 1,
    "gradients": 100,
    "histogram": 0,
    "krylov": 0,
    "latents": 1,
    "log": 1,
    "losses": 10,
    "moments": 10,
    "noise": 10,
    "optimiser": 10,
    "policy": 1,
    "router": 1,
    "units": 10,
    "views": 1,
    "weight_spectra": 0,
    "weights": 500,
}  # steps between readings, by kind; 0: never, unless asked for
RANKS = ("data", "model")  # what the processes of a job share among them: the rows, or the model
KINDS = tuple(EVERY)  # of readings that a schedule can thin out
ASKED = 1000  # steps between readings of what is off until its family is asked for
FAMILIES = (
    "policy entropy",
    "RL signal",
    "representation",
    "attention",
    "output logits",
    "experts",
    "codebook",
    "latents",
    "diversity",
    "plasticity",
    "optimiser",
    "numerics",
    "adaptation",
)  # of statistics, in the order of the page
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LISTS = {
    "families": ["attention", "optimiser"],
    "tags": ["baseline", "lr-sweep"],
}  # of words, with an example
_NUMBERS = ("budget", "flush_seconds")  # settings that need not be whole
_BREAKS = str.maketrans("\t\n\r", "   ")  # what text in several lines has
_ON = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
    "": False,
}


@dataclass(frozen=True)
class Config:
    """What one run must know. A field is the argument of `init` and the variable FORESHOCK_<FIELD>; a README table lists all."""

    url: str = field(default=DEFAULT_URL, metadata={"about": "address of the server"})
    api_key: str | None = field(
        default=None, repr=False, metadata={"about": "sent to the server as a bearer token"}
    )
    dir: Path = field(default=Path(".foreshock"), metadata={"about": "where the spool lives"})
    project: str = field(default="default", metadata={"about": "what the run belongs to"})
    run: str | None = field(
        default=None, metadata={"about": "id of the run to begin or to resume; the same on every rank"}
    )
    name: str | None = field(
        default=None, metadata={"about": "what people call the run; made up when absent"}
    )
    owner: str | None = field(
        default=None,
        metadata={"about": "whose run it is; the name of the API key when absent, never the login"},
    )
    tags: tuple[str, ...] = field(
        default=(), metadata={"about": "words to find the run by: `baseline,lr-sweep`"}
    )
    notes: str | None = field(
        default=None, metadata={"about": "plain text about the run, which the page shows and people change"}
    )
    attempt: int | None = field(
        default=None, metadata={"about": "which life of the run this is; counted when absent"}
    )
    disabled: bool = field(
        default=False, metadata={"about": "1: every call does nothing; no file, no thread"}
    )
    offline: bool = field(default=False, metadata={"about": "1: only spool; `foreshock sync` ships later"})
    spool_max_bytes: int = field(
        default=2**30,
        metadata={"about": "bound of one process's spool; beyond it the oldest readings go, counted"},
    )
    flush_seconds: float = field(
        default=10.0, metadata={"about": "how long finish and exit may wait for the server"}
    )
    every: Mapping[str, int] = field(
        default_factory=dict,
        metadata={"about": "steps between readings, by kind: `activations=50,optimiser=100`"},
    )
    families: tuple[str, ...] = field(
        default=(),
        metadata={
            "about": "what `watch` looks for: `attention,optimiser`, `all`, or `-optimiser` for all but"
        },
    )

    ranks: str = field(
        default="data",
        metadata={
            "about": "`data`: the ranks see rows of one kind, the server merges them; `model`: each holds another part"
        },
    )
    budget: float | None = field(
        default=None,
        metadata={"about": "percent of the training's time that measuring may take; 0: no limit"},
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", dict(self.every))
        object.__setattr__(self, "families", tuple(self.families))
        object.__setattr__(self, "tags", tuple(dict.fromkeys(self.tags)))
        object.__setattr__(self, "url", self.url.rstrip("/"))
        object.__setattr__(self, "dir", Path(self.dir))
        object.__setattr__(self, "api_key", (self.api_key or "").strip() or None)
        for complaint in self._complaints():
            raise ValueError(complaint)

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
        return f"Config({', '.join(shown)}, api_key={'***' if self.api_key else None})"

    def _complaints(self) -> list[str]:
        found = []
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            found.append(f"url is {self.url!r}; write the server's address, such as {DEFAULT_URL!r}")
        if self.api_key and not (
            self.api_key.isascii() and self.api_key.isprintable() and " " not in self.api_key
        ):
            found.append("api_key holds a space, a quote that is none, or a control character; copy it again")
        if self.run is not None and not _RUN_ID.fullmatch(self.run):
            found.append(f"run is {self.run!r}; write 1 to 64 letters, digits, '.', '_' or '-'")
        for what in ("project", "name"):
            text = getattr(self, what)
            if text is not None and not (1 <= len(text) <= 200 and text.isprintable()):
                found.append(f"{what} is {text!r}; write 1 to 200 printable characters")
        if self.owner is not None and not (1 <= len(self.owner) <= 100 and self.owner.isprintable()):
            found.append(f"owner is {self.owner!r}; write 1 to 100 printable characters")
        if any(not (1 <= len(tag) <= 64 and tag.isprintable()) for tag in self.tags) or len(self.tags) > 50:
            found.append(f"tags is {list(self.tags)!r}; write up to 50 words of 1 to 64 printable characters")
        if self.notes is not None and not (
            len(self.notes) <= 20_000 and self.notes.translate(_BREAKS).isprintable()
        ):
            found.append("notes has control characters or more than 20,000 characters; write plain text")
        if self.attempt is not None and self.attempt < 1:
            found.append(f"attempt is {self.attempt}; the first life of a run is 1")
        if self.spool_max_bytes < 2**16:
            found.append(f"spool_max_bytes is {self.spool_max_bytes}; write at least 65536")
        if not 0 <= self.flush_seconds < float("inf"):
            found.append(
                f"flush_seconds is {self.flush_seconds}; write a number of seconds, 0 to wait for nothing"
            )
        if self.budget is not None and not 0 <= self.budget <= 100:
            found.append(f"budget is {self.budget}; write percent of the training's time, 0 for no limit")
        if self.ranks not in RANKS:
            found.append(f"ranks is {self.ranks!r}; write 'data' or 'model'")
        for kind, steps in self.every.items():
            if kind not in KINDS:
                found.append(f"every names {kind!r}; it can name {', '.join(KINDS)}")
            elif steps < 0:
                found.append(
                    f"every[{kind!r}] is {steps}; write 1 for each step, 50 for one step in fifty, 0 for never"
                )
        return [*found, *unknown_families(self.families)]

    @classmethod
    def resolve(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Config:
        """The Config of these arguments; what is None is taken from the environment, or else is the default."""
        environ = os.environ if environ is None else environ
        chosen: dict[str, Any] = {}
        for setting in fields(cls):
            variable = f"FORESHOCK_{setting.name.upper()}"
            if (given := arguments.pop(setting.name, None)) is not None:
                chosen[setting.name] = _checked(setting.name, given)
            elif (text := environ.get(variable, "").strip()) != "":
                chosen[setting.name] = _parsed(setting.name, variable, text)
        if arguments:
            raise TypeError(
                f"init does not know {', '.join(sorted(arguments))}; it knows {', '.join(f.name for f in fields(cls))}"
            )
        return cls(**chosen)


def _checked(name: str, value: Any) -> Any:
    """An argument of the right type, or an error that names the right one."""
    if name == "dir" and isinstance(value, (str, os.PathLike)):
        return Path(value)
    if name in _NUMBERS and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if name == "every" and isinstance(value, str):
        return _every(name, value)
    if name == "every" and isinstance(value, Mapping):
        if all(isinstance(kind, str) and type(steps) is int for kind, steps in value.items()):
            return dict(value)
        raise TypeError(f"every is {value!r}; write a mapping such as {{'activations': 50}}")
    if name in _LISTS and isinstance(value, str):
        return _listed(value)
    if name in _LISTS and isinstance(value, Sequence):
        if all(isinstance(one, str) for one in value):
            return tuple(value)
        raise TypeError(f"{name} is {value!r}; write a list such as {_LISTS[name]}")
    if name in _NUMBERS:
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; write a number")
    wanted = {"attempt": int, "spool_max_bytes": int, "disabled": bool, "offline": bool}.get(name, str)
    if type(value) is not wanted and not (wanted is str and isinstance(value, str)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; write a {wanted.__name__}")
    return value


def _parsed(name: str, variable: str, text: str) -> Any:
    """What a variable says, or an error that names the variable."""
    if name in ("disabled", "offline"):
        if text.lower() not in _ON:
            raise ValueError(f"{variable} is {text!r}; write 1 or 0")
        return _ON[text.lower()]
    if name in ("attempt", "spool_max_bytes", *_NUMBERS):
        kind = float if name in _NUMBERS else int
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"{variable} is {text!r}; write a number") from None
    if name == "every":
        return _every(variable, text)
    if name in _LISTS:
        return _listed(text)
    return Path(text) if name == "dir" else text


def _every(source: str, text: str) -> dict[str, int]:
    """`activations=50,weights=100` -> a mapping."""
    pairs = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        kind, equals, steps = item.partition("=")
        if not equals or not steps.strip().isdigit():
            raise ValueError(f"{source} says {item!r}; write it like activations=50,weights=100")
        pairs[kind.strip()] = int(steps)
    return pairs


def unknown_families(names: Sequence[str]) -> list[str]:
    """What is wrong with a choice of families of statistics."""
    return [
        f"families names {name!r}; it can name {', '.join(FAMILIES)}, each with a '-' before it to leave it out, or all"
        for name in names
        if name != "all" and name.removeprefix("-") not in FAMILIES
    ]


def _listed(text: str) -> tuple[str, ...]:
    """`attention, optimiser` -> their names."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))
