"""The data: every damage is found, the splits do not meet, and binarisation has the grey level as its mean."""

import gzip
import hashlib
import math
import re
import shutil
import struct

import numpy as np
import pytest
import torch

from condkl_studies import data
from condkl_studies.data import binarise, binarise_once, load
from condkl_studies.data.mnist import mnist
from condkl_studies.files import DataError, data_folder
from condkl_studies.synthetic import known_model

NAMES = [f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
KNOWN = ("tight", "loose", "crossed")
TRAIN = 10_005  # the validation split takes the last 10,000


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def sums(folder, line="{digest}  {name}", start=""):
    """Write the digests of the contents, in that form."""
    contents = {name.removesuffix(".gz"): gzip.decompress((folder / name).read_bytes()) for name in NAMES}
    lines = [line.format(digest=hashlib.sha256(raw).hexdigest(), name=name) for name, raw in contents.items()]
    (folder / "SHA256SUMS").write_text(start + "\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def small(tmp_path):
    """A folder like data/mnist, with images of two by three pixels."""
    rng = np.random.default_rng(1)
    for part, n in (("train", TRAIN), ("t10k", 7)):
        for what, shape in (("images-idx3", (n, 2, 3)), ("labels-idx1", (n,))):
            array = rng.integers(0, 256 if len(shape) > 1 else 10, shape, dtype=np.uint8)
            (tmp_path / f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(idx(array), 1))
    sums(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def real():
    return {split: mnist(split) for split in ("train", "validation", "test")}


def test_the_splits_have_the_published_sizes(real):
    assert {name: len(digits.images) for name, digits in real.items()} == {
        "train": 50_000, "validation": 10_000, "test": 10_000,
    }  # fmt: skip
    for digits in real.values():
        assert digits.images.dtype == digits.labels.dtype == torch.uint8
        assert digits.images.shape == (len(digits.labels), 784)
        assert digits.labels.unique().tolist() == list(range(10))


def test_training_and_validation_are_the_two_parts_of_the_training_file(real):
    raw = gzip.decompress((data_folder() / "mnist" / NAMES[0]).read_bytes())
    assert raw[:16] == struct.pack(">4I", 0x803, 60_000, 28, 28)
    assert real["train"].images.numpy().tobytes() + real["validation"].images.numpy().tobytes() == raw[16:]
    labels = gzip.decompress((data_folder() / "mnist" / NAMES[1]).read_bytes())[8:]
    assert real["train"].labels.numpy().tobytes() + real["validation"].labels.numpy().tobytes() == labels


def test_all_of_mnist_is_the_training_file_and_what_is_called_validation_is_part_of_it(real):
    raw = gzip.decompress((data_folder() / "mnist" / NAMES[0]).read_bytes())
    whole = data.load("mnist_whole", "train")
    assert whole.numpy().tobytes() == raw[16:]
    assert torch.equal(data.load("mnist_whole", "validation"), whole[50_000:])
    assert torch.equal(data.load("mnist_whole", "test"), real["test"].images)


def test_the_test_split_is_the_test_file(real):
    raw = gzip.decompress((data_folder() / "mnist" / NAMES[2]).read_bytes())
    assert real["test"].images.numpy().tobytes() == raw[16:]


def test_a_whole_folder_is_read_pixel_by_pixel(small):
    raw = np.frombuffer(gzip.decompress((small / NAMES[0]).read_bytes())[16:], dtype=np.uint8).reshape(TRAIN, 6)
    np.testing.assert_array_equal(mnist("train", small).images, raw[:5])
    np.testing.assert_array_equal(mnist("validation", small).images, raw[5:])
    assert mnist("test", small).labels.shape == (7,)


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_found_in_any_file(small, name):
    content = bytearray(gzip.decompress((small / name).read_bytes()))
    content[-1] ^= 1
    (small / name).write_bytes(gzip.compress(content))
    split = "train" if name.startswith("train") else "test"
    with pytest.raises(DataError, match=rf"{name}: altered \(\d+ bytes\).*expected [0-9a-f]{{64}}, got.*git"):
        mnist(split, small)


def test_the_same_contents_packed_by_another_mirror_are_taken(small):
    before = mnist("test", small)
    for i, name in enumerate(NAMES):
        raw = gzip.decompress((small / name).read_bytes())
        (small / name).write_bytes(gzip.compress(raw, 2 * i + 1, mtime=i))
    after = mnist("test", small)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)


@pytest.mark.parametrize(
    ("line", "start"),
    [("{digest} *{name}", ""), ("{digest}  {name}", "\ufeff"), ("{digest}\t{name}  ", ""), ("{digest}  {name}\r", "")],
)
def test_checksums_are_read_as_any_program_writes_them(small, line, start):
    sums(small, line, start)
    assert mnist("test", small).images.shape == (7, 6)
    listed = (small / "SHA256SUMS").read_text("utf-8")
    (small / "SHA256SUMS").write_text(re.sub("[0-9a-f]{64}", lambda found: found[0].upper(), listed), "utf-8")
    assert mnist("test", small).images.shape == (7, 6)


def test_one_changed_byte_is_found_in_a_copy_of_the_real_files(tmp_path):
    for name in (*NAMES[2:], "SHA256SUMS"):
        shutil.copy(data_folder() / "mnist" / name, tmp_path)
    assert len(mnist("test", tmp_path).images) == 10_000
    raw = bytearray((tmp_path / NAMES[2]).read_bytes())
    raw[len(raw) // 2] ^= 0x10
    (tmp_path / NAMES[2]).write_bytes(raw)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: (altered|not a whole gzip file)"):
        mnist("test", tmp_path)


def test_a_truncated_file_is_found(small):
    path = small / NAMES[0]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"not a whole gzip file.*Restore it"):
        mnist("train", small)


def test_a_missing_file_is_named(small):
    (small / NAMES[1]).unlink()
    with pytest.raises(DataError, match=rf"{NAMES[1]}: cannot be read \(No such file.*Restore it with `git checkout"):
        mnist("train", small)


def test_missing_checksums_are_named(small):
    (small / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"SHA256SUMS: missing. Restore it with `git checkout"):
        mnist("test", small)


def test_a_file_without_a_checksum_is_refused(small):
    (small / "SHA256SUMS").write_text("\n")
    with pytest.raises(DataError, match="SHA-256 of the contents expected None"):
        mnist("test", small)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0", "not an IDX file of unsigned bytes"),
        (b"\0\1\x08\1" + struct.pack(">I", 1) + b"x", "not an IDX file"),
        (b"\0\0\x0d\1" + struct.pack(">I", 1) + b"abcd", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\1" + struct.pack(">I", 5) + b"abcd", r"declares shape \(5,\), but 4 bytes follow"),
        (b"\0\0\x08\1" + struct.pack(">I", 3) + b"abcd", r"declares shape \(3,\), but 4 bytes follow"),
        (b"\0\0\x08\3" + struct.pack(">I", 1), "the header declares shape"),
    ],
)
def test_a_bad_header_is_refused_though_its_checksum_fits(small, content, message):
    (small / NAMES[3]).write_bytes(gzip.compress(content))
    sums(small)
    with pytest.raises(DataError, match=message):
        mnist("test", small)


@pytest.mark.parametrize("raw", [b"", b"no gzip at all", b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff"])
def test_what_is_no_gzip_file_is_refused(small, raw):
    (small / NAMES[3]).write_bytes(raw)
    with pytest.raises(DataError, match=rf"{NAMES[3]}: (not a|altered \(0 bytes\))"):
        mnist("test", small)


def test_an_unknown_split_is_refused(small):
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'dev'"):
        mnist("dev", small)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_data_sets_are_loaded_by_name_as_bytes(split, real):
    assert {"mnist", *KNOWN} <= set(data.names())  # the tests of the studies add some
    assert torch.equal(load("mnist", split), real[split].images)
    for name in KNOWN:
        assert torch.equal(load(name, split), known_model(name).images(split))
        assert load(name, split).dtype == torch.uint8


@pytest.mark.parametrize("name", ["mnist", "tight", "tiny"])
def test_what_a_caller_does_to_images_stays_with_the_caller(name):
    before = load(name, "test")
    load(name, "test").fill_(77)
    assert torch.equal(load(name, "test"), before)


def test_unknown_data_sets_and_their_unknown_splits_are_refused():
    with pytest.raises(ValueError, match=r"data: expected one of .*crossed.*loose, mnist.*tight.*, got 'digits'"):
        load("digits", "train")
    for name in ("mnist", *KNOWN):
        with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'dev'"):
            load(name, "dev")


def test_the_environment_overrides_the_data_folder(small, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(small, folder / "mnist")
    monkeypatch.setenv("CONDKL_DATA", str(folder))
    assert data_folder() == folder
    assert mnist("test").images.shape == (7, 6)


def test_a_missing_data_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere: no such data folder.*pip install -e.*CONDKL_DATA"):
        mnist("train")


@pytest.mark.parametrize("levels", [data._levels_of_words, data._levels_one_by_one])  # the CPU's, and a GPU's
def test_the_mean_of_binarised_pixels_is_the_grey_level(levels, monkeypatch):
    monkeypatch.setattr(data, "_levels_of_words", levels)
    grey, n = torch.arange(256, dtype=torch.uint8), 20_000
    mean = binarise(grey.expand(n, -1).contiguous(), torch.Generator().manual_seed(2)).double().mean(0).numpy()
    p = np.arange(256) / 255
    assert (np.abs(mean - p) <= 4.5 * np.sqrt(p * (1 - p) / n)).all()  # black and white have no error at all
    assert abs(mean.mean() - 0.5) < 4.5 * math.sqrt((p * (1 - p)).sum() / n) / 256


def test_black_is_never_drawn_white_nor_white_black():
    shape, generator = (2000, 784), torch.Generator().manual_seed(3)
    assert not binarise(torch.zeros(shape, dtype=torch.uint8), generator).any()
    assert binarise(torch.full(shape, 255, dtype=torch.uint8), generator).all()


def test_pixels_are_drawn_apart_and_anew_as_the_generator_says():
    grey = torch.full((100, 784), 128, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(4)
    one, two = binarise(grey, generator), binarise(grey, generator)
    assert one.dtype == torch.float32
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert abs((one != two).float().mean() - 0.5) < 4.5 * 0.5 / math.sqrt(one.numel())
    assert torch.equal(one, binarise(grey, torch.Generator().manual_seed(4)))


def test_bits_can_be_kept_as_bytes_and_are_the_same():
    grey = torch.randint(0, 256, (50, 784), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    drawn = {kind: binarise(grey, torch.Generator().manual_seed(6), kind) for kind in (torch.uint8, torch.float64)}
    for kind, bits in drawn.items():
        assert bits.dtype == kind
        assert torch.equal(bits.float(), binarise(grey, torch.Generator().manual_seed(6)))


def test_static_binarisation_is_one_fixed_draw():
    grey, before = torch.full((3, 784), 128, dtype=torch.uint8), torch.random.get_rng_state()
    assert torch.equal(binarise_once(grey), binarise_once(grey))
    assert not torch.equal(binarise_once(grey), binarise_once(grey, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_numbers_of_numpy_are_seeds_and_a_seed_below_zero_is_refused():
    grey = torch.full((3, 784), 128, dtype=torch.uint8)
    assert torch.equal(binarise_once(grey, np.int64(1)), binarise_once(grey, 1))
    with pytest.raises(ValueError, match="seed: expected a whole number of at least 0, got -1"):
        binarise_once(grey, -1)


def test_images_that_are_no_bytes_are_refused():
    with pytest.raises(TypeError, match=r"images: expected bytes .*got torch.float32\. Pass the grey levels"):
        binarise(torch.zeros(1, 784), torch.Generator())
