"""From each line of the ledger to its proof, its code and its tests.

The names are those of the checks. A check without a line here, and a target that does not exist, stop the build.
"""

import ast
from functools import cache
from pathlib import Path

import condkl

TESTS = Path(condkl.__file__).parents[2] / "tests"

# The label of the statement, or a section as "page#section"; then what implements it: nothing if its chapter does. The
# equations of the source have their numbers as labels.
LINKS = {
    "1": "hierarchical.HierarchicalGaussian",
    "2": "divergence.kl_chain",
    "3": "divergence.kl_chain",
    "4": "divergence.conditional_kl_at divergence.kl_chain",
    "5": "gradients.full_gradient",
    "6": "gradients.full_gradient",
    "7": "gradients.full_gradient objectives.Interpolated",
    "8": "gradients.score_function gradients.pathwise",
    "9": "gradients.modified_gradient objectives.Interpolated",
    "9, Jacobian": "02_gradients#not-a-gradient dynamics.jacobian",
    "9, rate of the KL": "02_gradients#how-the-kl-changes gradients.interpolated_gradient",
    "9, bias against variance": "prop-noise noise.steady_excess noise.best_weight",
    "9, Lyapunov function": "prop-lyapunov dynamics.flow",
    "9, shared optimum": "prop-shared dynamics.fixed_point",
    "9, local rate": "prop-local dynamics.jacobian",
    "9, starvation law": "prop-starvation linear.starvation_law linear.starvation_time",
    "9, starvation law, small levels": "prop-starvation linear.starvation_law",
    "9, discrete starvation": "prop-discrete discrete.two_state_time",
    "9, discrete starvation, the law": "prop-discrete discrete.two_state_law discrete.starvation_exponent",
    "9, price": "prop-price linear.misspecification_price",
    "9, price of λ": "prop-price dynamics.fixed_point",
    "9, tilted minimiser": "prop-tilt",
    "9, mending φ": "prop-precondition dynamics.natural_gradient explorers.flow.fisher_step",
    "9, φ k times as fast": "prop-precondition linear.starvation_law",
    "9, switch of λ": "prop-precondition linear.starvation_law explorers.flow.after_misfit_one",
    "tilted posterior": "prop-tilted linear.tilted_posterior",
    "gap of the ELBO": "prop-gap linear.elbo_gap",
    "tempered posterior": "prop-tempered linear.tempered_posterior linear.rho",
    "gap of the tempered posterior": "prop-tempered linear.elbo_gap",
    "beta-VAE of weight 1/ρ": "prop-tempered linear.rho",
    "collapse threshold": "prop-threshold linear.fixed_point_F2",
    "price of collapse": "prop-threshold linear.elbo_gap linear.fixed_point_F2",
    "the fold": "prop-fold",
    "collapsed units are saddles": "prop-saddle",
    "learned decoder": "prop-learned learned.model_field learned.log_evidence learned.upper_kl",
    "learned decoder, time near λ = 1": "prop-learned learned.valley_time",
    "local dynamics of a VAE": "prop-dynamics",
    "two clusters": "prop-clusters clusters.loading clusters.worth",
    "with a direct path": "prop-skip",
    "chain rule, L layers": "prop-chain-rule-layers vae.Terms",
    "λ once per conditional KL": "prop-once switch.scale_gradient objectives.Interpolated",
    "tilted posterior, L layers": "prop-tilted-chain",
    "tilted posterior, skips and time": "prop-tilted-skips",
    "KL balancing": "prop-balancing",
    "chain noise": "prop-chain-noise linear.chain_noise",
    "bias along a chain": "prop-chain-bias linear.chain_noise",
    "bar by layer": "prop-chain-collapse linear.chain_noise",
    "learned chain": "prop-chain-learned",
    "price by layer": "prop-chain-price linear.chain_noise",
    "training step": "checks/06_protocol#the-training-step-in-plain-pytorch objectives.Interpolated vae.HierarchicalVAE",
}

# What both sides of a check may be given: problems, models and data. They compute nothing of what is checked.
GIVEN = {
    "data.binarise",
    "data.load",
    "gradients.Field",
    "gradients.KLProblem",
    "hierarchical.HierarchicalGaussian",
    "vae.HierarchicalVAE",
}


def links(line: str) -> tuple[str, list[str]]:
    """Return the label of what a line of the ledger is about, and the functions and classes that implement it.

    Raises:
        KeyError: if the line is not known here.
    """
    words = LINKS[line].split()
    return (f"eq-{line}", words) if line.isdigit() else (words[0], words[1:])


def tests_of(code: list[str]) -> dict[str, str]:
    """Return the test files of those functions' modules that name one of them, each with the first test that does."""
    found: dict[str, str] = {}
    for name in code:
        for path in sorted(TESTS.glob(f"*/test_{name.split('.')[0]}*.py")):
            if first := first_test(path, name.split(".")[-1]):
                found.setdefault(path.relative_to(TESTS).as_posix(), first)
    return found


@cache
def first_test(path: Path, function: str) -> str | None:
    """Return the first test in the file that names the function itself, or through a helper beside it."""
    defined = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    naming = {function}
    for node in (*defined, *defined):  # a helper may stand below its test
        if naming & {getattr(part, "id", getattr(part, "attr", None)) for part in ast.walk(node)}:
            naming.add(node.name)
    return next((node.name for node in defined if node.name.startswith("test_") and node.name in naming), None)
