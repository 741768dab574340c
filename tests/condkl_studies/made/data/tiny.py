"""Images of which each is bright in one half, with noise: one binary latent explains them."""

import torch

PIXELS, SIZES = 16, {"train": 200, "validation": 50, "test": 20}


def images(split):
    generator = torch.Generator().manual_seed(list(SIZES).index(split))
    left = torch.rand(SIZES[split], 1, generator=generator) < 0.5
    half = (torch.arange(PIXELS) < PIXELS // 2).expand(SIZES[split], -1)
    noise = torch.randint(-15, 16, half.shape, generator=generator)
    return (torch.where(half == left, 225, 30) + noise).to(torch.uint8)
