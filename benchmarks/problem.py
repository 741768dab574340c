"""What every contestant trains: one model from the same first weights. Only making it takes torch."""

import re
from dataclasses import dataclass

import numpy as np

WINDOW = 500  # steps whose randomness is drawn ahead, as in the studies
NETWORKS = ("q_v", "q_u", "p_u", "p_x")

Layer = tuple[np.ndarray, np.ndarray]  # weights, shape (outputs, inputs), and biases, shape (outputs,)


@dataclass(frozen=True)
class Problem:
    """A two-layer model before training, and its images."""

    weights: dict[str, np.ndarray]  # the state of `HierarchicalVAE`, by name
    latents: tuple[int, int]  # sizes, as `HierarchicalVAE` takes them
    hidden: tuple[int, int]
    images: np.ndarray  # grey levels as bytes, shape (n, pixels)
    batch: np.ndarray  # on which losses are compared: bytes of 0 and 1, shape (batch_size, pixels)
    window: int = WINDOW  # how many steps are taken at once where the randomness is drawn ahead
    batch_size: int = 100
    learning_rate: float = 1e-3  # Adam's
    likelihood_samples: int = 5000  # K, as the IWAE paper reports it


def make_problem(
    latents: tuple[int, int] = (50, 100),
    hidden: tuple[int, int] = (200, 100),
    images: np.ndarray | None = None,
    window: int = WINDOW,
    batch_size: int = 100,
) -> Problem:
    """The problem at the sizes of the IWAE paper's two-layer model, or at others; on MNIST, unless with `images`."""
    import torch

    from condkl.vae import HierarchicalVAE
    from condkl_studies.data import binarise_once, load
    from condkl_studies.randomness import seeded_globally

    grey = load("mnist", "train") if images is None else torch.from_numpy(images)
    with seeded_globally(0):
        model = HierarchicalVAE(latents, hidden, pixels=grey.shape[1]).start_at_mean(grey)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    batch = binarise_once(grey[:batch_size]).numpy().astype(np.uint8)
    return Problem(weights, latents, hidden, grey.numpy(), batch, window, batch_size)


def first_parts(problem: Problem, network: str) -> list[np.ndarray]:
    """The first layer's matrices of a network from `NETWORKS`, one for each of its inputs, (outputs, inputs)."""
    name = re.compile(rf"{network}(\.0)?\.parts\.\d+\.weight")
    return [value for key, value in problem.weights.items() if name.fullmatch(key)]


def layers(problem: Problem, network: str) -> list[Layer]:
    """The three layers of a network from `NETWORKS`; the first one on its inputs side by side."""
    weights = problem.weights
    name = network if f"{network}.out.weight" in weights else f"{network}.0"  # one of several layers', the first
    first = np.concatenate(first_parts(problem, network), axis=1), weights[f"{name}.parts.0.bias"]
    return [first, *((weights[f"{name}.{at}.weight"], weights[f"{name}.{at}.bias"]) for at in ("middle", "out"))]


def flops_per_step(problem: Problem) -> int:
    """Floating-point operations in the matrix products of a step: a multiplication and an addition each."""
    # Every weight is in a product forward, one for its gradient, and one for that of its input unless that is an image.
    matrices = [value for value in problem.weights.values() if value.ndim == 2]
    on_images = [first_parts(problem, name)[0] for name in ("q_v", "q_u")]
    return 2 * problem.batch_size * (3 * sum(m.size for m in matrices) - sum(m.size for m in on_images))
