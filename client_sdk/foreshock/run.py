"""The object a training loop holds: watches, takes numbers, closes steps, hears alerts; costs microseconds and never raises."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import lifetime
from .config import Config
from .control import Alert, Alerts, Control, StopTraining
from .guard import guard, say_once
from .observers import Observers
from .reactions.action import KINDS, Action, by_itself, of_function
from .reactions.audit import Acted
from .reactions.loop import Loop, Reaction

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from .measure.instruments import WatchTable
    from .session import Session

Callback = TypeVar("Callback", bound=Callable[[Alert], object])
Function = TypeVar("Function", bound=Callable[..., object])

_LOG, _STEP, _FINISH, _WATCH = guard("log"), guard("step"), guard("finish"), guard("watch")
_PAUSE = guard("pausing")
_NOTHING: Mapping[str, Any] = {}


class Run:
    """One life of a training run, made by `foreshock.init`.

    Disabled, after finish() and in a fork's child it is inert: every call does nothing.
    """

    def __init__(self, config: Config, run_id: str, name: str, attempt: int, control: Control) -> None:
        self.id = run_id
        self.name = name
        self.project = config.project
        self.attempt = attempt
        self.observe = Observers(self)
        self._config = config
        self._control = control
        self._loop = Loop(control)
        self.session: Session | None = None  # None: inert; for our own modules
        self._ended: Session | None = None
        self._pid = os.getpid()

    # -- what the loop calls ------------------------------------------------------------------------------------

    def log(self, numbers: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record numbers with the step in course: of Python, of numpy, 0-d tensors (not synchronised here), nested mappings of these.

        Of two numbers for one name in one step the last counts. What is not a number is counted, and said once per name.
        """
        if self.session is not None:
            with _LOG:
                self.session.log(_NOTHING if numbers is None else numbers, more)

    def step(self, step: int | None = None) -> None:
        """Close the step: number 0, 1, 2, … or the one given. Then reactions to alerts run; their StopTraining is all that it raises."""
        session = self.session
        if session is None:
            return
        with _STEP:
            if os.getpid() != self._pid:  # forked by code that runs no fork handlers
                self.abandon()
                return
            session.step(step)
        if self._control.news:
            self._loop.speak(session.last_step, session.record)

    def watch(
        self,
        model: torch.nn.Module,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        families: Sequence[str] | None = None,
        without: Sequence[str] = (),
        optimizer: torch.optim.Optimizer | None = None,
        layout: Mapping[str, object] | None = None,
        quiet: bool = False,
    ) -> WatchTable | None:
        """Put probes on modules and, at the optimizer's boundary, on gradients and weights; print where, what and how often.

        Without patterns a sensible choice is made; `include` and `exclude` are globs over the names of modules, `families`
        and `without` names of families of statistics. `layout` says of a model that is split over ranks what each holds of a
        place, where that cannot be read from its DTensors: globs to "replicated", "rows" or "columns", or to such a word and
        the ranks. The first rank prints the table, unless `quiet`; every one returns it.
        """
        table: WatchTable | None = None
        if self.session is not None:
            with _WATCH:
                table = self.session.instruments().watch(
                    model,
                    include=include,
                    exclude=exclude,
                    families=families,
                    without=without,
                    optimizer=optimizer,
                    layout=layout,
                )
                if not quiet and self.session.rank == 0:
                    # Not logged: who asks for the table wants to see it, and a logger that nobody has set up drops it.
                    print(table)  # noqa: T201
        return table

    def pause(self) -> None:
        """Measure nothing until `resume()`: hooks let every call pass, `observe` does nothing; what is logged is recorded."""
        if self.session is not None:
            with _PAUSE:
                self.session.pause()

    def resume(self) -> None:
        """Measure again after `pause()`, or after it was given up because it cost too much."""
        if self.session is not None:
            with _PAUSE:
                self.session.resume()

    def finish(self, state: str = "finished") -> None:
        """End the attempt as "finished" or "failed". Waits for the server at most FORESHOCK_FLUSH_SECONDS; once is enough."""
        session = self.session
        if session is None:
            return
        with _FINISH:
            if os.getpid() != self._pid:
                self.abandon()
                return
            if state not in ("finished", "failed"):
                say_once(
                    ("state", self.id),
                    "finish(%.60r): a run ends 'finished' or 'failed'; it is kept as finished",
                    state,
                )
                state = "finished"
            try:
                ended = session.finish(state)
            finally:
                self.session, self._ended = None, session
                lifetime.let_go(self)
            ended.report(self._config)

    # -- alerts -------------------------------------------------------------------------------------------------

    @property
    def alerts(self) -> Alerts:
        """The alerts that are firing now, as far as the server's answers have told this process."""
        return self._control.alerts

    @overload
    def on_alert(self, rules: Callback, /) -> Callback: ...
    @overload
    def on_alert(
        self,
        rules: str | None = None,
        /,
        action: str | Action = "callback",
        *,
        resolved: bool = False,
        dry_run: bool | None = None,
        value: float | Callable[[Alert], float | None] | None = None,
    ) -> Callable[[Function], Function]: ...
    def on_alert(
        self,
        rules: Any = None,
        /,
        action: str | Action = "callback",
        *,
        resolved: bool = False,
        dry_run: bool | None = None,
        value: float | Callable[[Alert], float | None] | None = None,
    ) -> Any:
        """Decorate what step() shall call with each new Alert of these rules (a glob; none: all); or, if `resolved`, with each that ends.

        `action`: "callback", "checkpoint" (the function gets the alert), "set" (it gets a number: `value`, or what `value(alert)`
        proposes); "notify", "stop" and the remedies of `foreshock.remedies` need no function and are installed at once. What
        changes the training is a dry run, said and written down, until `dry_run=False`. What a function raises is said once and
        forgotten, but for `foreshock.StopTraining`, which leaves step(). On several ranks all but "callback" and "notify" is
        decided by the first and done by all in `agree()`.
        """
        if callable(rules):
            self._loop.add(Reaction(of_function("callback", rules, None), None, audited=False))
            return rules
        made = by_itself(action) if isinstance(action, str) else action
        if isinstance(action, str) and action not in KINDS:
            raise ValueError(
                f"there is no action {action!r}; write one of {', '.join(KINDS)}, or one of foreshock.remedies"
            )

        def install(one: Action) -> None:
            dry = one.changes if dry_run is None else dry_run
            self._loop.add(Reaction(one, rules, resolved, dry, audited=action != "callback"))

        if made is not None:
            install(made)
            return _no_function

        def listen(function: Function) -> Function:
            install(of_function(str(action), function, value))
            return function

        return listen

    def agree(self, every: int = 1, group: Any = None) -> None:
        """Do now, on all ranks, what the first has decided about alerts. Call it at one place of the step, on every rank.

        A collective of torch.distributed at each `every`-th call (4 KiB from rank 0; with NCCL it waits for the device): the only
        one of ours, and only where you call it, also on ranks whose run is inert. `group`: with rank 0 in it, best of gloo.
        Without torch.distributed it does nothing, for then step() acts by itself. `foreshock.StopTraining` is all that it raises.
        """
        if os.getpid() == self._pid:
            session = self.session
            step = session.last_step if session is not None else -1
            self._loop.agree(step, None if session is None else session.record, every, group)

    @property
    def acted(self) -> Sequence[Acted]:
        """What was done about alerts in this process, or would have been: step, action, rule, state, value, why."""
        return tuple(self._loop.audit.entries)

    # -- what can be asked --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The run's page."""
        session = self.session or self._ended
        courier = session.pipeline.courier if session is not None else None
        return (courier.page if courier is not None else None) or f"{self._config.url}/runs/{self.id}"

    @property
    def recorded(self) -> int:
        """Readings that left the training loop in blocks: what the server will have when everything has arrived."""
        session = self.session or self._ended
        return session.pipeline.recorder.packed if session is not None else 0

    @property
    def lost(self) -> Mapping[str, int]:
        """Readings that will never arrive, by reason."""
        session = self.session or self._ended
        return session.pipeline.losses.by_reason() if session is not None else {}

    @property
    def cost(self) -> Mapping[str, float]:
        """What the monitor took of the training thread since the first step was closed: seconds of all, ours, and percent."""
        session = self.session or self._ended
        wall, ours = (session.wall_seconds, session.training_seconds) if session is not None else (0.0, 0.0)
        return {"wall_seconds": wall, "training_seconds": ours, "percent": 100 * ours / wall if wall else 0.0}

    @property
    def spool(self) -> Path | None:
        """Where readings wait until the server has them; None when nothing was written."""
        session = self.session or self._ended
        return session.pipeline.spool.where if session is not None else None

    # -- beginning and end --------------------------------------------------------------------------------------

    def begin(self, session: Session) -> None:
        """Record from here on. For `init`; a second call changes nothing."""
        if self.session is None and self._ended is None:
            self.session = session

    def abandon(self) -> None:
        """Become inert without touching a file: for a fork's child, where the files are the parent's."""
        session, self.session = self.session, None
        if session is not None:
            session.pipeline.abandon()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a model may hold its run, and be copied for its moving average

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process it is inert there: this one records."""
        return _inert, (replace(self._config, api_key=None), self.id, self.name, self.attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        meant = (
            kind is None
            or issubclass(kind, StopTraining)
            or (isinstance(error, SystemExit) and not error.code)
        )
        self.finish("finished" if meant else "failed")

    def __repr__(self) -> str:
        life = "" if self.session is not None else ", inert"
        return f"<foreshock run {self.project}/{self.name} {self.id}, attempt {self.attempt}{life}>"


def _no_function(_function: object) -> Any:
    raise TypeError(
        'this action needs no function: call run.on_alert(…) by itself, or write action="callback"'
    )


def _inert(config: Config, run_id: str, name: str, attempt: int) -> Run:
    return Run(config, run_id, name, attempt, Control())
