"""The exceptions for mistakes of the user's."""


class UserError(Exception):
    """One sentence: what is wrong, why, and the valid choices. The command prints it and exits with 2."""


class OwnError(UserError):
    """What the user's own code did wrong; what it raised, where it raised something, is the cause."""


def shown(text: str) -> str:
    """A text of the user's in quotes, cut where it is long."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def said(error: BaseException) -> str:
    """Type and text of an exception on one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()).rstrip("."))))


LONGEST = 80
