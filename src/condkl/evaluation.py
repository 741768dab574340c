"""What a trained model is worth on images that it was not trained on."""

import torch
from torch import Tensor

from condkl.data import binarise
from condkl.training import summary
from condkl.vae import HierarchicalVAE, Terms


@torch.no_grad()
def mean_terms(model: HierarchicalVAE, images: Tensor, seed: int, chunk: int = 1000) -> dict[str, float]:
    """Means over `images` of the ELBO and its terms, one draw of the binarisation and of the latents per image.

    Args:
        model: on any device.
        images: grey levels as bytes, shape (n, pixels).
        seed: of the binarisation and the latents.
        chunk: images at once.

    Returns:
        `elbo`, `R`, `A`, `C` in nats (and `C1`, `C2`, … with several conditional KLs). An ELBO is a lower bound
        of the log-likelihood, not the log-likelihood.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    parts = [model(binarise(part, generator), generator) for part in images.to(device).split(chunk)]
    return summary(Terms(*(torch.cat([getattr(part, name) for part in parts]) for name in ("R", "A", "C"))))
