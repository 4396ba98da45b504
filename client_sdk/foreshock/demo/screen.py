"""The terminal: one bar per training, the alert as it comes back into the loop, sentences at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import Self

from .children import Child, Line


class Screen:
    """Draws bars where there is a terminal; elsewhere prints a line now and then."""

    def __init__(self, url: str) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.console.print(
            f"[bold]Foreshock[/] serves [link={url}]{url}[/link]; open it now, the curves are drawn as they come."
        )
        self._progress = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._spoke_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def follow(self, children: Sequence[Child]) -> None:
        """Return when all of them have ended well; raise NotStarted when one did not."""
        for child in children:
            self._tasks[child.name] = self._progress.add_task(child.name, total=None, told="starting")
        threads = [child.listen(self._heard) for child in children]
        for thread in threads:
            thread.join()
        for child in children:
            child.check()

    def say(self, *sentences: str) -> None:
        """Print them, one a line."""
        for sentence in sentences:
            self.console.print(sentence, markup=False)

    def _heard(self, child: Child, line: Line) -> None:
        task = self._tasks[child.name]
        if "step" in line:
            told = "  ".join(
                f"{name} {line[name]:.3f}" for name in ("loss", "reward", "entropy") if name in line
            )
            self._progress.update(task, completed=line["step"] + 1, total=line["of"], told=told)
            self._now_and_then(child.name, f"{child.name} step {line['step'] + 1}/{line['of']}  {told}")
        elif "alert" in line:
            self.console.print(f"[bold red]ALERT[/] {child.name}: ", end="")
            self.console.print(line["alert"]["message"] or line["alert"]["rule"], markup=False)
        elif "watching" in line:
            self.console.print(line["watching"], markup=False)
        elif "run" in line:
            self.console.print(f"{child.name}: {line['url']}", markup=False)

    def _now_and_then(self, name: str, text: str) -> None:
        """Where nobody sees bars move (a log file), a line every ten seconds shows that it is alive."""
        if self.console.is_terminal:
            return
        if time.monotonic() - self._spoke_at.get(name, 0.0) > 10.0:
            self._spoke_at[name] = time.monotonic()
            self.console.print(text, markup=False)
