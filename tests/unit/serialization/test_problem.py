import copy

from bngan.serialization.problem import ConfigurationError, Problem, first_line


def test_a_section_is_added_to_all_keys() -> None:
    problem = Problem("micro_batch", "micro_batch 5 must divide batch_size 16", ("batch_size",))
    assert problem.within("train") == (
        "train.micro_batch",
        "train.micro_batch 5 must divide batch_size 16",
        ("train.batch_size",),
    )


def test_an_error_that_is_copied_keeps_its_problem() -> None:
    error = ConfigurationError(Problem("model", "model: too large"))
    again = copy.copy(error)  # as pickle does for another process
    assert str(again) == str(error) == "model: too large"
    assert again.problem == error.problem


def test_the_first_line_of_an_error_moves_no_cursor() -> None:
    assert first_line(ValueError("\n gone \x1b[2J\nmore")) == "gone \\x1b[2J"
    assert first_line(KeyError()) == "KeyError"
