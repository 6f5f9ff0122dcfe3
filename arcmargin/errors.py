"""The one exception that stands for a caller's mistake."""


class UserError(ValueError):
    """Bad input: the message is one sentence that says what was expected, what came and what to do.

    The command line prints it without a traceback; anyone who imports the package sees a ValueError.
    """
