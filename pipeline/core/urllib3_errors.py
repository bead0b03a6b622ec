"""Read the reason from urllib3's errors about a server that does not answer.

requests and MLflow put urllib3's errors into their own, as the cause or the context of theirs. urllib3
itself is imported where there is an error to look at.
"""

from collections.abc import Iterator


def connection_reason(error: BaseException) -> str | None:
    """Return why a server did not answer, in a few words, or None if ``error`` has another cause."""
    return next((_words(reason) for _, reason in _unanswered(error)), None)


def brief_text(error: BaseException) -> str:
    """Return the text of ``error``, with ``connection_reason`` in place of urllib3's text."""
    text = str(error)
    for long, reason in _unanswered(error):
        # MLflow's words before it would say the same twice.
        text = text.replace(f"failed with exception {long}", long)
        text = text.replace(long, f"failed: {_words(reason)}")
    return text


def _unanswered(error: BaseException | None) -> Iterator[tuple[str, BaseException]]:
    """Yield text and reason of each of urllib3's errors among ``error`` and those that led to it."""
    from urllib3.exceptions import MaxRetryError

    seen = set[int]()
    while error is not None and id(error) not in seen:  # one may be raised from itself
        if isinstance(error, MaxRetryError) and error.reason is not None:
            yield str(error), error.reason
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _words(reason: BaseException) -> str:
    """Return the reason for the last of several tries, without the address that it was made at."""
    from urllib3.exceptions import NewConnectionError, PoolError

    if type(reason) is NewConnectionError and isinstance(reason.__cause__, OSError):
        return str(reason.__cause__)
    last = reason.args[-1] if reason.args else type(reason).__name__
    if isinstance(last, BaseException):  # the pair of a general and a special one
        return _words(last)
    if isinstance(reason, NewConnectionError):
        return str(last).removeprefix(f"{reason.conn}: ")
    if isinstance(reason, PoolError):
        return str(last).removeprefix(f"{reason.pool}: ")
    return str(last)
