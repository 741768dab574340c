"""What stands behind a run: a compiler that works, the commit, and the kind of processor."""

import os
import shutil
from dataclasses import replace

import pytest
import torch
from tiny import TINY

from condkl_studies import fit_run, machine
from condkl_studies.machine import compiler_found


def test_a_compiler_is_looked_for_where_torch_does_and_has_to_compile(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert not compiler_found()
    for status, works in ((0, True), (1, False)):
        compiler = tmp_path / f"c++{status}"
        compiler.write_text(f"#!/bin/sh\necho a version; [ $1 = --version ] || exit {status}\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        assert compiler_found() == works


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_compiler_that_works_is_found_and_one_that_does_not_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CXX", raising=False)
    assert compiler_found()
    machine._compiles.cache_clear()
    (tmp_path / "g++").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert not compiler_found()
    machine._compiles.cache_clear()  # what a PATH said is no word on another


def test_without_git_or_outside_a_repository_there_is_no_commit_and_a_run_is_made(monkeypatch, folder):
    with monkeypatch.context() as without:
        without.setenv("PATH", str(folder))
        assert machine.commit() is None
        assert fit_run(replace(TINY, steps=2)).provenance["commit"] is None
    monkeypatch.setattr(machine, "__file__", str(folder / "machine.py"))
    assert machine.commit() is None


def test_the_processor_is_named_with_what_rounding_depends_on():
    name = machine.processor()
    assert name.endswith(torch.backends.cpu.get_cpu_capability())
    assert len(name) > len(torch.backends.cpu.get_cpu_capability()) + 2
