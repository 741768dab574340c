"""The canvases: digits of their own split alone, as many as said, where they may lie, the same at every call."""

import itertools

import pytest
import torch
from torch.nn.functional import avg_pool2d

from condkl_studies import canvases, data
from condkl_studies.canvases import DIGIT, SIDE, Canvases
from condkl_studies.data.mnist import Digits, mnist

SPLITS = ("train", "validation", "test")
TWO, FOUR = (data.module(name).canvases for name in ("two_digits", "four_digits"))


@pytest.fixture
def made_anew():
    canvases._made.cache_clear()
    yield
    canvases._made.cache_clear()


@pytest.mark.parametrize(
    ("kind", "most", "split"),
    [
        *((TWO, 2, split) for split in SPLITS),
        (FOUR, 4, "test"),
        *(pytest.param(FOUR, 4, split, marks=pytest.mark.slow) for split in SPLITS[:2]),
    ],
)
def test_a_split_has_its_size_and_each_number_equally_often(kind, most, split):
    images, counts = kind.images(split), kind.counts(split)
    assert (images.shape, images.dtype) == ((len(counts), SIDE**2), torch.uint8)
    assert len(counts) == {"train": 50_000, "validation": 2_000, "test": 5_000}[split]
    found, each = counts.bincount(minlength=most + 1), len(counts) / (most + 1)
    assert len(found) == most + 1
    assert ((found - each).abs() < 4.5 * (each * (1 - 1 / (most + 1))) ** 0.5).all()
    assert ((images > 0).any(1) == (counts > 0)).all()  # every digit has ink


@pytest.mark.parametrize("split", SPLITS)
def test_a_canvas_with_one_digit_is_that_digit_halved_at_some_place_of_its_own_split(split):
    images, counts = TWO.images(split), TWO.counts(split)
    digits = avg_pool2d(mnist(split).images.view(-1, 1, 2 * DIGIT, 2 * DIGIT).float(), 2).floor()
    known = {digit.numpy().tobytes() for digit in digits.byte()}
    corners = set()
    for canvas in images[counts == 1][:50].view(-1, SIDE, SIDE):
        windows = canvas.unfold(0, DIGIT, 1).unfold(1, DIGIT, 1)  # (row, column, 14, 14)
        ink = windows.long().sum((2, 3)) == canvas.long().sum()
        fits = [(r, c) for r, c in ink.nonzero().tolist() if windows[r, c].contiguous().numpy().tobytes() in known]
        assert fits
        corners.add(fits[0])
    assert len(corners) > 30  # places differ


def test_no_two_splits_share_a_digit():
    seen = [{digit.numpy().tobytes() for digit in mnist(split).images[:2000]} for split in SPLITS]
    assert not any(one & other for one, other in itertools.combinations(seen, 2))


@pytest.fixture
def squares(monkeypatch):
    """Digits that are squares of a grey of 100, so that one sees where they lie."""
    many = torch.full((100, 28 * 28), 100, dtype=torch.uint8)
    monkeypatch.setattr(canvases, "mnist", lambda split: Digits(many, torch.zeros(100, dtype=torch.uint8)))
    canvases._made.cache_clear()
    yield
    canvases._made.cache_clear()


@pytest.mark.usefixtures("squares")
def test_digits_that_may_not_overlap_never_do_and_those_that_may_are_covered_twice_there():
    images, counts = TWO.images("test").view(-1, SIDE, SIDE), TWO.counts("test")
    assert sorted(images.unique().tolist()) == [0, 100]
    assert torch.equal((images == 100).sum((1, 2)), DIGIT**2 * counts)
    twice = 255 - round(155 * 155 / 255)
    found, counts = FOUR.images("test"), FOUR.counts("test")
    assert twice in found.unique()
    assert found[counts < 2].max() == 100


@pytest.mark.usefixtures("squares")
def test_every_place_on_the_canvas_is_taken_and_none_beyond():
    kind = Canvases(1, overlap=True)  # half of its canvases have one digit: a share is found that is off by 40%
    images, counts = kind.images("test").view(-1, SIDE, SIDE), kind.counts("test")
    one = images[counts == 1] > 0
    tops = one.any(2).int().argmax(1)
    lefts = one.any(1).int().argmax(1)
    for ends in (tops, lefts):
        share = ends.bincount(minlength=19).double() / len(one)
        assert len(share) == 19
        assert ((share - 1 / 19).abs() < 4.5 * (1 / 19 / len(one)) ** 0.5).all()
    assert (one.sum((1, 2)) == DIGIT**2).all()


@pytest.mark.usefixtures("made_anew")
def test_every_call_and_every_process_gives_the_same_canvases():
    one = TWO.images("validation")
    one //= 255  # what a caller does to his canvases is his alone
    two = TWO.images("validation")
    assert two.max() == 255
    canvases._made.cache_clear()
    assert torch.equal(TWO.images("validation"), two)
    assert not torch.equal(Canvases(2, overlap=True).images("validation"), two)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'dev'"):
        TWO.images("dev")
