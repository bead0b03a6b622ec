"""What needs a CUDA device; skipped where there is none."""

import numpy as np
import pytest
import torch

from bngan.networks import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.trainer import OptimizationConfig, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


class Images:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)


def trained(device: str) -> dict[str, torch.Tensor]:
    model = ModelConfig("dcgan", 8, GeneratorConfig(8), DiscriminatorConfig(8))
    optimization = OptimizationConfig(batch_size=8)
    trainer = Trainer(model, optimization, (3, 16, 16), seed=1, device=device, dtype=torch.float64)
    for _ in trainer.fit(Images(), 40, 40):
        pass
    return {key: value.cpu() for key, value in trainer.ema.module.state_dict().items()}


def test_training_on_a_gpu_follows_the_cpu() -> None:
    expected = trained("cpu")
    for key, value in trained("cuda").items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-8, msg=key)
