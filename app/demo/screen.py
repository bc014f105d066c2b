"""The demo's output: a table that is drawn anew on a terminal, plain lines every few seconds anywhere else."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

LAST = "1m"
UNDEFINED = "-"
PLAIN_EVERY_SECONDS = 5.0


Report = Mapping[str, Any]  # an answer of `/api/models`


class Line(NamedTuple):
    """One model, ready to be read."""

    model: str
    rows: str
    accuracy: str
    last: str
    f1: str
    reward: str
    labels: str


HEAD = Line("model", "rows", "accuracy", f"in {LAST}", "f1", "reward", "labels")


def lines_of(report: Report) -> list[Line]:
    """The models with rows in an answer of `/api/models`."""
    return [_line(model) for model in report["models"] if any(model["rows"].values())]


def _line(model: Mapping[str, Any]) -> Line:
    scores = model["windows"]["total"]["scores"]
    version = f"@{model['model_version']}" if model["model_version"] else ""
    return Line(
        f"{model['model_service']}/{model['predictor']}/{model['model']}{version}",
        f"{sum(model['rows'].values())}",
        _score(scores.get("accuracy")),
        _score(model["windows"][LAST]["scores"].get("accuracy")),
        _score(scores.get("f1", scores.get("f1_macro"))),
        _score(scores.get("reward_mean")),
        UNDEFINED if scores["coverage"] is None else f"{scores['coverage']:.0%}",
    )


def _score(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


class Screen:
    """Where the demo speaks. Sentences stay; the table below them moves."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_interactive else None
        self._plain_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._freeze()

    def _freeze(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, sentence: str) -> None:
        """Print a line that stays."""
        self._console.print(sentence)
        self._console.file.flush()

    def show(self, report: Report, seconds: float) -> None:
        """Show the numbers after so many seconds of traffic."""
        lines = lines_of(report)
        if self._live is not None:
            self._live.start()
            self._live.update(_table(lines, seconds), refresh=True)
        elif lines and seconds >= self._plain_at:
            self._plain_at = seconds + PLAIN_EVERY_SECONDS
            width = max(len(line.model) for line in lines)
            for line in lines:
                numbers = "  ".join(f"{word} {cell}" for word, cell in zip(HEAD[1:], line[1:], strict=True))
                self.say(f"{seconds:4.0f} s  {line.model:{width}}  {numbers}")

    def show_last(self, report: Report, seconds: float) -> None:
        """Show the numbers at the end; what is said after that stands below them."""
        self._plain_at = 0.0
        self.show(report, seconds)
        self._freeze()


def _table(lines: list[Line], seconds: float) -> Table:
    table = Table(box=None, pad_edge=False, caption=f"{seconds:.0f} s of traffic; Ctrl-C ends it")
    for word in HEAD:
        table.add_column(word, justify="left" if word == HEAD.model else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
