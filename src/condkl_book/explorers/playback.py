"""The explorer of recorded training: what a model dreams or sees at eight moments, the full gradient beside eq. (9)."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from condkl_book.explorers.tables import Array, Axis, Bytes, Control, Explorer, Panel, Picture, Series
from condkl_book.style import NAMES
from condkl_studies import data, plans, store
from condkl_studies.plans.showcase import PICTURES
from condkl_studies.store import RunResult

STUDY = "showcase"
METHODS = ("full", "modified")
#: The models by what the list calls them, with the decoder of their configs.
MODELS = {"digits, p(x|u)": "p(x|u)", "digits, p(x|u,v)": "p(x|u,v)", "counting": "p(x|u,n)"}
MOMENTS = tuple(f"{100 * (k + 1) / PICTURES:g}%" for k in range(PICTURES))
POINTS = 5 * PICTURES  # of a curve
ROWS, COLUMNS = 4, 8  # of digits; half as many canvases, of twice their size
CELL = 32  # pixels
_FRAME = Axis("", 0, 1, {})  # of a picture, upwards and to the right
TRAINED_AXIS = Axis("share of training", 0, 1.03, {"0": 0.0, "0.5": 0.5, "1": 1.0})
KL_AXIS = Axis("A and C (nats)", 0, 30, {"0": 0.0, "10": 10.0, "20": 20.0, "30": 30.0})
R_AXIS = Axis("R (nats)", -140, -40, {"−140": -140.0, "−90": -90.0, "−40": -40.0})
Pairs = dict[str, dict[str, RunResult]]  # by model and method


def playback(runs: Sequence[RunResult] | None = None) -> Explorer:
    """Pictures, terms and boxes at each moment of the runs of `showcase` from a usual start, or of others like them.

    A RecordError names the command that makes those that are missing.
    """
    if runs is None:
        runs = [store.read(STUDY, config) for config in plans.study(STUDY).configs if not config.scale_prior]
    pairs = {model: {method: _one(runs, decoder, method) for method in METHODS} for model, decoder in MODELS.items()}
    terms = {(model, method): _terms(run) for model, pair in pairs.items() for method, run in pair.items()}
    panels = [_pictured(pairs, method) for method in METHODS]
    for letters, axis in (("AC", KL_AXIS), ("R", R_AXIS)):
        lines, dots = [], []
        for method, letter in product(METHODS, letters):
            curves = [terms[model, method][letter] for model in MODELS]
            name = f"{letter}, {NAMES[method]}" if letters == "AC" else ""  # R has the colours of A
            lines.append(Series(name, method, "dashed" if letter == "C" else "line", ("model",), tuple(curves)))
            moments = tuple(curve[_last(k)][None] for curve in curves for k in range(PICTURES))
            dots.append(Series("", method, "dot", ("model", "moment"), moments))
        alt = f"{' and '.join(letters)} over training, full gradient and eq. (9), with dots at the moment shown."
        panels.append(Panel(alt, TRAINED_AXIS, axis, (*lines, *dots)))
    controls = (
        Control("model", "model", tuple(MODELS), 0, choice=True),
        Control("moment", "trained", MOMENTS, PICTURES - 1, seconds=6),
    )
    sentences = tuple(_sentence(pairs, terms, model, k) for model, k in product(MODELS, range(PICTURES)))
    return Explorer(controls, tuple(panels), sentences)


def digits(run: RunResult, moment: int) -> Bytes:
    """Samples of the prior: a row has one draw of u's noise, and a new v in each column."""
    grid = run.samples["film_prior_v"][moment][:COLUMNS, :ROWS].swapaxes(0, 1).reshape(ROWS, COLUMNS, 28, 28)
    margin = (CELL - 28) // 2
    return _joined(np.pad(grid, ((0, 0), (0, 0), (margin, margin), (margin, margin))))


def canvases(run: RunResult, moment: int) -> Bytes:
    """The eight test images as bits, in two rows, each in a grey frame."""
    seen = run.samples["film_seen"][moment][:, 0].reshape(ROWS // 2, COLUMNS // 2, CELL, CELL)
    twice = seen.repeat(2, axis=2).repeat(2, axis=3)
    twice[..., [0, -1], :], twice[..., :, [0, -1]] = 96, 96
    return _joined(twice)


def boxes(run: RunResult, moment: int) -> Array:
    """The squares of the objects of the likeliest number on each canvas, as one line within the unit square."""
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1], [-1, -1], [np.nan, np.nan]])
    found = [np.empty((0, 2))]
    for i, count in enumerate(counted(run, moment)):
        for scale, *shift in run.samples["film_where"][moment][i][:count]:
            inside = (1 + np.array(shift) + scale * corners) / 2  # rows and columns of a canvas, from its upper left
            down, across = ((inside + divmod(i, COLUMNS // 2)) / (ROWS // 2, COLUMNS // 2)).T
            found.append(np.column_stack([across, 1 - down]))
    return np.concatenate(found)


def counted(run: RunResult, moment: int) -> list[int]:
    """The likeliest number of objects on each canvas."""
    return [int(n) for n in run.samples["film_q"][moment].argmax(-1)]


def _one(runs: Sequence[RunResult], decoder: str, method: str) -> RunResult:
    (found,) = (run for run in runs if (run.config.decoder, run.config.method) == (decoder, method))
    return found


def _joined(grid: Bytes) -> Bytes:
    """One picture of a grid of them, shape (rows, columns, height, width)."""
    rows, columns, height, width = grid.shape
    return grid.swapaxes(1, 2).reshape(rows * height, columns * width)


def _pictured(pairs: Pairs, method: str) -> Panel:
    frames, squares = [], []
    for (model, pair), k in product(pairs.items(), range(PICTURES)):
        counting = model == "counting"
        frames.append((canvases if counting else digits)(pair[method], k))
        squares.append(boxes(pair[method], k) if counting else np.empty((0, 2)))
    on = ("model", "moment")
    outlines = Series("", method, "line", on, tuple(squares))
    alt = f"Training with {NAMES[method]}: digits, each row with one u and new v; or canvases with boxes."
    picture = Picture(on, tuple(frames))
    return Panel(alt, _FRAME, _FRAME, (outlines,), title=NAMES[method], height=170, picture=picture)


def _terms(run: RunResult) -> dict[str, Array]:
    """R, A and C over the share of training, each (`POINTS`, 2): means over equal parts, at their ends."""
    parts = np.array_split(run.metrics[["step", "R", "A", "C"]].to_numpy(float), POINTS)
    share = [part[-1, 0] / run.config.steps for part in parts]
    means = np.array([part[:, 1:].mean(0) for part in parts])
    return {letter: np.column_stack([share, means[:, i]]) for i, letter in enumerate("RAC")}


def _last(moment: int) -> int:
    """The point of a curve at a moment."""
    return (moment + 1) * POINTS // PICTURES - 1


def _sentence(pairs: Pairs, terms: dict[tuple[str, str], dict[str, Array]], model: str, moment: int) -> str:
    told = []
    for method in METHODS:
        R, A, C = (terms[model, method][letter][_last(moment), 1] for letter in "RAC")
        seen = f", objects {sum(counted(pairs[model][method], moment))}" if model == "counting" else ""
        values = f"R_{R:.1f}, A_{A:.2f}, C_{C:.1f}".replace("_", "\N{NO-BREAK SPACE}")
        told.append(f"{NAMES[method][:1].upper()}{NAMES[method][1:]}: {values} nats{seen}.")
    config = pairs[model]["full"].config
    there = ""
    if model == "counting":
        true = int(data.module(config.data).canvases.counts("test")[: ROWS * COLUMNS // 4].sum())
        there = f" The eight canvases hold {true} objects."
    return f"{model}, {MOMENTS[moment]} trained. {' '.join(told)}{there}".replace("-", "−")
