"""Show the progress of steps: bars in a terminal, occasional lines elsewhere."""

import time

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from textmill.console.output import console, done, say, undone

_LINE_EVERY_S = 10  # where output is no terminal


class Display:
    """The progress of steps: bars in a terminal, occasional lines elsewhere."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.step: str | None = None
        self.results: list[str] = []
        self.mark = ""  # of the step's result; empty: a tick
        self._task: TaskID | None = None
        self._said = time.monotonic()
        self._started = self._said
        self._first: tuple[float, float] | None = None  # when the step first said how far it is, and how far that was
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Display":
        if console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._bars.stop()

    def begin(self, step: str) -> None:
        self.end()
        # a step of the plan that was passed over did not run: what it made before still holds
        while step in self.plan and self.plan[0] != step:
            done(self.plan.pop(0), "nothing changed, reused")
        if step in self.plan:
            self.plan.remove(step)
        self.step, self._started = step, time.monotonic()
        self._said, self._first = self._started, None
        if console.is_terminal:
            self._task = self._bars.add_task(step, total=None, figures="")
        else:
            say(f"  {step} …")

    def progress(self, done: float, total: float, text: str) -> None:
        since, from_ = self._first = self._first or (time.monotonic(), done)
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total, figures=text)
        elif not console.is_terminal and time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            # a step that goes on where it was stopped has done some of its work before
            now = done - from_
            # before a fiftieth is done, most of the time went into getting ready
            left = f"  {(self._said - since) * (total - done) / now:.0f} s left" if now > total / 50 else ""
            say(f"  {self.step} {done / total:4.0%}  {text}{left}")

    def result(self, text: str, mark: str) -> None:
        self.results.append(text)
        self.mark = mark

    def end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self.step is not None:
            seconds = time.monotonic() - self._started
            done(self.step, "\n  ".join([*self.results]) + (f" ({seconds:.0f} s)" if seconds >= 2 else ""), self.mark)
        self.step, self.results, self.mark = None, [], ""

    def abandon(self) -> None:
        """Mark the current step as failed and the remaining steps as not run."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self.step is not None:
            undone(self.step, "failed")
        for step in self.plan:
            undone(step, "not run")
        self.step, self.results, self.plan = None, [], []

    def finish(self) -> None:
        """End the last step; planned steps that never began were reused."""
        self.end()
        for step in self.plan:
            done(step, "nothing changed, reused")
