"""What stands behind the numbers of a run besides its config: commit, machine, compiler."""

import functools
import os
import platform
import subprocess
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

import torch


def compiler_found() -> bool:
    """Whether `torch.compile` has what it needs here: CUDA or a C++ compiler that works."""
    return torch.cuda.is_available() or _compiles(_cxx())


def machine() -> dict[str, str]:
    """The kind of machine, on which the same run gives the same bits."""
    return {
        "processor": processor(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
    }


def commit() -> str | None:
    """The commit of the repository, or None outside one."""
    return _said_by("git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD")


def _said_by(*command: str) -> str | None:
    """What a command prints, or None if it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def compiler() -> str | None:
    """What the C++ compiler says of its version, or None if there is none."""
    return (_said_by(_cxx(), "--version") or "").partition("\n")[0] or None


def _cxx() -> str:
    """The C++ compiler, as torch looks for it."""
    return os.environ.get("CXX", "g++")


@functools.cache
def _compiles(compiler: str) -> bool:
    """Whether it makes a library of one line that needs Python's headers, as all that torch generates does."""
    with TemporaryDirectory() as folder:
        source = Path(folder, "one_line.cpp")
        source.write_text("#include <Python.h>\n")
        options = ["-I", sysconfig.get_path("include"), "-shared", "-fPIC", "-o", f"{folder}/one_line.so"]
        return _said_by(compiler, *options, str(source)) is not None


@functools.cache
def processor() -> str:
    """The processor's name, its family and model where Linux tells them, and the vectors that torch finds in it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = said.get("model name") or platform.processor() or "unknown"
    kind = [f"{key.removeprefix('cpu ')} {said[key]}" for key in ("cpu family", "model") if key in said]
    return ", ".join([name, *kind, torch.backends.cpu.get_cpu_capability()])
