"""The error that the command line prints as one line, without a traceback."""


class UserError(Exception):
    """A mistake that the message explains, quoting the input and saying what would have worked; exit code 2."""
