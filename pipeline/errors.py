"""The one exception a user is meant to read."""


class UserError(Exception):
    """Wrong input, said in one line that names the field or file and the mend; exit code 2."""
