"""What is drawn ahead of a window: each image once an epoch, bits of their grey levels, and where the ones are."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from condkl_studies import batches
from condkl_studies.batches import batch_order, drawn, places


def normal(*widths, **dtype):
    return lambda shape, generator: batches.normal(shape, widths, generator, **dtype)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.integers(0, 3))
def test_each_epoch_shows_every_image_once_and_leaves_out_what_fills_no_batch(size, rest, per_epoch, seed):
    n = size * per_epoch + rest % size
    order = batch_order(n, size, range(3 * per_epoch), seed)
    assert order.shape == (3 * per_epoch, size)
    for epoch in order.view(3, -1):
        assert len(epoch.unique()) == size * per_epoch
        assert 0 <= epoch.min() <= epoch.max() < n


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    one, two = (batch_order(11, 4, range(6), seed).view(3, 8).tolist() for seed in (7, 8))
    assert len({tuple(epoch) for epoch in one + two}) == 6
    left_out = [set(range(11)) - set(epoch) for epoch in one]
    assert any(left_out[0] != other for other in left_out)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_the_order_does_not_depend_on_where_windows_begin(lengths):
    cuts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    parts = [batch_order(23, 5, range(a, b), 3) for a, b in itertools.pairwise(cuts)]
    assert torch.equal(torch.cat(parts), batch_order(23, 5, range(cuts[-1]), 3))


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 25])
def test_the_bits_of_a_batch_are_those_of_its_images(steps):
    images = torch.arange(7, dtype=torch.uint8)[:, None].expand(7, 12) % 2 * 255  # 0 and 255 have one binarisation
    order = batch_order(7, 3, range(steps), seed=2)
    found = list(drawn(images, order, normal(2, 4, dtype=torch.float64), torch.Generator().manual_seed(1)))
    bits = torch.stack([one.bits for one in found])
    assert (bits.dtype, bits.shape) == (torch.uint8, (steps, 3, 12))
    assert torch.equal(bits * 255, images[order])
    for one in found:
        assert one.places is None
        assert [(e.shape, e.dtype) for e in one.noise] == [((3, 2), torch.float64), ((3, 4), torch.float64)]


def test_no_two_steps_share_noise_or_bits():
    images, order = torch.full((7, 30), 99, dtype=torch.uint8), batch_order(7, 3, range(25), seed=2)
    found = list(drawn(images, order, normal(2), torch.Generator().manual_seed(1)))
    for kind in (torch.stack([one.bits for one in found]), torch.stack([one.noise[0] for one in found])):
        assert len(kind.flatten(1).unique(dim=0)) == 25


stacks = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9)).flatmap(
    lambda shape: arrays("uint8", shape, elements=st.integers(0, 1))
)


@given(stacks)
def test_the_places_of_ones_say_where_they_are_by_image_and_by_pixel(stack):
    bits = torch.from_numpy(stack)
    found = list(places(bits))
    assert len(found) == len(bits)
    for x, at in zip(bits, found, strict=True):
        for matrix, lists, starts in ((x, at.by_image, at.image_starts), (x.T, at.by_pixel, at.pixel_starts)):
            assert lists.dtype == starts.dtype == torch.int32
            rows = [lists[a:b].tolist() for a, b in itertools.pairwise(starts.tolist())]
            assert rows == [row.nonzero().flatten().tolist() for row in matrix]


def test_drawn_batches_come_with_their_own_places():
    images, order = torch.full((7, 12), 99, dtype=torch.uint8), batch_order(7, 3, range(25), seed=2)
    for one in drawn(images, order, normal(2), torch.Generator().manual_seed(1), rows=True):
        assert one.places is not None
        assert torch.equal(one.places.by_image, one.bits.nonzero()[:, 1])
