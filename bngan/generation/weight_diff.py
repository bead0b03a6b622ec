"""Compare the weights of an adapted generator with those of its base."""

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
    affine, statistics = _names(adapted)
    differing = set()
    for name, tensor in ours.items():
        if tensor.shape == theirs[name].shape and bool((tensor == theirs[name]).all()):
            continue
        if name in affine:
            differing.add("gamma, beta")
        elif name in statistics:
            differing.add("statistics")
        else:
            return "all"
    return ", ".join(sorted(differing)) or "nothing"


def _names(sampler: Sampler) -> tuple[set[str], set[str]]:
    """Return the state-dict keys of gamma and beta, and those of batch-norm statistics."""
    generator = sampler.generator
    affine = {id(parameter) for parameter in affine_parameters(generator)}
    statistics = {
        f"{prefix}.{name}"
        for prefix, module in generator.named_modules()
        if isinstance(module, BatchNormBase)
        for name, _ in module.named_buffers(recurse=False)
    }
    return {n for n, p in generator.named_parameters() if id(p) in affine}, statistics
