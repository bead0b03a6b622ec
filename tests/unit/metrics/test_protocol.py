"""Protocols and their names."""

import pytest

from bngan.metrics.protocol import Protocol


def test_a_protocols_name_says_everything() -> None:
    assert Protocol.parse("fid10k_test") == Protocol("fid10k_test", 10_000, "test")
    assert Protocol.parse("fid350_select").count == 350
    for name in ("fid10k", "fid0_test", "fid10k_validation", "kid10k_test", ""):
        with pytest.raises(ValueError, match="no protocol"):
            Protocol.parse(name)
    with pytest.raises(ValueError, match="at least 20"):
        Protocol.parse("fid19_test")
    with pytest.raises(ValueError, match=r"needs 350 .* has 349 for it: use fid349_test"):
        Protocol.parse("fid350_test").check(349)
    Protocol.parse("fid350_test").check(350)
    with pytest.raises(ValueError, match=r"has 19 for it: scores need 20: use more images"):
        Protocol.parse("fid350_test").check(19)  # fid19_test is none
