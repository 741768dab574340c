"""Records: written once and whole, read back to the last bit, and refused when anything is not as it was written."""

import ast
import json
import re
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from tiny import STUDY, TINY, contents, plan, same

from condkl_studies import RecordError, config, files, store, verify
from condkl_studies.config import PROTOCOL, PROTOCOLS
from condkl_studies.schedule import run_study
from condkl_studies.store import read, read_study

FILES = ["config.json", "metrics.csv", "samples.npz", "provenance.json"]


def test_a_record_is_read_as_it_was_written(results, folder):
    where = store.write("tiny", results[0])
    assert where == folder / "data" / "runs" / "tiny" / TINY.id
    assert sorted(contents(where)) == sorted(FILES)
    again = read("tiny", TINY)
    assert same(again, results[0])
    pd.testing.assert_frame_equal(again.metrics, results[0].metrics, check_exact=True)
    assert again.provenance == results[0].provenance
    for name, array in again.samples.items():
        assert array.dtype == results[0].samples[name].dtype
        np.testing.assert_array_equal(array, results[0].samples[name])


def test_one_result_gives_one_record_byte_for_byte(results):
    assert contents(store.write("one", results[0])) == contents(store.write("two", results[0]))


def test_numbers_keep_every_digit(results):
    odd = pd.DataFrame(
        {"step": [1, 2], "elbo": [0.1 + 0.2, np.nextafter(-95.0, 0)], "val_elbo": [float("nan"), 1e-300]}
    )
    store.write("tiny", replace(results[0], metrics=odd))
    pd.testing.assert_frame_equal(read("tiny", TINY).metrics, odd, check_exact=True)


def test_the_config_is_written_for_people_with_its_protocol(results):
    settings = json.loads((store.write("tiny", results[0]) / "config.json").read_text())
    assert settings["protocol"] == PROTOCOL
    assert settings["objective"] == "full"


def test_a_study_is_read_in_the_order_asked_for(recorded):
    assert [record.config for record in read_study("tiny", STUDY[::-1])] == STUDY[::-1]


def test_a_missing_record_is_refused_with_the_command_that_makes_it(recorded):
    with pytest.raises(RecordError, match=r"no record of the run 'tiny full p\(x\|u\) seed 9'.*make study NAME=tiny"):
        read_study("tiny", [TINY, replace(TINY, seed=9)])


def test_a_record_is_never_overwritten(recorded, results):
    before = contents(recorded / TINY.id)
    with pytest.raises(RecordError, match="recorded already, and never overwritten"):
        store.write("tiny", results[0])
    assert contents(recorded / TINY.id) == before


# In the midst of each of the four files, and before the folder gets its name.
@pytest.mark.parametrize("death", [*(("write_bytes", i, True) for i in (1, 2, 3, 4)), ("rename", 1)], ids=str)
def test_a_process_killed_while_it_writes_leaves_no_record(death, results, processes, folder):
    process = processes.Process(target=tiny.write_and_die, args=(folder / "data", results[0], "tiny", *death))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(RecordError, match="no record of the run"):
        read("tiny", TINY)
    (partial,) = (store.runs_folder() / "tiny").iterdir()
    named = [line for line in verify.checked({"tiny": plan(TINY)})[1] if "half-written" in line]
    assert [line.startswith(str(partial)) for line in named] == [True]
    half = contents(partial)
    store.write("tiny", results[0])  # the half-written one is neither used nor in the way
    assert same(read("tiny", TINY), results[0])
    assert contents(partial) == half


def test_an_error_while_writing_leaves_nothing_at_all(results, monkeypatch):
    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("tiny", results[0])
    assert list((store.runs_folder() / "tiny").iterdir()) == []


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def flip(path, position):
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


def alter(folder, name, change):
    settings = json.loads((folder / name).read_text())
    change(settings)
    (folder / name).write_text(json.dumps(settings, indent=1) + "\n")


def swap(folder):
    """Put another run's whole record in this one's place."""
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name(STUDY[1].id), folder)


DAMAGES = {
    "missing": Path.unlink,
    "empty": partial(cut, keep=0),
    "cut": partial(cut, keep=40),
    "without its last byte": partial(cut, keep=-1),
    "with another first byte": partial(flip, position=0),
    "with another byte": partial(flip, position=30),
    "with another last byte": partial(flip, position=-1),
}
ALTERED = {
    "seconds": lambda provenance: provenance["seconds"].update(training=1.0),
    "commit": lambda provenance: provenance.update(commit="0" * 40),
    "hash": lambda provenance: provenance["files"].update({"metrics.csv": "0"}),
    "seal": lambda provenance: provenance.pop("seal"),
}
BREAKS = {
    **{f"{n} {d}": lambda folder, n=n, d=d: DAMAGES[d](folder / n) for n in FILES for d in DAMAGES},
    **{f"provenance.json {a}": lambda folder, a=a: alter(folder, "provenance.json", ALTERED[a]) for a in ALTERED},
    "provenance.json a list": lambda folder: (folder / "provenance.json").write_text("[1]"),
    "config.json seed": lambda folder: alter(folder, "config.json", lambda config: config.update(seed=5)),
    "wrong folder": swap,
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_record_is_named_refused_and_left_alone(kind, recorded, results):
    folder = recorded / TINY.id
    BREAKS[kind](folder)
    found = verify.checked({"tiny": plan(*STUDY)})[1]
    assert len(found) == 1
    assert str(folder) in found[0]
    before = everything(recorded)
    with pytest.raises(RecordError) as caught:
        read("tiny", TINY)
    assert str(caught.value) == found[0]
    if (name := kind.split()[0]) in FILES:
        assert str(folder / name) in found[0]

    def untouched(*args):
        raise AssertionError("it was trained")

    with pytest.raises(RecordError, match=TINY.id):
        run_study("tiny", [*STUDY, replace(TINY, seed=7)], None, folder, train=untouched, progress=False)
    with pytest.raises(RecordError, match="never overwritten"):
        store.write("tiny", results[0])
    assert everything(recorded) == before


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_of_another_protocol_is_refused(results, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(config, "PROTOCOLS", (*PROTOCOLS, PROTOCOL + 1))
        folder = store.write("tiny", replace(results[0], config=replace(TINY, protocol=PROTOCOL + 1)))
    with pytest.raises(
        RecordError, match=re.escape(f"config.json: protocol: expected one of {PROTOCOLS}, got {PROTOCOL + 1}")
    ):
        store.read_folder(folder)


def test_a_missing_run_is_named_by_verify(recorded):
    shutil.rmtree(recorded / TINY.id)
    (line,) = verify.checked({"tiny": plan(*STUDY)})[1]
    assert str(recorded / TINY.id) in line
    assert "no record" in line


def test_a_record_of_no_study_is_named_by_verify(recorded, results):
    other = store.write("others", results[0])
    rest = [line for line in verify.checked({"tiny": plan(*STUDY[1:])})[1] if "no run of any study" in line]
    assert [line.split(":")[0] for line in rest] == [str(other), str(recorded / TINY.id)]


def test_whole_records_are_no_problem(recorded):
    assert verify.checked({"tiny": plan(*STUDY)})[1] == []


def test_nothing_is_unpickled():
    packages = Path(store.__file__).parents[1]
    names = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for path in sorted([*packages.rglob("*.py"), *(packages.parent / "benchmarks").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in imported} & names, f"{path}: {imported}"
            assert "pickle" not in imported, f"{path}: {imported}"
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "jit.load"}, f"{path}: {called}"
            assert not called.endswith(("read_pickle", "to_pickle")), f"{path}: {called}"
            if called in {"np.load", "numpy.load"}:
                assert "allow_pickle=False" in map(ast.unparse, node.keywords), f"{path}: {ast.unparse(node)}"


def test_a_sealed_pickle_is_not_opened_either(results):
    class Trap:
        def __reduce__(self):
            return print, ("sprung",)

    trap = np.array([Trap()], dtype=object)
    store.write("tiny", replace(results[0], samples={"trap": trap}))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read("tiny", TINY)
