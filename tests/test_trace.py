"""What the tracer sees of the files that a Python process and its children read. Every process here is a real one."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from small_project import ROOT


class Traced:
    """A small project, and a way to run a script in it with the tracer."""

    def __init__(self, folder):
        self.folder, self.trace = folder / "project", folder / "trace"
        shutil.copytree(ROOT / "tools", self.folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        self.paths = [self.folder / "tools/trace", self.folder / "src"]
        for name in ("src/one.py", "src/two.py", "data/a b.csv", "data/c\nd.csv", ".venv/x.py", "book/_build/x.html"):
            self.write(name)

    def write(self, name, text="x = 1\n"):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, code):
        """Return what a script printed; `self.lines` is then what was traced, but for the tracer itself."""
        self.trace.unlink(missing_ok=True)
        script = self.folder.parent / "script.py"
        script.write_text(code)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, self.paths)), "BOOK_TRACE": str(self.trace)}
        command = [sys.executable, script]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        lines = [json.loads(line) for line in self.trace.read_text().splitlines()]
        assert lines[0][1] == "tools/trace/sitecustomize.py"
        self.lines = [line for line in lines if "sitecustomize" not in line[1]]
        return done.stdout.strip()

    def named(self, code, kind="content"):
        """Run a script and return the names of what it read."""
        self.run(code)
        return sorted(name for of, name, _ in self.lines if of == kind)


@pytest.fixture
def traced(tmp_path):
    return Traced(tmp_path)


def test_a_file_is_named_once_with_the_digest_of_its_bytes(traced):
    traced.run("for _ in range(3): open('data/a b.csv').close()")
    read = [line for line in traced.lines if line[0] == "content"]
    assert read == [["content", "data/a b.csv", hashlib.sha256(b"x = 1\n").hexdigest()]]


@pytest.mark.parametrize(
    "code",
    [
        "open('data/c\\nd.csv')",
        "open(b'data/c\\nd.csv', 'rb')",
        "import pathlib; pathlib.Path('data/../data/c\\nd.csv').read_text()",
        "import os; os.chdir('data'); os.close(os.open('c\\nd.csv', os.O_RDONLY))",
        "import os; os.symlink('data', 'link'); open('link/../link/c\\nd.csv'); os.remove('link')",
        "import os; os.symlink(os.path.abspath('data'), '../out'); open('../out/c\\nd.csv'); os.remove('../out')",
        "open('data/c\\nd.csv', 'r+')",
        "open('data/c\\nd.csv', 'a+')",
    ],
)
def test_every_way_to_read_a_file_is_seen(traced, code):
    found = traced.named(f"import warnings; warnings.simplefilter('ignore')\n{code}")
    assert found in (["data/c\nd.csv"], ["link/c\nd.csv"])


@pytest.mark.parametrize(
    "code",
    [
        "open('data/new', 'w').close(); open('data/a b.csv', 'a').close()",
        "import os; os.close(os.open('data/new', os.O_RDWR | os.O_CREAT | os.O_EXCL))",
        "open('.venv/x.py').close(); open('book/_build/x.html').close()",
        "open('/etc/hosts').close(); open('../script.py').close()",
        "import tempfile; tempfile.NamedTemporaryFile('w+').close()",
    ],
)
def test_what_is_written_or_made_or_no_part_of_the_project_is_not_read(traced, code):
    assert traced.named(code) == []


def test_a_question_whether_a_file_exists_and_its_answer_are_kept(traced):
    traced.run(
        "import os, pathlib, glob\n"
        "os.path.exists('data/new.csv'), pathlib.Path('data').is_dir(), glob.glob('data/other.csv')\n"
        "try: open('data/none.csv')\n"
        "except OSError: pass"
    )
    answers = {(kind, name): digest for kind, name, digest in traced.lines}
    assert answers["exists", "data/new.csv"] is answers["exists", "data/other.csv"] is None
    assert answers["content", "data/none.csv"] is None
    assert answers["exists", "data"] == "yes"


def test_a_listing_is_the_names_in_a_folder_without_what_tools_leave_there(traced):
    code = "import os, pathlib; os.listdir('data'); list(pathlib.Path('src').glob('*.py')); list(os.scandir('.'))"
    assert traced.named(code, "names") == [".", "data", "src"]
    before = {name: digest for kind, name, digest in traced.lines if kind == "names"}
    traced.write("data/.hidden")
    traced.write("data/__pycache__/a.pyc")
    traced.write("src/three.py")
    traced.run(code)
    after = {name: digest for kind, name, digest in traced.lines if kind == "names"}
    assert {name for name in before if before[name] != after[name]} == {"src"}


def test_an_import_names_the_module_and_lists_no_folder(traced):
    code = "import one, importlib.metadata as m; list(m.distributions())"
    assert traced.named(code) == ["src/one.py"]
    assert [line for line in traced.lines if line[0] == "names"] == []
    assert traced.named("import pkgutil; list(pkgutil.iter_modules(['src']))", "names") == ["src"]


def test_bytecode_counts_as_its_source(traced):
    code = "import importlib.util as u; open(u.cache_from_source('src/one.py'), 'rb').close()"
    subprocess.run([sys.executable, "-m", "compileall", "-q", "src"], cwd=traced.folder, check=True)
    assert traced.named(code) == ["src/one.py"]


def test_bytecode_older_than_an_edit_with_an_old_date_and_the_same_size_is_not_run(traced):
    subprocess.run([sys.executable, "-m", "compileall", "-q", "src"], cwd=traced.folder, check=True)
    source = traced.folder / "src/one.py"
    date = source.stat().st_mtime_ns
    source.write_text("x = 2\n")
    os.utime(source, ns=(date, date))
    assert traced.run("import one; print(one.x)") == "2"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_process_that_a_chapter_starts_is_traced_though_it_is_killed(traced, method):
    traced.write("src/work.py", "import os\ndef read(): open('data/a b.csv').close(); os.kill(os.getpid(), 9)\n")
    code = f"""
import multiprocessing
if __name__ == "__main__":
    import work
    child = multiprocessing.get_context({method!r}).Process(target=work.read)
    child.start()
    child.join()
    print(child.exitcode)
"""
    assert traced.run(code) == "-9"
    assert sorted({name for kind, name, _ in traced.lines if kind == "content"}) == ["data/a b.csv", "src/work.py"]


def test_the_digest_is_of_the_moment_of_reading(traced):
    traced.run("open('data/a b.csv').close(); open('data/a b.csv', 'w').write('later')")
    assert (
        next(digest for kind, _, digest in traced.lines if kind == "content") == hashlib.sha256(b"x = 1\n").hexdigest()
    )


def test_a_sitecustomize_of_the_machine_still_runs(traced, tmp_path):
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine/sitecustomize.py").write_text("print('hello')")
    traced.paths.append(tmp_path / "machine")
    assert traced.run("import sys; print(sum('trace' in p for p in sys.path))") == "hello\n0"


def test_files_are_asked_for_and_removed_as_without_the_tracer(traced):
    found = traced.run(
        "import os, shutil; print(os.stat in os.supports_dir_fd, os.stat in os.supports_follow_symlinks)\n"
        "os.stat('data', follow_symlinks=False); shutil.rmtree('data'); print(os.path.exists('data'))"
    )
    assert found == "True True\nFalse"


HOSTILE = {
    ".config/matplotlib/matplotlibrc": "text.usetex: True\n",
    ".ipython/profile_default/ipython_config.py": "c.InteractiveShell.ast_node_interactivity = 'all'\n",
    ".ipython/profile_default/startup/a.py": "print('a startup file')\n",
    "kernels/kernels/python3/kernel.json": json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}),
    "startup.py": "print('startup')\n",
}


def test_the_readers_own_settings_reach_no_chapter(tmp_path):
    traced, home = Traced(tmp_path), tmp_path / "home"
    for name in ("Makefile", "dodo.py"):
        shutil.copy(ROOT / name, traced.folder)
    for name, text in HOSTILE.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    cells = [
        "import os, sys, matplotlib as m, one\n1\n2",
        "print(m.rcParams['text.usetex'], m.rcParams['backend'], m.get_configdir())",
        "print(sys.executable, os.environ['OMP_NUM_THREADS'], os.environ['SOURCE_DATE_EPOCH'])",
    ]
    code = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c} for c in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
    traced.write("book/a chapter.ipynb", json.dumps(notebook))
    traced.write("book/_toc.yml", "root: a chapter\n")
    traced.write("pyproject.toml", "[tool]\n")
    hostile = {"HOME": home, "JUPYTER_PATH": home / "kernels", "PYTHONSTARTUP": home / "startup.py",
               "MATPLOTLIBRC": home / ".config/matplotlib/matplotlibrc", "IPYTHONDIR": home / ".ipython",
               "MPLBACKEND": "svg", "PYTHONOPTIMIZE": "2", "PYTHONHOME": "/nowhere",
               "PYTEST_ADDOPTS": "--no-such-option"}  # fmt: skip
    left_to_us = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(
        ["make", "-C", traced.folder, "chapters", f"PY={sys.executable}"],
        env=left_to_us | {key: str(value) for key, value in hostile.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    executed = json.loads((traced.folder / "book/_build/executed/a chapter.ipynb").read_text())
    assert [output["data"]["text/plain"] for output in executed["cells"][0]["outputs"]] == [["2"]]
    settings = os.path.realpath(traced.folder / ".cache/settings")
    said = ["".join(output["text"]) for cell in executed["cells"][1:] for output in cell["outputs"]]
    inline = f"False module://matplotlib_inline.backend_inline {settings}/matplotlib\n"
    assert said == [inline, f"{sys.executable} 1 0\n"]
    record = json.loads((traced.folder / "book/_build/records/a chapter.json").read_text())
    assert {"content src/one.py", "content book/a chapter.ipynb"} <= set(record["inputs"])
    assert not any(name.startswith("content pyproject") for name in record["inputs"])
