"""Errors that reach a person: one sentence with the problem, the value and the cure."""


class TextmillError(Exception):
    """Something of ours failed; the command ends with exit code 1."""

    exit_code = 1


class UserError(TextmillError):
    """Something a user, or the world around the program, can get wrong and put right; exit code 2."""

    exit_code = 2
