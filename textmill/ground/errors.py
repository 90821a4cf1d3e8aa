"""Errors for the user: one sentence with problem, value and cure."""


class TextmillError(Exception):
    """Textmill or a server failed; exit code 1."""

    exit_code = 1


class UserError(TextmillError):
    """An error that the user can fix; exit code 2."""

    exit_code = 2
