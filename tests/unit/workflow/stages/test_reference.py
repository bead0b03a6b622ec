"""What the reference of an adaptation says of its base's classes."""

from bngan.data.dataset import ImageSpec
from pipeline.workflow.stages.reference import _renamed


def spec(*names: str) -> ImageSpec:
    return ImageSpec((1, 8, 8), (1 / len(names),) * len(names), names)


def test_a_class_that_continues_under_another_name_is_told() -> None:
    assert _renamed(spec("cat", "dog", "emu"), spec("dog", "cat", "emu")) == (
        "0 cat as dog, 1 dog as cat"
    )
    assert _renamed(spec("cat", "dog"), spec("cat", "dog")) == ""
    old = ImageSpec((1, 8, 8), (0.5, 0.5))  # of earlier code, which knew no names
    assert _renamed(old, spec("cat", "dog")) == ""
    many = [[f"{kind}{number}" for number in range(100)] for kind in "ab"]
    told = _renamed(spec(*many[0]), spec(*many[1]))
    assert told.startswith("0 a0 as b0, ")
    assert told.endswith("9 a9 as b9, ... (100 in all)")
