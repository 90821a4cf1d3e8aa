"""What the routes ask of the generation workers, and what may go wrong; `serving.routing.router` answers it.

A route picks the model that answers, makes the prompt for it, and reads the text as it is written:

    served = router.pick(user, target)
    completion = await router.open(Order(prompt_for(served), settings_for(served), served=served))
    try:
        async for piece in completion.pieces():
            ...
    finally:
        await completion.close()
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from serving.interface.metrics import Metrics
from serving.interface.schemas import ModelIdentity
from textmill.gpt2.inference.sampling import Settings

Finish = Literal["", "end", "length", "stop"]


@dataclass(frozen=True, slots=True)
class Served:
    """One immutable model that answers now. What is known of a remote one, such as vLLM's, is less."""

    identity: ModelIdentity
    lineage: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)  # fields of `sampling.Settings`
    window: int = 0  # tokens that the model sees at once; 0: not known
    directory: Path | None = None  # the bundle; None for a remote model
    share: float = 100.0  # of the traffic, in percent; 0 answers only those who ask for it
    exact: bool = True  # whether a seed decides the text; not so for a remote model


@dataclass(frozen=True, slots=True)
class Order:
    """One text to be written."""

    prompt: str | list[int]
    settings: Settings
    user: str = ""  # the same user is always answered by the same version, while the split stays
    target: str = ""  # a stage, a version ("7" or "version:7") or a model's name; "": by the split
    deadline_s: float | None = None  # seconds from `open` in which the text must be whole
    logprobs: int | None = None  # likeliest tokens to report at each place; only where the worker can
    served: Served | None = None  # what `pick` gave; goes before user and target


@dataclass(frozen=True, slots=True)
class Piece:
    """What a text grew by."""

    text: str
    tokens: int  # written so far
    finish: Finish = ""  # set on the last piece
    prompt_tokens: int = 0  # read by the model; known with the last piece at the latest
    logprobs: Any = None  # as OpenAI's completions give them, for this piece


@dataclass(frozen=True, slots=True)
class Health:
    """What operators want to know; `problems` may stand beside a server that answers."""

    ready: bool
    reason: str = ""  # why not
    problems: list[str] = field(default_factory=list)  # the registry is silent, a version would not start, ...
    workers: list[dict[str, Any]] = field(default_factory=list)  # each one's name, device, version, state, load


class Completion(Protocol):
    """One text under way. Close it, however it ends: a text nobody reads must not hold a place."""

    served: Served
    seed: int

    def pieces(self) -> AsyncIterator[Piece]:
        """The text as it grows; the last piece has a finish.

        Raises:
            Interrupted: the model ended before the text did.
            DeadlinePassed: the order's time is over.
            WorkerRefused: the worker says no.
        """
        ...

    async def close(self) -> None:
        """Free the place; more than once does no harm."""
        ...


class Router(Protocol):
    """The models that answer, and the way to them."""

    max_tokens: int  # of one text, at most
    metrics: Metrics

    def models(self) -> list[Served]:
        """The models that answer now, the one with the largest share first; none while nothing is loaded."""
        ...

    def pick(self, user: str = "", target: str = "") -> Served:
        """The model that answers this user, or the one that is asked for.

        Raises:
            NotReady: there is none yet, or none any more.
            UnknownModel: the target is none of those served here.
        """
        ...

    async def open(self, order: Order) -> Completion:
        """Take a place, in the queue if no worker is free, and return at once.

        Raises:
            NotReady, UnknownModel: as `pick`.
            TooLong: the order asks for more tokens than the server writes.
            QueueFull: as many wait as may.
        """
        ...

    def health(self) -> Health:
        """Whether texts can be asked for now, and what is wrong besides."""
        ...
