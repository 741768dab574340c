"""What is drawn ahead of a window: each image once an epoch, bits of their grey levels, and where the ones are."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from condkl_studies.batches import batch_order, bits, places
from condkl_studies.data import binarise


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
    found = torch.stack(list(bits(images, order, torch.Generator().manual_seed(1))))
    assert (found.dtype, found.shape) == (torch.uint8, (steps, 3, 12))
    assert torch.equal(found * 255, images[order])


def test_batches_are_binarised_one_after_the_other():
    images, order = torch.full((7, 12), 99, dtype=torch.uint8), batch_order(7, 3, range(25), seed=2)
    found = list(bits(images, order, torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(1)
    for start in (0, 10, 20):
        some = torch.stack(found[start : start + 10])
        assert torch.equal(some, binarise(images[order[start : start + 10]], generator, torch.uint8))


batches = st.tuples(st.integers(1, 23), st.integers(1, 4), st.integers(1, 9)).flatmap(
    lambda shape: arrays("uint8", shape, elements=st.integers(0, 1))
)


@given(batches)
def test_the_places_of_ones_say_where_they_are_by_image_and_by_pixel(drawn):
    given_bits = [torch.from_numpy(one) for one in drawn]
    found = list(places(iter(given_bits)))
    assert len(found) == len(given_bits)
    for want, (x, at) in zip(given_bits, found, strict=True):
        assert torch.equal(x, want)
        for matrix, lists, starts in ((want, at.by_image, at.image_starts), (want.T, at.by_pixel, at.pixel_starts)):
            assert lists.dtype == starts.dtype == torch.int32
            rows = [lists[a:b].tolist() for a, b in itertools.pairwise(starts.tolist())]
            assert rows == [row.nonzero().flatten().tolist() for row in matrix]
