"""How a compiled step multiplies: torch's products, or oneDNN's, and sums of rows where a factor holds bits.

`torch.compile` calls the CPU's matrix products through torch's `mm`, which is MKL's. On processors of AMD, MKL leaves
half of each vector of 512 bits unused, and oneDNN, which torch brings along, does not. A product with a batch of bits,
few of which are 1, is a sum of rows, and takes less than half of the time. `graphs` writes both into the graph of the
step after it is traced: the model knows nothing of them, and a step that is not compiled does without.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condkl_studies.machine import processor

_SPARSE = 0.25  # share of ones below which sums of rows are worth their lists


@dataclass(frozen=True)
class Calls:
    """How a compiled step multiplies: with bits by sums of rows or not, and else by oneDNN or by torch's products."""

    rows: bool
    onednn: bool

    def __str__(self) -> str:
        return f"{'sums of rows' if self.rows else 'dense products'} with x, {'oneDNN' if self.onednn else 'torch'}"


def calls(images: Tensor, dtype: torch.dtype) -> Calls:
    """What is fastest for these images, grey levels as bytes: it depends on them and on the processor alone."""
    on_cpu = images.device.type == "cpu" and dtype == torch.float32
    few = on_cpu and 0 < int(images.sum()) / images.numel() / 255 < _SPARSE
    return Calls(few, onednn_is_faster(images.device, dtype))


def onednn_is_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's products are faster than torch's: in float32, on AMD's processors with vectors of 512 bits."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512" and "AMD" in processor()
    return wide and torch.backends.mkldnn.is_available() and device.type == "cpu" and dtype == torch.float32


@torch.library.custom_op("condkl::as_floats", mutates_args=())
def as_floats(bits: Tensor, by_image: Tensor, image_starts: Tensor, by_pixel: Tensor, pixel_starts: Tensor) -> Tensor:
    """The bits as float32; in the graph of a step it says that their `Places` are at hand."""
    return bits.float()


@as_floats.register_fake
def _as_floats(bits: Tensor, *places: Tensor) -> Tensor:
    return torch.empty_like(bits, dtype=torch.float32)


@torch.library.custom_op("condkl::onednn_product", mutates_args=())
def onednn_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """`a @ b + bias` by oneDNN, float32, shapes (n, k), (k, m) and (m,)."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")


@onednn_product.register_fake
def _onednn_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return a.new_empty(len(a), b.shape[1])


def compiler_options(device: torch.device, onednn: bool) -> dict[str, Any]:
    """Options of `torch.compile` for a function of tensors on that device; `onednn` is as for `graphs.FasterCalls`."""
    if device.type != "cpu":
        return {"size_asserts": False}
    from condkl_studies.graphs import FasterCalls  # here: it loads the compiler, which takes as long as torch

    # C++ calls the products one after the other, in place of Python.
    options = {"size_asserts": False, "memory_planning": True, "cpp_wrapper": True}
    return options | {"post_grad_custom_post_pass": FasterCalls(onednn)}
