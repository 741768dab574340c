"""Tables in which predictions hold, and what makes each of them fail."""

from dataclasses import asdict
from functools import partial

import pandas as pd

from condkl_studies import plans

# By decoder and method: the KL of each layer from the top, in shares of 20 nats, and R and the ELBO.
DEEP = {
    "p(x|u)": {
        "full": ((0.05, 0.25, 0.7), -75.0, -95.0),
        "modified": ((0.001, 0.001, 0.998), -76.5, -96.5),
        "kl_balancing": ((0.1, 0.3, 0.6), -60.0, -110.0),
    },
    "residual": {"full": ((0.5, 0.3, 0.2), -74.0, -94.0), "modified": ((0.1, 0.1, 0.8), -76.0, -96.0)},
}
FAIR = {"full": (6.0, -95.0), "modified": (0.01, -96.5), "modified+free_bits_top": (3.1, -95.5)}
# Test ELBO, likelihood estimate, and KL of the lowest layer.
DEEP_WARM = {
    "full": (-95.0, -92.0, 1.0),
    "modified": (-95.2, -91.7, 4.0),
    "kl_warm_up": (-91.7, -88.1, 1.7),
    "modified+kl_warm_up": (-93.7, -90.1, 4.7),
}
PUBLISHED = {"one layer": -87.0, "full": -86.0, "modified": -87.1}
FIRST_BROKEN = 6e-3
# What makes each fail: rows of one of its tables, a column, and what stands there instead.
BREAKS = {
    41: ("deep", {"method": "modified", "decoder": "residual", "seed": 1}, "val_C", 100.0),
    42: ("deep", {"method": "modified", "decoder": "p(x|u)"}, "elbo", -97.5),
    43: ("deep", {"method": "lambda=0.9", "decoder": "residual"}, "log_likelihood", -90.5),
    44: ("deep", {"method": "kl_balancing", "decoder": "p(x|u)"}, "val_A", 0.5),
    45: ("fair", {"method": "modified", "decoder": "p(x|u,v)"}, "elbo", -95.1),
    46: ("fair", {"method": "modified+free_bits_top", "decoder": "p(x|u)", "seed": 6}, "val_A", 2.0),
    47: ("fair", {"method": "modified+kl_warm_up", "decoder": "p(x|u)", "seed": 7}, "val_A", 0.2),
    48: (
        "stability",
        {"method": "modified", "decoder": "p(x|u)", "learning_rate": 3e-3, "seed": 4},
        "diverged_at",
        7.0,
    ),
    49: ("stability_curves", {"method": "modified", "decoder": "p(x|u,v)", "seed": 2}, "signal_modified", 9.0),
    67: ("published_longer", {"latents": [(50, 100)], "method": "full"}, "log_likelihood", -86.5),
    68: ("published", {"method": "modified"}, "log_likelihood", -86.4),
    69: ("deep_warm", {"method": "modified+kl_warm_up"}, "elbo", -91.8),
    70: ("deep_warm", {"method": "kl_warm_up", "seed": 4}, "elbo", -93.6),
}
# And what makes them fail in another of their parts.
PARTS = [
    (41, "deep", {"method": "modified", "decoder": "p(x|u)", "seed": 0}, "val_A", 0.5),
    (41, "deep_five", {"method": "full", "decoder": "residual"}, "val_C4", 19.0),
    (42, "deep", {"method": "modified", "decoder": "p(x|u)", "seed": 0}, "elbo", -90.0),
    (43, "deep", {"method": "lambda=0.9", "decoder": "residual"}, "log_likelihood", -92.0),
    (44, "deep", {"method": "kl_balancing", "decoder": "p(x|u)"}, "R", -76.0),
    (44, "deep", {"method": "kl_balancing", "decoder": "p(x|u)"}, "elbo", -97.0),
    (45, "main", {"method": "modified", "decoder": "p(x|u)"}, "elbo", -98.0),
    (46, "fair", {"method": "modified+free_bits_top", "decoder": "p(x|u)"}, "elbo", -96.2),
    (46, "fair", {"method": "modified+free_bits_top", "decoder": "p(x|u)", "seed": 5}, "val_A", 3.6),
    (48, "stability", {"method": "full", "decoder": "p(x|u,v)", "learning_rate": 2e-3, "seed": 0}, "diverged_at", 7.0),
    (48, "stability", {"method": "modified"}, "diverged_at", None),
    (48, "stability_curves", {"method": "full", "decoder": "p(x|u)", "learning_rate": 3e-3, "seed": 1}, "elbo", -600.0),
    (49, "stability_curves", {"method": "full", "decoder": "p(x|u)", "seed": 3}, "noise_full", 0.2),
    (67, "published_longer", {"method": "modified"}, "log_likelihood", -86.3),
    (67, "published_longer", {"decoder": "one layer"}, "log_likelihood", -88.4),
    (68, "published_longer", {"method": "modified"}, "log_likelihood", -86.5),
    (69, "deep_warm", {"method": "modified+kl_warm_up"}, "log_likelihood", -88.3),
    (69, "deep_warm", {"method": "modified+kl_warm_up"}, "elbo", -96.0),
    (69, "deep_warm", {"method": "modified+kl_warm_up"}, "val_C4", 2.2),
    (70, "deep_warm", {"method": "modified"}, "elbo", -97.0),
]


def table(name):
    """The table of that name, as `results` would give it."""
    return TABLES[name]()


def names():
    return set(TABLES)


def rows(study):
    table = pd.DataFrame([
        asdict(one) | {"run": one.id, "decoder": one.decoder, "method": one.method}
        for one in plans.study(study).configs
    ])  # fmt: skip
    return table.assign(epochs=table.steps / plans.EPOCH)


def jitter(table):
    """Seeds differ by a little, the pairs of a seed not at all."""
    return 1e-3 * table.seed


def layered(study, lowest):
    table = rows(study)
    found = [
        DEEP[decoder].get(method, DEEP[decoder]["full"]) for decoder, method in table[["decoder", "method"]].to_numpy()
    ]
    layers = pd.DataFrame([[20 * share for share in shares] for shares, _, _ in found])
    table["val_A"], table["val_C"] = layers[0], layers[1] + layers[2]
    table[lowest] = layers[2]
    table["R"], table["elbo"] = [R for _, R, _ in found], [elbo for _, _, elbo in found] + jitter(table)
    return table.assign(log_likelihood=table.elbo + 3.0)


def fair():
    table = rows("fair")
    found = [FAIR.get(method, (0.05, -95.8)) for method in table.method]
    table["val_A"], table["elbo"] = [A for A, _ in found], [elbo for _, elbo in found] + jitter(table)
    return table


def deep_warm():
    table = rows("deep_warm")
    for index, column in enumerate(("elbo", "log_likelihood", "val_C4")):
        table[column] = table.method.map({name: found[index] for name, found in DEEP_WARM.items()})
        table[column] += jitter(table) * (1 + table.method.str.startswith("modified"))
    return table


def published(study):
    table = rows(study)
    names = table.method.where(table.decoder != "one layer", "one layer")
    return table.assign(log_likelihood=names.map(PUBLISHED))


def stability():
    table = rows("stability")
    return table.assign(diverged_at=table.learning_rate.where(table.learning_rate >= FIRST_BROKEN) * 1e6)


def stability_curves():
    ends = stability()
    whole = ends[ends.diverged_at.isna()]
    table = pd.concat([whole.assign(epoch=epoch) for epoch in (1.0, 2.0, 5.0, 20.0)])
    share = (table.method == "full") + 0.3 * (table.method == "modified")
    signals = {f"signal_{name}": 0.1 * share**2 for name in ("full", "modified")}
    return table.assign(elbo=-120.0, **signals, **{f"noise_{name}": share for name in ("full", "modified")})


TABLES = {
    "deep": partial(layered, "deep", "val_C2"),
    "deep_five": partial(layered, "deep_five", "val_C4"),
    "deep_warm": deep_warm,
    "fair": fair,
    "published": partial(published, "published"),
    "published_longer": partial(published, "published_longer"),
    "stability": stability,
    "stability_curves": stability_curves,
}
