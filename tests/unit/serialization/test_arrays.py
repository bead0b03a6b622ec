"""Arrays from files that may hold anything."""

from pathlib import Path

import numpy as np
import pytest

from bngan.serialization.arrays import opened_arrays


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3))
    with opened_arrays(tmp_path / "a.npz", "numbers") as arrays:
        assert arrays["one"].tolist() == [0, 1, 2]
        assert "two" not in arrays


def test_every_changed_byte_gives_arrays_or_one_kind_of_error(tmp_path: Path) -> None:
    """zipfile has errors of its own: for encryption, and for kinds of compression."""
    file = tmp_path / "a.npz"
    np.savez(file, one=np.arange(3))
    content, errors = file.read_bytes(), 0
    for place in range(len(content)):
        for value in (0x00, 0x01, 0xFF):
            file.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            reason = ""
            try:
                with opened_arrays(file, "numbers") as arrays:
                    _ = arrays["one"]
            except ValueError as error:
                reason = str(error)
            assert not reason or reason.startswith("a.npz holds no numbers: ")
            errors += bool(reason)
    assert errors > 100


@pytest.mark.parametrize("error", [KeyError("one"), ValueError("of two kinds")])
def test_what_the_block_finds_wrong_is_the_files(error: Exception, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3))
    with (
        pytest.raises(ValueError, match=r"^a\.npz holds no numbers: "),
        opened_arrays(tmp_path / "a.npz", "numbers"),
    ):
        raise error
