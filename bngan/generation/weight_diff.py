"""Compare the weights of an adapted generator with those of its base."""

import torch

from bngan.generation.sampler import Sampler
from bngan.networks.norms import affine_parameters
from bngan.numerics.torch_internals import BatchNormBase


def weight_difference(adapted: Sampler, base: Sampler) -> str:
    """Return what differs: ``nothing``, ``gamma, beta``, ``statistics``, both, or ``all``.

    Gamma and beta include the parameters that compute them. The result is ``all`` if any other
    parameter or buffer differs, or if the networks are not the same.
    """
    ours, theirs = adapted.generator.state_dict(), base.generator.state_dict()
    if ours.keys() != theirs.keys():
        return "all"
    affine = {id(parameter) for parameter in affine_parameters(adapted.generator)}
    names = (name for name, p in adapted.generator.named_parameters() if id(p) in affine)
    kinds = dict.fromkeys(names, "gamma, beta")
    for prefix, module in adapted.generator.named_modules():
        if isinstance(module, BatchNormBase):
            kinds |= {n: "statistics" for n, _ in module.named_buffers(prefix, recurse=False)}
    differing = {
        kinds.get(name, "all") for name in ours if not torch.equal(ours[name], theirs[name])
    }
    return "all" if "all" in differing else ", ".join(sorted(differing)) or "nothing"
