"""Families of distributions in torch and in SciPy, and their KL by SciPy alone."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats
from torch import distributions as D  # noqa: N812


class Family(NamedTuple):
    """How torch and SciPy make a distribution of parameters, and the range from which each parameter is drawn."""

    torch: Callable
    scipy: Callable
    ranges: tuple[tuple[float, float], ...]

    def draw(self, rng):
        """Parameters that a float32 holds as they are."""
        return [float(np.float32(rng.uniform(*r))) for r in self.ranges]


class _ContinuousBernoulli(stats.rv_continuous):
    def _argcheck(self, eta):
        return np.isfinite(eta)

    def _logpdf(self, x, eta):
        return eta * x - np.log(np.expm1(eta) / eta)

    def _pdf(self, x, eta):
        return np.exp(self._logpdf(x, eta))


class _Laplace(stats.rv_continuous):  # SciPy's takes the logarithm of a density that underflows
    def _logpdf(self, x):
        return -np.abs(x) - math.log(2)

    def _pdf(self, x):
        return np.exp(self._logpdf(x))


class _VonMises(stats.rv_continuous):  # SciPy's is repeated along the line
    def _logpdf(self, x, kappa):
        return kappa * np.cos(x) - np.log(2 * np.pi * special.i0(kappa))

    def _pdf(self, x, kappa):
        return np.exp(self._logpdf(x, kappa))


class _Kumaraswamy(stats.rv_continuous):
    def _logpdf(self, x, a, b):
        return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log(-np.expm1(a * np.log(x)))

    def _pdf(self, x, a, b):
        return np.exp(self._logpdf(x, a, b))


class _RelaxedBernoulli(stats.rv_continuous):
    def _argcheck(self, temperature, logit):
        return temperature > 0

    def _logpdf(self, x, temperature, logit):
        y = temperature * special.logit(x) - logit
        return np.log(temperature) - y - 2 * np.log1p(np.exp(-y)) - np.log(x) - np.log1p(-x)

    def _pdf(self, x, temperature, logit):
        return np.exp(self._logpdf(x, temperature, logit))


continuous_bernoulli = _ContinuousBernoulli(a=0, b=1)
kumaraswamy = _Kumaraswamy(a=0, b=1)
laplace = _Laplace()
von_mises = _VonMises(a=-math.pi, b=math.pi)
relaxed_bernoulli = _RelaxedBernoulli(a=0, b=1)


def logistic(m, s):
    base = D.Uniform(torch.zeros_like(m), torch.ones_like(m))
    return D.TransformedDistribution(base, [D.SigmoidTransform().inv, D.AffineTransform(m, s)])


def mixture(a, b, s):
    parts = D.Normal(torch.stack([a, b], -1), torch.stack([s, 2 * s], -1))
    return D.MixtureSameFamily(D.Categorical(torch.tensor([0.3, 0.7], dtype=a.dtype)), parts)


class ScipyMixture:
    """Of the same two normals."""

    def __init__(self, a, b, s):
        self.parts = (0.3, stats.norm(a, s)), (0.7, stats.norm(b, 2 * s))

    def logpdf(self, x):
        return np.logaddexp(*(math.log(w) + part.logpdf(x) for w, part in self.parts))

    def median(self):
        return self.parts[1][1].mean()  # nothing happens there

    def support(self):
        return -math.inf, math.inf


REAL, SCALE, SHAPE = (-1.0, 1.0), (0.4, 2.0), (0.7, 4.0)
FAMILIES = {
    "Normal": Family(D.Normal, stats.norm, (REAL, SCALE)),
    "Laplace": Family(D.Laplace, laplace, (REAL, SCALE)),
    "Gumbel": Family(D.Gumbel, stats.gumbel_r, (REAL, SCALE)),
    "Cauchy": Family(D.Cauchy, stats.cauchy, (REAL, SCALE)),
    "StudentT": Family(D.StudentT, stats.t, ((2.5, 9.0), REAL, SCALE)),
    "Logistic": Family(logistic, stats.logistic, (REAL, SCALE)),
    "Mixture": Family(mixture, ScipyMixture, ((-3.0, -1.0), (0.0, 2.0), (0.2, 1.0))),
    "VonMises": Family(D.VonMises, lambda m, k: von_mises(k), ((0.0, 0.0), (0.3, 5.0))),
    "Exponential": Family(D.Exponential, lambda r: stats.expon(scale=1 / r), (SCALE,)),
    "Gamma": Family(D.Gamma, lambda a, b: stats.gamma(a, scale=1 / b), (SHAPE, SCALE)),
    "Chi2": Family(D.Chi2, stats.chi2, ((1.0, 8.0),)),
    "InverseGamma": Family(D.InverseGamma, lambda a, b: stats.invgamma(a, scale=b), ((2.0, 6.0), SCALE)),
    "Weibull": Family(D.Weibull, lambda s, k: stats.weibull_min(k, scale=s), (SCALE, SHAPE)),
    "HalfNormal": Family(D.HalfNormal, lambda s: stats.halfnorm(scale=s), (SCALE,)),
    "HalfCauchy": Family(D.HalfCauchy, lambda s: stats.halfcauchy(scale=s), (SCALE,)),
    "LogNormal": Family(D.LogNormal, lambda m, s: stats.lognorm(s, scale=np.exp(m)), (REAL, (0.3, 1.0))),
    "FisherSnedecor": Family(D.FisherSnedecor, stats.f, ((3.0, 9.0), (5.0, 9.0))),
    "Pareto": Family(D.Pareto, lambda s, a: stats.pareto(a, scale=s), (SCALE, (2.5, 6.0))),
    "Beta": Family(D.Beta, stats.beta, (SHAPE, SHAPE)),
    "Kumaraswamy": Family(D.Kumaraswamy, kumaraswamy, (SHAPE, SHAPE)),
    "Uniform": Family(D.Uniform, lambda a, b: stats.uniform(a, b - a), ((0.0, 0.3), (0.5, 1.0))),
    "Unit": Family(D.Uniform, lambda a, b: stats.uniform(a, b - a), ((0.0, 0.0), (1.0, 1.0))),
    "ContinuousBernoulli": Family(lambda eta: D.ContinuousBernoulli(logits=eta), continuous_bernoulli, ((0.2, 3.0),)),
    "RelaxedBernoulli": Family(lambda t, eta: D.RelaxedBernoulli(t, logits=eta), relaxed_bernoulli, ((0.8, 2.0), REAL)),
}
if hasattr(D, "GeneralizedPareto"):
    FAMILIES["GeneralizedPareto"] = Family(
        D.GeneralizedPareto, lambda m, s, c: stats.genpareto(c, m, s), ((0.0, 0.0), SCALE, (-0.3, 0.3))
    )
#: For each q, some p that cover it and whose KL is finite.
FINITE = {
    "Normal": "Normal Laplace Gumbel Cauchy StudentT Logistic Mixture",
    "Laplace": "Laplace Normal StudentT Logistic Cauchy",
    "Gumbel": "Gumbel Normal Laplace Logistic StudentT",
    "Cauchy": "Cauchy StudentT",
    "StudentT": "StudentT Normal Laplace Cauchy",
    "Logistic": "Logistic Normal Mixture",
    "Mixture": "Mixture Normal StudentT",
    "VonMises": "VonMises Normal Gumbel",
    "Exponential": "Exponential Gamma Gumbel Normal Weibull LogNormal",
    "Gamma": "Gamma Exponential Gumbel Normal LogNormal HalfNormal",
    "Chi2": "Chi2 Gamma HalfCauchy FisherSnedecor",
    "InverseGamma": "InverseGamma LogNormal Exponential",
    "Weibull": "Weibull Gamma HalfNormal",
    "HalfNormal": "HalfNormal Exponential Weibull",
    "HalfCauchy": "HalfCauchy FisherSnedecor",
    "LogNormal": "LogNormal Gamma InverseGamma Normal",
    "FisherSnedecor": "FisherSnedecor Exponential LogNormal",
    "Pareto": "Pareto Exponential Gamma Normal",
    "Beta": "Beta Unit ContinuousBernoulli Gamma Exponential Normal Kumaraswamy RelaxedBernoulli",
    "Kumaraswamy": "Kumaraswamy Beta Unit",
    "Uniform": "Unit Normal Gumbel Exponential Gamma Beta ContinuousBernoulli VonMises",
    "Unit": "Unit ContinuousBernoulli Beta RelaxedBernoulli",
    "ContinuousBernoulli": "ContinuousBernoulli Unit Normal Exponential Beta",
    "RelaxedBernoulli": "RelaxedBernoulli Unit Beta Kumaraswamy",
    "GeneralizedPareto": "GeneralizedPareto Exponential HalfCauchy",
}
PAIRS = [(q, p) for q in FAMILIES for p in FINITE[q].split() if p in FAMILIES]


def kl_by_scipy(q, p):
    """∫ q log q/p dx by a Gauss-Legendre rule on 3,000 panels of t, where x = sinh t, e^t or 1/(1 + e^-t)."""
    low, high = q.support()
    middles = np.array([q.median(), p.median()])  # where a Laplace has a kink
    with np.errstate(all="ignore"):
        if math.isinf(low):
            reach, x_of, slope, kinks = 60, np.sinh, np.cosh, np.arcsinh(middles)
        elif math.isinf(high):
            reach, x_of, slope, kinks = 80, lambda t: low + np.exp(t), np.exp, np.log(middles - low)
        else:
            width = high - low
            reach, x_of = 40, lambda t: low + width * special.expit(t)
            slope, kinks = (
                lambda t: width * special.expit(t) * special.expit(-t),
                special.logit((middles - low) / width),
            )
        edges = np.sort(np.concatenate([np.linspace(-reach, reach, 3001), kinks[np.isfinite(kinks)]]))
        nodes, weights = np.polynomial.legendre.leggauss(8)
        half = np.diff(edges)[:, None] / 2
        t = edges[:-1, None] + half * (1 + nodes)
        x = x_of(t)
        log_q = q.logpdf(x)
        each = np.exp(log_q) * slope(t) * (log_q - p.logpdf(x)) * half * weights
    return float(np.where(np.isfinite(each), each, 0).sum())
