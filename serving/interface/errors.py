"""What may go wrong between a route and a worker, with the HTTP status that it becomes."""

from textmill.ground.errors import TextmillError


class QueueFull(TextmillError):
    """As many requests wait as may: come back in `retry_after_s` (HTTP 429)."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(TextmillError):
    """No model is loaded yet, or none any more (HTTP 503)."""


class WrongField(TextmillError):
    """A request that cannot be met as it is (HTTP 422)."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """Say why, and name the field that is wrong, if it is one."""
        super().__init__(message)
        self.param = param


class TooLong(WrongField):
    """More tokens are asked for than the server writes, or the prompt leaves no room."""

    def __init__(self, message: str, param: str = "max_tokens") -> None:
        super().__init__(message, param)


class WorkerRefused(WrongField):
    """The model's worker will not write this text; message and field are as it says."""


class UnknownModel(TextmillError):
    """No model of this name, version or stage is served here (HTTP 404)."""

    param = "model"


class Interrupted(TextmillError):
    """The model ended before the text did, and no other worker could go on with it (HTTP 503)."""


class DeadlinePassed(TextmillError):
    """The text was not written in the time that its order allowed (HTTP 504)."""
