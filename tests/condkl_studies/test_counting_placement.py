"""The spatial transformer: torch's own at every scale and shift, inverse on whole pixels, differentiable."""

import pytest
import torch
from tiny_counting import SIDE, SIZE, placed, seen

from condkl_studies.counting.placement import glimpse, place

OWN = SIZE / SIDE  # the scale at which a glimpse has its own size


def wheres(n=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = OWN * (torch.rand(n, generator=generator).double() * 2 - 1).exp()
    return scale, 2 * torch.rand(n, 2, generator=generator).double() - 1


def random(n, side, seed=1):
    return torch.rand(n, side, side, generator=torch.Generator().manual_seed(seed)).double()


def test_a_placement_is_torchs():
    (scale, shift), looks = wheres(), random(20, SIZE)
    want = torch.stack([placed(*one) for one in zip(looks, scale, shift, strict=True)])
    torch.testing.assert_close(place(looks, scale, shift, SIDE), want, rtol=0, atol=1e-12)


def test_a_glimpse_is_torchs():
    (scale, shift), canvas = wheres(), random(20, SIDE)
    want = torch.stack([seen(*one) for one in zip(canvas, scale, shift, strict=True)])
    torch.testing.assert_close(glimpse(canvas, scale, shift, SIZE), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("corner", [(0, 0), (0, 3), (2, 1), (3, 3)])
def test_a_glimpse_is_inverse_to_a_placement_on_whole_pixels(corner):
    looks = random(1, SIZE)
    shift = (torch.tensor([corner]).double() + SIZE / 2) / (SIDE / 2) - 1  # the middle of the glimpse on the canvas
    canvas = place(looks, torch.tensor([OWN]).double(), shift, SIDE)
    down, right = corner
    torch.testing.assert_close(canvas[:, down : down + SIZE, right : right + SIZE], looks, rtol=0, atol=1e-12)
    assert canvas.sum().item() == pytest.approx(looks.sum().item(), rel=1e-12)
    torch.testing.assert_close(glimpse(canvas, torch.tensor([OWN]).double(), shift, SIZE), looks, rtol=0, atol=1e-12)


def test_a_glimpse_is_inverse_to_a_placement_of_a_smooth_look_at_any_scale():
    # A bilinear interpolation is off by h²/8 · |f''| in each direction, for pixels of size h; here |f''| <= 4 and h is
    # .051 in the glimpse and at most .05 on the canvas, so that the two are off by .0053 together.
    size, side = 40, 100
    ramp = torch.linspace(-1, 1, size).double()
    look = (-2 * (ramp[:, None] ** 2 + (ramp - 0.2) ** 2)).exp()[None]
    for scale, shift in (((0.4,), (0.13, -0.29)), ((0.55,), (-0.3, 0.2)), ((0.7,), (0.0, 0.111))):
        at = torch.tensor(scale).double(), torch.tensor([shift]).double()
        again = glimpse(place(look, *at, side), *at, size)
        inner = slice(2, -2)  # black begins outside, and is drawn into the margin
        torch.testing.assert_close(again[:, inner, inner], look[:, inner, inner], rtol=0, atol=6e-3)


def test_the_gradients_are_those_of_finite_differences():
    (scale, shift), looks = wheres(3, seed=5), random(3, SIZE)
    inputs = [one.requires_grad_() for one in (looks, scale, shift)]
    assert torch.autograd.gradcheck(lambda *some: place(*some, SIDE), inputs)
    assert torch.autograd.gradcheck(lambda *some: glimpse(*some, SIZE), [random(3, SIDE).requires_grad_(), *inputs[1:]])


def test_outside_of_the_canvas_everything_is_black():
    far = torch.tensor([OWN]).double(), torch.tensor([[5.0, 0.0]]).double()
    assert not place(random(1, SIZE), *far, SIDE).any()
    assert not glimpse(random(1, SIDE), *far, SIZE).any()
