"""What imports what: packages depend one way, and what is not used is not loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"condkl", "condkl_studies", "condkl_book", "benchmarks", "book", "tests"}
MAY_SEE = {
    "src/condkl": {"condkl"},
    "src/condkl_studies": {"condkl", "condkl_studies"},
    "src/condkl_book": {"condkl", "condkl_studies", "condkl_book"},
    "benchmarks": {"condkl", "condkl_studies", "benchmarks"},
}
FILES = {folder: sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.pyi")]) for folder in MAY_SEE}


def imported(node, file):
    """The first names of what a statement imports; what is relative is of the file's own package."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level:
        assert node.level < len(file.relative_to(ROOT).parts), f"{file}: {ast.unparse(node)} leaves the package"
        return set()
    if isinstance(node, ast.ImportFrom):
        return {node.module.split(".")[0]}
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        return {ast.unparse(node.args[0]).strip("f'\"").split(".")[0]}
    return set()


@pytest.mark.parametrize(("folder", "file"), [(folder, file) for folder in FILES for file in FILES[folder]], ids=str)
def test_a_module_imports_only_what_lies_below_it(folder, file):
    found = set().union(*(imported(node, file) for node in ast.walk(ast.parse(file.read_text("utf-8")))))
    assert found & OURS <= MAY_SEE[folder]


def test_every_package_is_looked_at():
    assert {path.name for path in (ROOT / "src").iterdir() if (path / "__init__.py").exists()} == {
        "condkl", "condkl_studies", "condkl_book",
    }  # fmt: skip
    assert all(len(files) > 5 for files in FILES.values())


@pytest.fixture(scope="module")
def loaded():
    """The modules that a new process has loaded after each of these, one after the other: a start takes seconds."""
    stages = [
        "import condkl",
        "condkl.kl_chain, condkl.conditional_kl; import condkl.linear, condkl.gradients, condkl.discrete",
        'from condkl_studies.results import frame; frame("main")',
    ]
    code = "\n".join(f"{stage}\nprint(*sys.modules)" for stage in ["import sys", *stages])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    _, *after = [set(line.split()) for line in ran.stdout.splitlines()]
    return dict(zip(("library", "mathematics", "results"), after, strict=True))


def test_the_library_alone_loads_nothing_before_it_is_used(loaded):
    ours = {name for name in loaded["library"] if name.split(".")[0] in OURS | {"torch", "numpy", "scipy"}}
    assert ours == {"condkl"}


def test_the_mathematics_loads_no_model_and_no_study(loaded):
    assert "condkl.divergence" in loaded["mathematics"]
    others = {"condkl.vae", "condkl.objectives", "condkl.pyro", "pyro", "condkl_studies", "matplotlib"}
    assert not loaded["mathematics"] & others


def test_reading_results_loads_no_training_and_no_figures(loaded):
    assert {"condkl_studies.store", "condkl_studies.plans.main"} <= loaded["results"]
    heavy = {f"condkl_studies.{name}" for name in ("engine", "training", "synthetic", "data", "schedule", "replay")}
    assert not loaded["results"] & (heavy | {"matplotlib", "seaborn", "distributed", "condkl_book"})


def test_the_studies_have_one_source_of_seeded_randomness():
    folder = ROOT / "src" / "condkl_studies"
    nodes = {file.name: ast.walk(ast.parse(file.read_text("utf-8"))) for file in folder.rglob("*.py")}  # no examples
    makers = {name for name, found in nodes.items() for node in found if getattr(node, "attr", "") == "manual_seed"}
    assert makers == {"randomness.py"}
