"""Read the reason from urllib3's errors about a server that does not answer.

requests and MLflow put urllib3's errors into their own, as the cause or the context of theirs. urllib3
itself is imported where there is an error to look at.
"""

from collections.abc import Iterator


def connection_reason(error: BaseException) -> str | None:
    """Return why a server did not answer, in a few words, or None if ``error`` has another cause."""
    from urllib3.exceptions import MaxRetryError

    for each in _chain(error):
        if isinstance(each, MaxRetryError) and each.reason is not None:
            return _words(each.reason)
    return None


def brief_text(error: BaseException) -> str:
    """Return the text of ``error``, with ``connection_reason`` in place of urllib3's text."""
    from urllib3.exceptions import MaxRetryError

    text = str(error)
    for each in _chain(error):
        if isinstance(each, MaxRetryError) and each.reason is not None:
            long = str(each)
            # MLflow's words before it would say the same twice.
            text = text.replace(f"failed with exception {long}", long)
            text = text.replace(long, f"failed: {_words(each.reason)}")
    return text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and, one after the other, the errors that led to it."""
    seen = set[int]()
    while error is not None and id(error) not in seen:  # one may be raised from itself
        yield error
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
