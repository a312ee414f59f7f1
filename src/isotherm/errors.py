"""The one exception for mistakes of the user's."""


class UserError(Exception):
    """One sentence: what is wrong, why, and the valid choices. The command prints it and exits with 2."""
