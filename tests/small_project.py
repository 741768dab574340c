"""A small copy of the project for tests of the build: its Python is a stub that writes down its calls.

A chapter of it is a script. The stub runs it as the kernel would, with the real tracer; the site is a script too.
"""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHAPTERS = {
    "01_first": "import one\n",
    "02_second": "import two\nopen('data/digits.gz').close()\n",
    "10_studied": "import glob\nfor name in glob.glob('data/runs/*/metrics.csv'): open(name).close()\n",
}
# What Sphinx does: it shows a module, the tests, and a file that need not be there.
SHOW = """import glob, one
for name in glob.glob('tests/test_*.py'): open(name).close()
try: open('data/verified.json').close()
except FileNotFoundError: pass
"""
# Plays venv, pip, pytest --nbmake and jupyter-book. doit is the real one, and believes that the stub is its Python.
STUB = """#!/bin/sh
case "$*" in
  "-c import sys"*) exec "{real}" -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2" ;;
esac
echo "$0 $*" >> "$LOG"
case "$*" in *"$FAIL"*) [ -n "$FAIL" ] && {{ echo "it broke: $FAIL"; exit 1; }} ;; esac
for last; do :; done
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    printf 'version = %s\ncommand = %s -m venv %s\n' "{number}" "$0" "$PWD/$3" > "$3/pyvenv.cfg" ;;
  "-m doit "*) shift 2; exec "{real}" -c 'import sys; sys.executable = sys.argv.pop(1)
from doit.doit_cmd import DoitMain
sys.exit(DoitMain().run(sys.argv[1:]))' "$0" "$@" ;;
  *--nbmake*) BOOK_TRACE="$CHAPTER_TRACE" "{real}" "$last" && echo "1 passed" ;;
  *--path-output*) "{real}" show.py && mkdir -p "$last/_build/html" && echo page > "$last/_build/html/index.html" ;;
esac
"""
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")


class Project:
    """A small copy of the project, and the calls its last make did."""

    def __init__(self, folder):
        self.folder, self.bin = folder / "the project", folder / "bin"
        self.log = folder / "calls.log"
        shutil.copytree(ROOT / "tools", self.folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "dodo.py"):
            shutil.copy(ROOT / name, self.folder)
        for name, text in CHAPTERS.items():
            self.write(f"book/{name}.ipynb", text)
        self.name_chapters(*CHAPTERS)
        for name in (
            "book/index.md",
            "book/_ext/a.py",
            "book/images/a picture.png",
            "constraints.txt",
            "pyproject.toml",
        ):
            self.write(name, "")
        for name in ("src/one.py", "src/two.py", "data/digits.gz", "data/runs/s/metrics.csv", "tests/test_one.py"):
            self.write(name, "'a text'")
        self.write("show.py", SHOW)
        for name in PYTHONS:
            self.python(name)

    def python(self, name, version=None):
        """Put a Python on the PATH, of the running version or another; an empty one hides what the machine has."""
        version = sys.version_info[:3] if version is None else version
        stub = STUB.format(real=sys.executable, version=version, number=".".join(map(str, version)))
        self.bin.mkdir(parents=True, exist_ok=True)
        (self.bin / name).write_text("#!/bin/sh\nexit 127\n" if version == () else stub)
        (self.bin / name).chmod(stat.S_IRWXU)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def name_chapters(self, *names):
        files = "".join(f"  - file: {name}\n" for name in names)
        self.write("book/_toc.yml", f"format: jb-book\nroot: index\nchapters:\n{files}")

    def edit(self, name, text="'b text'"):
        """Write other contents of the same size with the same date: nothing but the contents tells."""
        path = self.folder / name
        before = path.stat() if path.exists() else None
        assert not before or path.read_text() != text
        self.write(name, text)
        if before:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def make(self, *arguments, fail="", **environment):
        """Run make and return its calls, but for those of doit."""
        self.log.write_text("")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PY"))}
        own = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "LOG": str(self.log), "FAIL": fail}
        self.result = subprocess.run(
            ["make", "-C", self.folder, "--no-print-directory", *arguments],
            env=clean | own | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (self.result.returncode == 0) == (not fail), self.result.stdout + self.result.stderr
        return [call for call in self.log.read_text().splitlines() if " -m doit " not in call]

    def build(self, target="book", **options):
        """Make a target with the active Python and return what was executed, `site` if that was built."""
        calls = self.make(target, "PY=python3", **options)
        names = [call.partition(".cache/running/")[2].removesuffix(".ipynb") for call in calls if "--nbmake" in call]
        return sorted(names) + ["site"] * sum("--path-output" in call for call in calls)
