"""One step of training: a function of tensors, which `torch.compile` can take whole."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from condkl_studies import products
from condkl_studies.batches import Places
from condkl_studies.models import Trainable
from condkl_studies.schedules import TrainingConfig

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's, as Kingma & Ba (2015) propose them

#: Takes a batch's bits, their places or None, what else is drawn, the scheduled weights, Adam's two factors and the row
#: of the record, which it fills.
Step = Callable[[Tensor, Places | None, Sequence[Tensor], Tensor, Tensor, Tensor], None]


def step_of(model: nn.Module, first: list[Tensor], second: list[Tensor], rule: Trainable) -> Step:
    """One step: the gradient of the loss, and Adam in place on the weights and their two moments.

    Frozen parameters, which require no gradient, keep their values; a ValueError says that all are.
    """
    each = zip(model.parameters(), first, second, rule.multiples(model), strict=True)
    if not (trained := [one for one in each if one[0].requires_grad]):
        raise ValueError("model: expected a parameter that requires a gradient, got none. Unfreeze what is to learn.")
    parameters, first, second, multiples = (list(column) for column in zip(*trained, strict=True))

    def step(
        bits: Tensor, places: Places | None, drawn: Sequence[Tensor], weights: Tensor, rates: Tensor, row: Tensor
    ) -> None:
        x = bits.to(rates.dtype) if places is None else products.as_floats(bits, *places)
        loss, means = rule.loss(model, x, drawn, weights)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            row.copy_(means)
            own = [fixed if which is None else fixed * weights[which] for fixed, which in multiples]
            adam(zip(parameters, gradients, first, second, own, strict=True), rates)

    return step


def adam(updates: Iterable[tuple[Tensor, Tensor, Tensor, Tensor, float | Tensor]], rates: Tensor) -> None:
    """Adam in place: each weight with its gradient, its two moments and its multiple of the learning rate.

    `rates` are the two factors of this step, as `adam_rates` gives them.
    """
    for p, g, m, v, multiple in updates:
        m.lerp_(g, 1 - BETA1)
        v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        p.sub_(multiple * rates[0] * m / (v.sqrt() * rates[1] + EPS))


def adam_rates(plan: TrainingConfig, steps: range, like: Tensor) -> Tensor:
    """Adam's step size with the correction of the first moment, and the correction of the second one's root.

    Shape (len(steps), 2), of the dtype and on the device of `like`.
    """
    pairs = [(plan.rate(n / plan.steps) / (1 - BETA1 ** (n + 1)), 1 / math.sqrt(1 - BETA2 ** (n + 1))) for n in steps]
    return torch.tensor(pairs, dtype=like.dtype, device=like.device)


def compiled(step: Step, device: torch.device, onednn: bool) -> Step:
    """The step as one function of generated code; `onednn` is as for `graphs.FasterCalls`.

    It has to be called with places always or never.
    """
    # Checking at each call what the step was compiled for costs 6 % of it. Nothing of that changes between the calls;
    # but what is compiled later in this process must not meet it, hence the reset.
    torch.compiler.reset()
    torch._dynamo.config.trace_autograd_ops = True
    unchecked = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    options = products.compiler_options(device, onednn) | unchecked
    faster = torch.compile(step, fullgraph=True, options=options)

    traced = False

    def marked(bits: Tensor, places: Places | None, *rest: Any) -> None:
        nonlocal traced
        if not traced and places is not None:  # how many ones a batch has changes
            torch._dynamo.mark_dynamic(places.by_image, 0)
            torch._dynamo.mark_dynamic(places.by_pixel, 0)
        traced = True
        faster(bits, places, *rest)

    return marked


def turn(model: nn.Module, matrices: Iterable[nn.Parameter], moments: list[list[Tensor]]) -> None:
    """Lay out these matrices, which meet x, and their moments by pixels in memory, as sums of rows read them."""
    turned = {id(matrix) for matrix in matrices}
    for i, parameter in enumerate(model.parameters()):
        if id(parameter) in turned:
            parameter.data = parameter.data.t().contiguous().t()
            for moment in moments:
                moment[i] = moment[i].t().contiguous().t()
