"""Errors that the command line prints as one line, without a traceback."""


class UserError(Exception):
    """A mistake that the message explains, quoting the input and saying what would have worked; exit code 2."""


class SettingError(UserError, ValueError):
    """A value that a toy, its inputs, a recipe or a sweep cannot have."""


class UnknownProblemError(UserError, KeyError):
    """No problem, or no study, of that name; the message names the nearest one."""

    def __str__(self) -> str:  # KeyError would print the repr, with quotes around the whole message
        return str(self.args[0])
