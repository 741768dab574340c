"""Every weight with every remedy, each at a learning rate of its own."""

from dataclasses import replace

from condkl_studies.plans import DECODERS, LATER, Study

SEEDS = (5, 6, 7)  # no other study has these
#: Learning rates of each objective with p(x|u) and with p(x|u,v), which `tables.chosen_rates` finds in `fair_tuning`.
RATES = {
    "modified": (2e-3, 2e-3),
    "lambda=0.9": (2e-3, 2e-3),
    "full": (2e-3, 2e-3),
    "modified+kl_warm_up": (4e-3, 2e-3),
    "lambda=0.9+kl_warm_up": (2e-3, 2e-3),
    "kl_warm_up": (2e-3, 2e-3),
    "modified+free_bits_top": (2e-3, 2e-3),
    "lambda=0.9+free_bits_top": (2e-3, 2e-3),
    "free_bits_top": (2e-3, 2e-3),
}
STUDY = Study(
    "Is the comparison fair? $\\lambda$ of 0, 0.9 and 1, each plain, with a warm-up of the KL terms, and with a floor "
    "under $A$, each at the learning rate that was chosen for it.",
    tuple(
        replace(LATER, seed=seed, skip=skip, objective=objective, learning_rate=rates[skip])
        for seed in SEEDS
        for skip in DECODERS
        for objective, rates in RATES.items()
    ),
)
