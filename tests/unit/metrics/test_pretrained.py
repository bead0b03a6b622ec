"""Networks that others have trained."""

from pathlib import Path

import pytest

from bngan.metrics import pretrained

pytestmark = pytest.mark.usefixtures("planted_secrets")


def test_weights_that_somebody_put_in_the_place_of_inceptions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    (place / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"evil")
    with pytest.raises(ValueError, match="is not Inception's weights: its hash is another"):
        pretrained.inception((3, 32, 32), None)
