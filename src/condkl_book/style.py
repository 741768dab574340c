"""One look for all figures: the same colour means the same thing in every chapter."""

import sys

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from condkl_book import figure_data

#: A colour for each way to train. Those of one figure are told apart by readers with any common colour blindness, and
#: all stand out from white (the tests measure both, and so they do for `DARK`).
COLOURS = {
    "full": "#0072B2",
    "modified": "#D55E00",
    "interpolated": "#00A870",  # another λ
    "exact": "#000000",
    "other": "#BA80A4",
    "muted": "#686868",
    "lambda=0.5": "#1A5A2A",
    "lambda_warm_up": "#109FC8",
    "lambda_drop": "#004488",
    "kl_warm_up": "#5A4600",
    "free_bits": "#C07F93",
    "prior_mixture": "#880048",
    "full, phi x5": "#4400A0",
}
#: The same on the dark ground of the site.
DARK = {
    "full": "#5E96EA",
    "modified": "#FC7B22",
    "interpolated": "#0B8655",
    "exact": "#EDEDED",
    "other": "#A0698C",
    "muted": "#9E9E9E",
    "lambda=0.5": "#3E7B47",
    "lambda_warm_up": "#5FCBF6",
    "lambda_drop": "#396FB4",
    "kl_warm_up": "#816B20",
    "free_bits": "#C68AA1",
    "prior_mixture": "#BF3974",
    "full, phi x5": "#7556D8",
}
#: What figures and tables call each way to train; `name_of` has the rest.
NAMES = {
    "full": "full gradient",
    "modified": "eq. (9)",
    "lambda=0.5": "λ = ½",
    "lambda_warm_up": "λ rising",
    "lambda_drop": "λ falling",
    "kl_warm_up": "KL warm-up",
    "free_bits": "free bits",
    "prior_mixture": "φ on p(v) too",
    "full, phi x5": "φ five times faster",
}


def name_of(method: str) -> str:
    """What figures and tables call a way to train; one without a name of its own is called as it is written.

    Example:
        >>> name_of("modified"), name_of("lambda=0.7+kl_warm_up"), name_of("kl_balancing")
        ('eq. (9)', 'λ = 0.7, KL warm-up', 'KL balancing')
    """
    return ", ".join(NAMES.get(part) or _in_words(part) for part in method.split("+"))


def _in_words(part: str) -> str:
    for written, said in (("lambda=", "λ = "), ("kl_", "KL "), ("_top", " on A"), ("_", " ")):
        part = part.replace(written, said)
    return part


def colour_of(method: str) -> str:
    """The colour of a way to train; those without one of their own share one."""
    return COLOURS.get(method, COLOURS["interpolated" if method.startswith("lambda=") else "other"])


def use_style() -> None:
    """Set the look of all figures made after it: quiet grid, white ground in any theme, repeatable vector files.

    In a notebook, figures are shown as SVG, with PDF for paper and PNG for viewers that know neither, and keep their
    numbers for the page.
    """
    sns.set_theme(context="notebook", style="whitegrid", palette=list(COLOURS.values()))
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.wspace": 0.06,  # or the labels of an axis touch the panel on its left
            "savefig.facecolor": "white",
            "axes.titlesize": "medium",
            "legend.frameon": True,  # or lines would run through its words
            "legend.framealpha": 0.85,
            "legend.edgecolor": "none",
            "figure.dpi": 150,  # of what is not drawn as lines
            "svg.hashsalt": "condkl",  # the same figure gives the same file
        }
    )
    if "ipykernel" in sys.modules:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.config import InlineBackend

        if (shell := get_ipython()) and shell.display_formatter:
            InlineBackend.instance(parent=shell).figure_formats = {"svg", "pdf", "png"}
            shell.display_formatter.mimebundle_formatter.for_type(Figure, figure_data.bundle)


def in_nats(axis: Axes, what: str) -> None:
    """Label the vertical axis with a quantity measured in nats."""
    axis.set_ylabel(f"{what} (nats)")
