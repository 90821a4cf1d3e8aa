"""What one HTTP request is and costs: made by the middleware, filled in where it becomes known, read by log and queue."""

from contextvars import ContextVar
from dataclasses import dataclass, field

ROUTES = {
    "/v1/articles": "articles",
    "/v1/completions": "completions",
    "/v1/chat/completions": "chat",
    "/predict": "predict",
    "/send-feedback": "feedback",
}


@dataclass(slots=True)
class Account:
    """One request."""

    id: str = ""
    client: str = ""  # its key's name, or else its address: turns in the queue are divided between these
    key: str = ""  # its key's name
    route: str = "other"  # a short name for metrics
    versions: list[str] = field(default_factory=list)  # that wrote for it
    tokens: int = 0  # written for it


_current: ContextVar[Account | None] = ContextVar("account", default=None)


def begin(account: Account) -> None:
    """Make it the account of the current task and of those that it starts."""
    _current.set(account)


def current() -> Account:
    """The account of the current request; an empty one outside of requests."""
    return _current.get() or Account()


def route_of(path: str) -> str:
    """A path's short name for metrics; few, whatever is asked for."""
    return ROUTES.get(path, "feedback" if path.endswith("/feedback") else "other")
