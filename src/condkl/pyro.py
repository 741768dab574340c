"""The switch for models written in Pyro: its mean-field ELBO with a λ for each site's KL. Needs the extra `pyro`."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from condkl._checks import unit_interval
from condkl.switch import scale_gradient

try:
    from pyro import poutine
    from pyro.distributions.util import scale_and_mask
    from pyro.infer import TraceMeanField_ELBO
    from pyro.infer.util import check_fully_reparametrized
    from pyro.poutine.enum_messenger import EnumMessenger
    from pyro.poutine.messenger import Messenger
except ImportError as error:
    raise ImportError("condkl.pyro: expected Pyro, got none. Install it with `pip install condkl[pyro]`.") from error


class TraceConditionalKL_ELBO(TraceMeanField_ELBO):  # type: ignore[misc]  # noqa: N801 - as Pyro spells its own
    """Pyro's `TraceMeanField_ELBO` with λ times the gradient of each site's KL through the site's parents.

    The loss keeps its value. With λ = 1 everywhere it is Pyro's own to the last bit; λ = 0 is eq. (9) at that site. As
    in `condkl.conditional_kl` both conditionals of a KL see scaled draws of all sites above, and what is below sees
    plain ones. A KL that has no closed form is a log ratio at a draw that is made again from the scaled parents with
    the same noise.

    Sites that cannot be reparametrised are summed over, if the guide marks them by `infer={"enumerate": "parallel"}`,
    and λ weighs the gradient through their probabilities. Pyro's class does not do that; here it wants
    `max_plate_nesting`.

    For each λ below 1 model and guide run once more, with the same randomness: what they do besides, as batch norms do,
    happens twice. Where no gradient is asked for, they do not.

    Args:
        weight: λ in [0, 1] for all latent sites, or for some by name, 1 being that of the others.
        settings: as `TraceMeanField_ELBO` takes them.

    A ValueError says that λ is no number in [0, 1], or belongs to a site that is not latent; a NotImplementedError that
    the guide is a `GuideMessenger`, which cannot be run again.

    Source:
        Kosiorek (2017), eq. (9); Bingham et al. (2019) for Pyro.

    Example:
        >>> import pyro
        >>> from pyro.distributions import Normal
        >>> def model():
        ...     v = pyro.sample("v", Normal(0.0, 1.0))
        ...     pyro.sample("u", Normal(v, 1.0))
        >>> def guide():
        ...     v = pyro.sample("v", Normal(pyro.param("m", torch.tensor(2.0)), 1.0))
        ...     pyro.sample("u", Normal(0.0 * v, 1.0))
        >>> for lam in (1.0, 0.0):  # the KL of u is v²/2, that of v is m²/2
        ...     pyro.clear_param_store()
        ...     pyro.set_rng_seed(0)
        ...     TraceConditionalKL_ELBO(weight={"u": lam}).differentiable_loss(model, guide).backward()
        ...     print(pyro.param("m").grad.item() == 2.0)  # of m²/2 alone
        False
        True
    """

    def __init__(self, weight: float | Mapping[str, float] = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        if isinstance(weight, Mapping):
            self.weight: float | dict[str, float] = {
                name: unit_interval(f"weight[{name!r}]", lam) for name, lam in weight.items()
            }
        else:
            self.weight = unit_interval("weight", weight)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The traces, in which latent sites with λ below 1 have conditionals that see scaled draws."""
        again, summing = _rewound(), guide
        if math.isfinite(self.max_plate_nesting):
            summing = _Enumerated(-1 - self.max_plate_nesting)(guide)
        model_trace, guide_trace = super()._get_trace(model, summing, args, kwargs)
        latent, plain = [name for name, s in guide_trace.nodes.items() if s["type"] == "sample"], guide_trace.copy()
        for lam, names in self._scaled_sites(latent).items() if torch.is_grad_enabled() else ():
            if isinstance(poutine.unwrap(guide), Messenger):
                raise NotImplementedError("guide: expected a function, got a GuideMessenger, which cannot run again.")
            with again():
                scaled = _Scaled(plain, lam)
                guide_again = poutine.trace(scaled(guide)).get_trace(*args, **kwargs)
                model_again = poutine.trace(poutine.replay(model, trace=guide_again)).get_trace(*args, **kwargs)
            for name in names:
                for trace, other in ((guide_trace, guide_again), (model_trace, model_again)):
                    if name in trace.nodes:  # the model has no auxiliary ones
                        trace.nodes[name] = {**other.nodes[name], "value": scaled.redrawn[name]}
        guide_trace.compute_score_parts()  # of the sites that are new
        model_trace.compute_log_prob()
        return model_trace, guide_trace

    def _scaled_sites(self, latent: list[str]) -> dict[float, list[str]]:
        """The latent sites by their λ, without those of λ = 1."""
        each = self.weight if isinstance(self.weight, dict) else dict.fromkeys(latent, self.weight)
        if unknown := sorted(each.keys() - set(latent)):
            raise ValueError(f"weight: expected names of latent sites, {', '.join(latent)}, got {', '.join(unknown)}.")
        return {lam: [n for n, own in each.items() if own == lam] for lam in set(each.values()) - {1.0}}

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[float, Tensor]:
        latent = {name: site for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
        sums = [site for name, site in latent.items() if _is_summed(name, site)]
        if not sums:
            loss: tuple[float, Tensor] = super()._differentiable_loss_particle(model_trace, guide_trace)
            return loss
        elbo = torch.zeros(())
        for p in model_trace.nodes.values():
            if p["type"] == "sample" and p["is_observed"]:
                elbo = elbo + (_probability(p["log_prob"], sums, 1.0) * p["log_prob"]).sum()
        for name, q in latent.items():
            kl = _kl(q, model_trace.nodes.get(name))
            lam = self.weight.get(name, 1.0) if isinstance(self.weight, dict) else self.weight
            elbo = elbo - (_probability(kl, sums, lam) * kl).sum()
        return -elbo.item(), -elbo


def _is_summed(name: str, site: Any) -> bool:
    """Whether all values of a guide's site are summed over; a NotImplementedError if they should be."""
    if "_enumerate_dim" in site["infer"]:
        return True
    try:
        check_fully_reparametrized(site)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"{name}: expected a site that can be reparametrised, got {type(site['fn']).__name__}. If it is finite, "
            'mark it by infer={"enumerate": "parallel"} in the guide, and pass max_plate_nesting.'
        ) from error
    return False


def _kl(q: Any, p: Any) -> Tensor:
    """The KL of a latent site, or its estimate at one draw; of an auxiliary one, which p has not, the entropy's."""
    if p is None:
        return torch.as_tensor(q["score_parts"].entropy_term)
    try:
        kl = scale_and_mask(kl_divergence(q["fn"], p["fn"]), scale=q["scale"], mask=q["mask"])
    except NotImplementedError:
        kl = q["score_parts"].entropy_term - p["log_prob"]
    return torch.as_tensor(kl)


def _probability(term: Tensor, sums: list[Any], lam: float) -> Tensor | float:
    """That of the values that the term depends on, of the sites that are summed over, with λ times its gradient."""
    product: Tensor | float = 1.0
    seen = term
    for site in reversed(sums):  # a site's own probability may depend on those above it
        dim = site["infer"]["_enumerate_dim"]
        if seen.dim() >= -dim and seen.shape[dim] > 1:
            mass = site["unscaled_log_prob"].exp()
            product, seen = product * mass, seen * mass
    return scale_gradient(product, lam) if isinstance(product, Tensor) else product


class _Enumerated(EnumMessenger):  # type: ignore[misc]
    """Gives the marked sites all their values, each in a dimension of its own, and takes the mark off."""

    def _pyro_sample(self, msg: Any) -> None:
        super()._pyro_sample(msg)
        if "_enumerate_dim" in msg["infer"]:  # Pyro's class would warn that it does not enumerate
            msg["infer"] = {name: value for name, value in msg["infer"].items() if name != "enumerate"}


class _Scaled(Messenger):  # type: ignore[misc]
    """Gives each latent site its value in a trace, scaled; what it would have been is kept in `redrawn`."""

    def __init__(self, trace: Any, lam: float) -> None:
        super().__init__()
        self.trace, self.lam = trace, lam
        self.redrawn: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.trace.nodes or msg["is_observed"]:
            return
        value, summed = self.trace.nodes[name]["value"], "_enumerate_dim" in self.trace.nodes[name]["infer"]
        if summed:  # nothing is drawn
            msg["infer"] = self.trace.nodes[name]["infer"]
        # A draw at each site, in the order of the first run, is what gives all of them the noise of that run.
        self.redrawn[name] = value if summed else msg["fn"](*msg["args"], **msg["kwargs"])
        msg["value"], msg["done"] = scale_gradient(value, self.lam), True


def _rewound() -> Callable[[], Any]:
    """A context in which torch's global randomness is what it is now; afterwards it is as before."""
    cuda = torch.cuda.is_available()
    state, states = torch.random.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []

    @contextmanager
    def again() -> Iterator[None]:
        with torch.random.fork_rng(range(len(states))):
            torch.random.set_rng_state(state)
            if cuda:
                torch.cuda.set_rng_state_all(states)
            yield

    return again
