"""Define exceptions whose text is for the user."""

from bngan.serialization.problem import Problem
from pipeline.core.ray_internals import inner_error
from pipeline.core.urllib3_errors import brief_text


class UserError(Exception):
    """Report wrong input, exit code 2: a line per problem names the field or file and the mend.

    Args:
        problems: what is wrong; a text is a problem of no key.

    Attributes:
        problems: the same, in the order of the lines.
    """

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem("", p) for p in problems]
        super().__init__("\n".join(problem.message for problem in self.problems))


class RetryableError(UserError):
    """Report that the same input may work later; exit code 3."""


class ServerUnavailableError(RetryableError):
    """Report a server that does not answer."""


def root_cause_line(error: BaseException) -> str:
    """Return the kind and the first line of the error at the root of ``error``.

    Ray and the stages wrap the errors that they meet into errors of their own. urllib3's text about a
    server that does not answer is shortened.
    """
    for _ in range(10):
        if (inner := inner_error(error)) is None:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(filter(None, (error.strerror, error.filename and str(error.filename))))
    line = next(iter(brief_text(error).strip().splitlines()), "")
    return ": ".join(filter(None, (type(error).__name__, line)))
