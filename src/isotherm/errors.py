"""The one exception for mistakes of the user's."""


class UserError(Exception):
    """One sentence: what is wrong, why, and the valid choices. The command prints it and exits with 2."""


def shown(text: str) -> str:
    """A text of the user's in quotes, cut where it is long."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


LONGEST = 80
