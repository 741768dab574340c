"""The spatial transformer: a square glimpse on a canvas, and a canvas seen through a glimpse.

Both interpolate bilinearly with black outside. The weights of rows and of columns are apart, so that a placement is two
small products, `W_rows glimpse W_columnsᵀ`, in place of a search for four neighbours of each pixel.
"""

import torch
from torch import Tensor


def place(glimpse: Tensor, scale: Tensor, shift: Tensor, side: int) -> Tensor:
    """The glimpse, (n, g, g), on a black canvas: (n, side, side).

    The canvas reaches from -1 to 1 in both directions, and the glimpse, from `shift` - `scale` to `shift` + `scale`;
    `scale` has shape (n,), `shift`, of rows and of columns, (n, 2). It is torch's `grid_sample` of the glimpse at
    (canvas - shift) / scale.
    """
    at = (_centres(side, glimpse) - shift[..., None]) / scale[:, None, None]  # of the canvas' pixels in the glimpse
    rows, columns = _weights(at, glimpse.shape[-1]).unbind(1)
    return rows @ glimpse @ columns.mT


def glimpse(canvas: Tensor, scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """What `place` with that scale and shift would have put on the canvas, (n, side, side): (n, size, size).

    It is torch's `grid_sample` of the canvas at scale · glimpse + shift. Where a glimpse is put at whole pixels in its
    own size, it is the inverse of `place`.
    """
    at = _centres(size, canvas) * scale[:, None, None] + shift[..., None]  # of the glimpse's pixels on the canvas
    rows, columns = _weights(at, canvas.shape[-1]).unbind(1)
    return rows @ canvas @ columns.mT


def _centres(size: int, like: Tensor) -> Tensor:
    """The centres of `size` pixels that share [-1, 1]."""
    return (2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1


def _weights(at: Tensor, size: int) -> Tensor:
    """Bilinear weights of `size` pixels that share [-1, 1] at places (..., m), shape (..., m, size)."""
    pixel = ((at + 1) * size - 1) / 2
    return torch.relu(1 - (pixel[..., None] - torch.arange(size, dtype=at.dtype, device=at.device)).abs())
