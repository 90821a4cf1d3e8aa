"""Errors between a route and a worker, each with its HTTP status."""

from textmill.ground.errors import TextmillError


class QueueFull(TextmillError):
    """The queue is full: retry after `retry_after_s` (HTTP 429)."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(TextmillError):
    """No model is loaded (HTTP 503)."""


class WrongField(TextmillError):
    """A request that must be changed (HTTP 422)."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """Give the reason and, if one field is wrong, its name."""
        super().__init__(message)
        self.param = param


class TooLong(WrongField):
    """The request asks for more tokens than the server generates, or the prompt fills the window."""

    def __init__(self, message: str, param: str = "max_tokens") -> None:
        super().__init__(message, param)


class WorkerRefused(WrongField):
    """The worker refused this text. Message and field are the worker's own."""


class UnknownModel(TextmillError):
    """No model of this name, version or stage is served here (HTTP 404)."""

    param = "model"


class Interrupted(TextmillError):
    """The worker was lost during generation and no other worker could continue (HTTP 503)."""


class DeadlinePassed(TextmillError):
    """The text was not finished before its deadline (HTTP 504)."""
