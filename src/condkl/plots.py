"""One look for all figures: the same colour means the same thing in every chapter."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by readers with any common colour blindness.
COLOURS = {
    "full": "#0072B2",
    "modified": "#D55E00",
    "interpolated": "#009E73",
    "exact": "#000000",
    "other": "#CC79A7",
    "muted": "#7F7F7F",
    "half": "#117733",
    "lambda_warm_up": "#56B4E9",
    "lambda_drop": "#004488",
    "kl_warm_up": "#E69F00",
    "free_bits": "#B8A200",
    "prior_mixture": "#882255",
    "fast_phi": "#AA4499",
}
NAMES = {
    "full": "full gradient",
    "modified": "eq. (9)",
    "half": "λ = ½",
    "lambda_warm_up": "λ rising",
    "lambda_drop": "λ falling",
    "kl_warm_up": "KL warm-up",
    "free_bits": "free bits",
    "prior_mixture": "φ on p(v) too",
    "fast_phi": "φ five times faster",
}


def use_style() -> None:
    """Set the look of all figures made after it: quiet grid, white ground in any theme, repeatable vector files."""
    sns.set_theme(context="notebook", style="whitegrid", palette=list(COLOURS.values()))
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.titlesize": "medium",
            "legend.frameon": False,
            "svg.hashsalt": "condkl",  # the same figure gives the same file
        }
    )


def in_nats(axis: Axes, what: str) -> None:
    """Label the vertical axis with a quantity measured in nats."""
    axis.set_ylabel(f"{what} (nats)")
