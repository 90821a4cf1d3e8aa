"""The interface between routes and generation workers; `serving.routing.router` implements it.

A route picks a model, builds its prompt, and reads the text while it is generated:

    served = router.pick(user, target)
    completion = await router.open(Order(prompt_for(served), settings_for(served), served=served))
    try:
        async for piece in completion.pieces():
            ...
    finally:
        await completion.close()
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from serving.interface.metrics import Metrics
from serving.interface.schemas import ModelIdentity
from textmill.gpt2.inference.sampling import Settings

Finish = Literal["", "end", "length", "stop"]


@dataclass(frozen=True, slots=True)
class Served:
    """One served model, immutable. Less is known of a remote one, such as vLLM's."""

    identity: ModelIdentity
    lineage: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)  # fields of `sampling.Settings`
    window: int = 0  # tokens that the model sees at once; 0: not known
    directory: Path | None = None  # the bundle; None for a remote model
    share: float = 100.0  # of the traffic, in percent; 0 answers only those who ask for it
    exact: bool = True  # whether a seed decides the text; not so for a remote model


@dataclass(frozen=True, slots=True)
class Order:
    """A request for one text."""

    prompt: str | list[int]
    settings: Settings
    user: str = ""  # the same user is always answered by the same version, while the split stays
    target: str = ""  # a stage, a version ("7" or "version:7") or a model's name; "": by the split
    deadline_s: float | None = None  # seconds from `open` in which the text must be whole
    client: str = ""  # clients take turns in the queue
    logprobs: int | None = None  # likeliest tokens to report at each place; only where the worker can
    served: Served | None = None  # what `pick` gave; goes before user and target


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of a text."""

    text: str
    tokens: int  # written so far
    finish: Finish = ""  # set on the last piece
    prompt_tokens: int = 0  # read by the model; known with the last piece at the latest
    logprobs: Any = None  # as OpenAI's completions give them, for this piece


@dataclass(frozen=True, slots=True)
class Health:
    """The server's state for operators. `problems` can be present while the server answers."""

    ready: bool
    reason: str = ""  # why not
    problems: list[str] = field(default_factory=list)  # the registry is silent, a version would not start, ...
    workers: list[dict[str, Any]] = field(default_factory=list)  # each one's name, device, version, state, load


class Completion(Protocol):
    """A text being generated. Always close it: an unread text must not hold a slot."""

    served: Served
    seed: int

    def pieces(self) -> AsyncIterator[Piece]:
        """The text, piece by piece; the last piece has a finish reason.

        Raises:
            Interrupted: the worker was lost before the text ended.
            DeadlinePassed: the order's deadline has passed.
            WorkerRefused: the worker refused the request.
        """
        ...

    async def close(self) -> None:
        """Free the slot. Calling it again has no effect."""
        ...


class Router(Protocol):
    """Chooses a served model and sends orders to its workers."""

    max_tokens: int  # of one text, at most
    metrics: Metrics

    def models(self) -> list[Served]:
        """The served models, largest traffic share first; empty while none is loaded."""
        ...

    def pick(self, user: str = "", target: str = "") -> Served:
        """The model for this user, or the requested one.

        Raises:
            NotReady: no model is loaded.
            UnknownModel: the target is not served here.
        """
        ...

    async def open(self, order: Order) -> Completion:
        """Take a slot, or a place in the queue if no worker is free. Returns at once.

        Raises:
            NotReady, UnknownModel: as `pick`.
            TooLong: the order asks for more tokens than the server allows.
            QueueFull: the queue is full.
        """
        ...

    async def open_all(self, orders: Sequence[Order]) -> Sequence[Completion]:
        """As `open`, for all texts of one request or none."""
        ...

    def health(self) -> Health:
        """Whether the server is ready, and its problems."""
        ...
