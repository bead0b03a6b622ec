"""The exceptions a user is meant to read."""


class UserError(Exception):
    """Wrong input, said in one line that names the field or file and the mend; exit code 2."""


class ServerAway(UserError):
    """A server that does not answer: the same may work later."""
