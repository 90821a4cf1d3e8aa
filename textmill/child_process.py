"""What a child process of the command does around its work; `textmill.console` starts it and shows what it reports."""

from collections.abc import Callable

from textmill import progress
from textmill.ground.errors import TextmillError

_INTERRUPTED = 130  # what shells give for SIGINT


def exit_code(work: Callable[[], object]) -> int:
    """Do the work and return the code to exit with; a failure is reported in one sentence.

    The process ends when the one that started it does.
    """
    progress.follow_parent()
    try:
        work()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        progress.failed_with(error)
        if not isinstance(error, TextmillError):
            raise  # a mistake of ours: the log is to have the traceback
        return error.exit_code
    return 0
