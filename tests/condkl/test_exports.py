"""The names that `condkl` itself gives, and what others call by its module and its arguments."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import condkl

STUB = Path(condkl.__file__).with_name("__init__.pyi")
NAMES = {
    alias.asname: node.module
    for node in ast.parse(STUB.read_text("utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
MODULES = {name for name, module in NAMES.items() if module is None}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_stub_is_what_its_module_has(name):
    module = import_module(f"condkl.{NAMES[name] or name}")
    assert getattr(condkl, name) is (module if name in MODULES else getattr(module, name))


def test_the_list_of_names_is_that_of_the_stub_and_short():
    assert set(condkl.__all__) == set(dir(condkl)) == set(NAMES)
    assert len(NAMES.keys() - MODULES) == 23
    optional = {"pyro"}  # wants an extra, and is imported by its name alone
    assert {file.stem for file in STUB.parent.glob("[a-z]*.py")} | {"objectives"} == MODULES | optional


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="no_such_name"):
        condkl.no_such_name


SIGNATURES = {
    "divergence.conditional_kl_at": "(q_u, p_u, v)",
    "divergence.kl_chain": ("(q, p, method='auto', samples=10000, nodes=32, tolerance=1e-06, generator=None)"),
    "evaluation.active_units": "(q, samples=100, threshold=0.01, generator=None)",
    "evaluation.iwae_log_likelihood": "(q, p, log_px, samples, chunk=None, x=None, generator=None)",
    "gradients.KLProblem": "(q_v, q_u_given_v, p_v, p_u_given_v)",
    "gradients.full_gradient": "(problem, theta, phi)",
    "gradients.modified_gradient": "(problem, theta, phi)",
    "gradients.interpolated_gradient": "(problem, theta, phi, lam)",
    "gradients.score_function": "(problem, theta, phi, samples, generator, baseline=None)",
    "gradients.pathwise": "(problem, theta, phi, samples, generator)",
    "linear.tempered_posterior": "(x, F, beta, sigma2, lam)",
    "linear.fixed_point_F2": "(S, beta, sigma2, lam)",
    "linear.misspecification_price": "(r)",
    "linear.starvation_time": "(r, lam, level, beta=1.0)",
    "hierarchical.HierarchicalGaussian": "(F, beta, validate_args=None)",
    "hierarchical.HierarchicalGaussian.rsample": "(self, sample_shape=torch.Size([]))",
    "hierarchical.HierarchicalGaussian.log_prob": "(self, value)",
    "hierarchical.HierarchicalGaussian.log_prob_u": "(self, u)",
    "hierarchical.HierarchicalGaussian.moments": "(self)",
    "switch.conditional_kl": "(q, p, v, weight=1.0)",
    "switch.scale_gradient": "(z, weight)",
    "vae.HierarchicalVAE": "(latents=(50, 100), hidden=(200, 100), skip=False, pixels=784, residual=False)",
    "vae.HierarchicalVAE.theta": "(self)",
    "vae.HierarchicalVAE.phi": "(self)",
    "vae.HierarchicalVAE.omega": "(self)",
    "vae.HierarchicalVAE.start_at_mean": "(self, images)",
    "vae.HierarchicalVAE.noise": "(self, x, generator=None)",
    "vae.HierarchicalVAE.forward": "(self, x, generator=None, noise=None, path=None, kl=None)",
    "vae.HierarchicalVAE.posterior": "(self, x)",
    "vae.HierarchicalVAE.below": "(self, x, v, noise, path=None, freeze_model=False, kl=None)",
    "vae.HierarchicalVAE.generate": "(self, noise)",
    "vae.HierarchicalVAE.sample": "(self, n, generator=None)",
    "vae.HierarchicalVAE.decoder_input": "(self, z, freeze_model=False)",
    "vae.Terms": "(R, A, C)",
}


@pytest.mark.parametrize("path", SIGNATURES)
def test_what_others_call_has_the_arguments_that_it_had(path):
    thing = condkl
    for name in path.split("."):
        thing = getattr(thing, name)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(thing).parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[path]
