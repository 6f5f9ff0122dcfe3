"""The exceptions that mean something to whoever catches them."""


class UserError(ValueError):
    """Bad input: the message is one sentence that says what was expected, what came and what to do.

    The command line prints it without a traceback; anyone who imports the package sees a ValueError.
    """


class Interrupted(Exception):
    """Somebody wants the run to end; it can go on from its last epoch."""
