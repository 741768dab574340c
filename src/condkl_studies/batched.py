"""Several models of one architecture trained in one program: their weights stacked, their products batched.

A model by itself is too small for a GPU, whose time then goes into calls. Here a step is that of all models at once,
each with its own objective and seed. What a model draws and records is what `training.windows` has for its seed, up to
rounding. What a step reads and writes, even its own number, stays at its place in memory. So on CUDA it is recorded
once, as a graph that costs the host one call, and the host waits once a window.
"""

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from condkl.objectives import Interpolated, Objective
from condkl.objectives.lambda_warm_up import LambdaSchedule
from condkl.vae import HierarchicalVAE
from condkl_studies import batches, steps
from condkl_studies.following import Following, columns, hierarchical
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State
from condkl_studies.steps import Step
from condkl_studies.training import add_row

MEMORY = 2 << 30  # bytes
_WEIGHTED = LambdaSchedule()  # follows whatever λ it is given as the weight


class Run(NamedTuple):
    """A model in training, what it follows, and the seed of its randomness."""

    state: State
    objective: Objective
    seed: int


def windows(
    runs: Sequence[Run], images: Tensor, plan: TrainingConfig, compiled: bool = False, memory: int = MEMORY
) -> Iterator[list[Run]]:
    """Train the runs' models in place, as many at once as fit; yield those that moved after each window.

    The models have one architecture, dtype and device (if it is CUDA, the current one), and stand at one step. Their
    weights become views of a stack; whoever holds a parameter still sees it change. Images, plan and `compiled` are as
    `training.windows` takes them.

    Args:
        memory: bytes that the models trained at once may take, as `footprint` counts them. Where not all fit, they are
            trained in groups, one after the other; where not even one does, one by one.

    A term of the ELBO that is not finite is a NonFiniteLossError with the place in `runs` of the first model that has
    one. A ValueError says that the models do not belong together, or that there are too few images.
    """
    _check(runs, images, plan)
    images = images.to(runs[0].state.first[0].device)
    groups = -(-len(runs) // max(1, memory // footprint(hierarchical(runs[0].state.model), plan)))
    cuts = [len(runs) * i // groups for i in range(groups + 1)]
    for first, end in itertools.pairwise(cuts):
        program = Program(runs[first:end], plan, compiled)
        while runs[first].state.step < plan.steps:
            program.advance(images, first)
            yield list(runs[first:end])
        del program  # before the next one takes its memory


def footprint(model: HierarchicalVAE, plan: TrainingConfig) -> int:
    """Bytes that one more model takes: what is drawn ahead for it, and its weights with their moments and gradients."""
    weights = list(model.parameters())
    size, images = weights[0].element_size(), _ahead(plan, weights[0]) * plan.batch_size
    return images * (model.pixels + size * sum(model.latents)) + 4 * size * sum(p.numel() for p in weights)


def _ahead(plan: TrainingConfig, like: Tensor) -> int:
    return min(batches.ahead(like.device), plan.every, plan.steps)


class Buffers:
    """What steps read and write for so many models like this one, at one place on the device of `like`."""

    def __init__(self, models: int, model: HierarchicalVAE, plan: TrainingConfig, like: Tensor) -> None:
        n, batch = _ahead(plan, like), (models, plan.batch_size)
        self.bits = like.new_zeros(n, *batch, model.pixels, dtype=torch.uint8)
        self.noise = [like.new_zeros(n, *batch, width) for width in model.latents]
        self.rates = like.new_zeros(n, 2)  # Adam's factors
        self.log = like.new_zeros(n, models, 2 + len(model.latents))  # the rows, which the steps write
        self.weight = like.new_zeros(models)  # the scheduled numbers, the same for all steps
        self.at = like.new_zeros(1, dtype=torch.int64)  # the step that comes next

    def fill(self, drawn: Sequence[tuple[Tensor, Sequence[Tensor]]], rates: Tensor) -> None:
        """Take over what was drawn for each model, and the rates of its steps; the first step comes next."""
        n = len(rates)
        for m, (bits, noise) in enumerate(drawn):
            self.bits[:n, m] = bits
            for of_all, own in zip(self.noise, noise, strict=True):
                of_all[:n, m] = own
        self.rates[:n] = rates
        self.at.zero_()

    def take(self, step: Step) -> None:
        """Take the step that comes next."""
        x, rates, *noise = (each.index_select(0, self.at)[0] for each in (self.bits, self.rates, *self.noise))
        row = torch.empty_like(self.log[:1])
        step(x, None, noise, self.weight, rates, row[0])
        self.log.index_copy_(0, self.at, row)
        self.at += 1


class Program:
    """Runs whose models are stacked: one step is a step of all of them."""

    def __init__(self, runs: Sequence[Run], plan: TrainingConfig, compiled: bool = False) -> None:
        self._plan = plan
        model, like = hierarchical(runs[0].state.model), runs[0].state.first[0]
        rules = _by_rule([run.objective for run in runs])
        self._places = [place for places in rules.values() for place in places]  # of the stacked models in `runs`
        self._runs = [runs[place] for place in self._places]
        stacks = [_Stack(rule, [runs[place].state for place in places]) for rule, places in rules.items()]
        step = _step_of(stacks, [fixed for fixed, _ in Following(runs[0].objective, plan.phi_rate).multiples(model)])
        if compiled:
            step = steps.compiled(step, like.device, onednn=False)
        self.buffers = Buffers(len(runs), model, plan, like)
        self._step = step  # kept, since a graph reads memory that belongs to it
        self._take: Callable[[], None] = partial(self.buffers.take, step)
        if like.is_cuda:
            changed = [(*stack.weights.values(), *stack.first, *stack.second) for stack in stacks]
            self._take = _recorded(self.buffers, step, list(itertools.chain(*changed)))

    def advance(self, images: Tensor, first: int = 0) -> None:
        """Take a window of steps, and give each state its row; an error counts the runs from `first` on.

        What chance decides is drawn where the images are, which may be another device.
        """
        plan, buffers, start = self._plan, self.buffers, self._runs[0].state.step
        todo, log = plan.window(start), []
        rates, last = steps.adam_rates(plan, todo, buffers.rates), deque[Tensor](maxlen=plan.kept)
        buffers.weight.copy_(rates.new_tensor([_weight(run.objective, start / plan.steps) for run in self._runs]))
        for drawn in zip(*(self._drawn(run, images, todo) for run in self._runs), strict=True):
            n = len(drawn[0][0])
            buffers.fill(drawn, rates[:n])
            rates = rates[n:]
            for _ in range(n):
                self._take()
            log.append(buffers.log[:n].clone())
            last.extend(buffers.bits[max(0, n - plan.kept) : n].clone())
        for run in self._runs:
            run.state.step = todo.stop
        rows = torch.cat(log).cpu().double()
        for m, place in sorted(enumerate(self._places), key=itemgetter(1)):
            run, bits = self._runs[m], [bits[m] for bits in last]
            add_row(run.state, Following(run.objective), plan, rows[:, m], bits, run.seed, first + place)

    def _drawn(self, run: Run, images: Tensor, todo: range) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        order, generator = batches.source(images, self._plan.batch_size, todo, run.seed)
        return batches.drawn_at_once(images, order, partial(Following(run.objective).draws, run.state.model), generator)


class _Stack:
    """Models that follow one rule: their weights and moments stacked, of which their own become views."""

    def __init__(self, rule: Objective, states: Sequence[State]) -> None:
        models = [_Row(rule, hierarchical(state.model)) for state in states]
        self.weights, _ = stack_module_state(list[nn.Module](models))
        self.first, self.second = (
            [torch.stack(of_all) for of_all in zip(*moments, strict=True)]
            for moments in ([state.first for state in states], [state.second for state in states])
        )
        for i, state in enumerate(states):
            for parameter, stacked in zip(state.model.parameters(), self.weights.values(), strict=True):
                parameter.data = stacked.detach()[i]
            state.first[:], state.second[:] = ([m[i] for m in moments] for moments in (self.first, self.second))
        skeleton = copy.deepcopy(models[0]).to("meta")
        # The row of each, shape (models, 2 + L), at its own weights, batch, noise and scheduled number.
        self.rows = vmap(lambda weights, *arguments: functional_call(skeleton, weights, arguments))


class _Row(nn.Module):
    """What a step computes of one model, its row of the record, which begins with the mean ELBO."""

    def __init__(self, objective: Objective, model: HierarchicalVAE) -> None:
        super().__init__()
        self.objective, self.model = objective, model

    def forward(self, x: Tensor, noise: list[Tensor], weight: Tensor) -> Tensor:
        return columns(self.objective(self.model, x, noise=noise, weight=weight))


def _step_of(stacks: Sequence[_Stack], multiples: Sequence[float]) -> Step:
    """`steps.step_of` for the models of all stacks: its arguments, but Adam's factors, have a first dimension more."""

    def step(bits: Tensor, places: object, noise: Sequence[Tensor], weight: Tensor, rates: Tensor, row: Tensor) -> None:
        x, end = bits.to(rates.dtype), 0
        for stack in stacks:
            own = slice(end, end := end + len(next(iter(stack.weights.values()))))
            rows = stack.rows(stack.weights, x[own], [e[own] for e in noise], weight[own])
            # No row depends on another model's weights: the gradient of the sum is that of each.
            each = zip(stack.weights.values(), stack.first, stack.second, multiples, strict=True)
            weights, *rest = zip(*(one for one in each if one[0].requires_grad), strict=True)
            gradients = torch.autograd.grad(-rows[:, 0].sum(), weights, allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                row[own].copy_(rows)
                steps.adam(zip(weights, gradients, *rest, strict=True), rates)

    return step


def _by_rule(objectives: Sequence[Objective]) -> dict[Objective, list[int]]:
    """The places of the objectives of one rule, by rule. Those that differ in λ alone follow one, the λ of each."""
    kinds: dict[Objective, list[int]] = {}
    for place, objective in enumerate(objectives):
        kind = _WEIGHTED if type(objective) in (Interpolated, LambdaSchedule) else objective
        kinds.setdefault(kind, []).append(place)
    # One objective alone is its own rule: at λ = 1 it computes less.
    return {
        kind if len({objectives[place] for place in places}) > 1 else objectives[places[0]]: places
        for kind, places in kinds.items()
    }


def _weight(objective: Objective, progress: float) -> float:
    """The scheduled number; a fixed λ is one too, which stays."""
    return objective.lam if isinstance(objective, Interpolated) else objective.weight(progress)


def _recorded(buffers: Buffers, step: Step, changed: list[Tensor]) -> Callable[[], None]:
    """The step as a CUDA graph; `changed`, all that it changes beside the buffers, stays as it is."""
    before = [each.detach().clone() for each in changed]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # in which libraries take the memory that they keep
            buffers.at.zero_()
            buffers.take(step)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        buffers.take(step)
    for each, value in zip(changed, before, strict=True):
        each.detach().copy_(value)
    return graph.replay


def _check(runs: Sequence[Run], images: Tensor, plan: TrainingConfig) -> None:
    batches.check_enough(images, plan.batch_size)
    kinds = {
        (run.state.step, *((p.shape, p.dtype, p.device, p.requires_grad) for p in run.state.model.parameters()))
        for run in runs
    }
    if len(kinds) != 1:
        raise ValueError(
            "runs: expected models of one architecture, dtype, device and step, with the same parameters frozen. Train "
            "each kind alone."
        )
