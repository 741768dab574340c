"""From each line of the ledger to its proof, its code and its tests.

The names are those of the checks. A check without a line here, and a target that does not exist, stop the build.
"""

import ast
from pathlib import Path
from typing import NamedTuple

import condkl

TESTS = Path(condkl.__file__).parents[2] / "tests"


class Links(NamedTuple):
    """Where a line of the ledger leads.

    Attributes:
        proof: the label of its statement, or a section as "page#section".
        code: the functions and classes of the library that implement it; none if its chapter does.
    """

    proof: str
    code: tuple[str, ...] = ()


LINKS = {
    "1": Links("eq-1", ("hierarchical.HierarchicalGaussian",)),
    "2": Links("eq-2", ("divergence.kl_chain",)),
    "3": Links("eq-3", ("divergence.kl_chain",)),
    "4": Links("eq-4", ("divergence.conditional_kl_at", "divergence.kl_chain")),
    "5": Links("eq-5", ("gradients.full_gradient",)),
    "6": Links("eq-6", ("gradients.full_gradient",)),
    "7": Links("eq-7", ("gradients.full_gradient", "objective.Interpolated")),
    "8": Links("eq-8", ("gradients.score_function", "gradients.pathwise")),
    "9": Links(
        "eq-9", ("gradients.modified_gradient", "objective.Interpolated")
    ),
    "9, Jacobian": Links(
        "04_modified_field#not-a-gradient", ("dynamics.jacobian",)
    ),
    "9, rate of the KL": Links(
        "04_modified_field#how-the-kl-changes",
        ("gradients.interpolated_gradient",),
    ),
    "9, Lyapunov function": Links("prop-lyapunov", ("dynamics.flow",)),
    "9, shared optimum": Links("prop-shared", ("dynamics.fixed_point",)),
    "9, local rate": Links("prop-local", ("dynamics.jacobian",)),
    "9, starvation law": Links(
        "prop-starvation", ("linear.starvation_law", "linear.starvation_time")
    ),
    "9, starvation law, small levels": Links(
        "prop-starvation", ("linear.starvation_law",)
    ),
    "9, price": Links("prop-price", ("linear.misspecification_price",)),
    "9, price of λ": Links("prop-price", ("dynamics.fixed_point",)),
    "9, tilted minimiser": Links("prop-tilt"),
    "9, mending φ": Links(
        "prop-precondition", ("dynamics.natural_gradient", "explorers.flow.fisher_step")
    ),
    "9, φ k times as fast": Links(
        "prop-precondition", ("linear.starvation_law",)
    ),
    "9, switch of λ": Links(
        "prop-precondition",
        ("linear.starvation_law", "explorers.flow.after_misfit_one"),
    ),
    "tilted posterior": Links("prop-tilted", ("linear.tilted_posterior",)),
    "gap of the ELBO": Links("prop-gap", ("linear.elbo_gap",)),
    "tempered posterior": Links(
        "prop-tempered", ("linear.tempered_posterior", "linear.rho")
    ),
    "gap of the tempered posterior": Links(
        "prop-tempered", ("linear.elbo_gap",)
    ),
    "beta-VAE of weight 1/ρ": Links("prop-tempered", ("linear.rho",)),
    "collapse threshold": Links("prop-threshold", ("linear.fixed_point_F2",)),
    "price of collapse": Links(
        "prop-threshold", ("linear.elbo_gap", "linear.fixed_point_F2")
    ),
    "the fold": Links("prop-fold"),
    "dead units are saddles": Links("prop-saddle"),
    "with a direct path": Links("prop-skip"),
    "chain rule, L layers": Links("prop-chain-rule-layers", ("vae.Terms",)),
    "λ once per conditional KL": Links(
        "prop-once", ("objective.scale_gradient", "objective.Interpolated")
    ),
    "tilted posterior, L layers": Links("prop-tilted-chain"),
    "chain noise": Links("prop-chain-noise", ("linear.chain_noise",)),
    "bias along a chain": Links("prop-chain-bias", ("linear.chain_noise",)),
    "bar by layer": Links("prop-chain-collapse", ("linear.chain_noise",)),
    "price by layer": Links("prop-chain-price", ("linear.chain_noise",)),
    "training step": Links(
        "09_the_experiment#the-training-step-in-plain-pytorch",
        ("objective.Interpolated", "vae.HierarchicalVAE"),
    ),
}


def tests_of(code: tuple[str, ...]) -> dict[str, str]:
    """Return the test files of those functions' modules that name one of them, each with the first test that does."""
    found: dict[str, str] = {}
    for name in code:
        module, _, function = name.rpartition(".")
        for path in sorted(TESTS.glob(f"test_{module.split('.')[0]}*.py")):
            if path.stem not in found and (first := first_test(path, function)):
                found[path.stem] = first
    return found


def first_test(path: Path, function: str) -> str | None:
    """Return the first test in the file that names the function itself, or through a helper beside it."""
    top = ast.parse(path.read_text("utf-8")).body
    defined = [node for node in top if isinstance(node, ast.FunctionDef)]
    naming = {function}
    for node in (*defined, *defined):  # a helper may stand below its test
        used = {
            getattr(part, "id", getattr(part, "attr", None))
            for part in ast.walk(node)
        }
        if naming & used:
            naming.add(node.name)
    tests = (n.name for n in defined if n.name.startswith("test_"))
    return next((name for name in tests if name in naming), None)
