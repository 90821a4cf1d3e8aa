"""The texts of one request begin together: all take a place, or none does."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from serving.interface.errors import NotReady
from serving.web.routes.event_stream import Closeable, close_all
from serving.writing.desk import Desk
from serving.writing.guarded_text import Text, open_all

T = TypeVar("T", bound=Closeable)


async def begin_all(
    desk: Desk, prepare: Callable[[], Awaitable[Sequence[T]]], text_of: Callable[[T], Text], begun: list[T]
) -> None:
    """Prepare and open the texts of one request. They go into `begun`, to be closed.

    Raises:
        NotReady, UnknownModel, TooLong, QueueFull: as `Router.open`.
    """
    begun.extend(await prepare())
    try:
        await open_all([text_of(each) for each in begun])
    except NotReady:  # perhaps the version was replaced between being picked and being asked
        if not desk.router.models():
            raise
        await close_all(begun)
        begun[:] = await prepare()
        await open_all([text_of(each) for each in begun])
