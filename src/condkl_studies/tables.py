"""Tables of results: means and paired differences as text, the account of an upper layer, and the true evidence."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
import torch

from condkl_studies import plans, store
from condkl_studies.data import load
from condkl_studies.results import Interval, interval, minus, where
from condkl_studies.synthetic import known_model


def in_order(table: pd.DataFrame, **orders: Collection[Any]) -> pd.DataFrame:
    """The rows whose settings are listed, in the order of the lists."""
    for name, values in orders.items():
        table = table[table[name].isin(list(values))]
    return table.sort_values(list(orders), key=lambda c: c.map({v: i for i, v in enumerate(orders[str(c.name)])}))


def summary(table: pd.DataFrame, columns: Mapping[str, str], by: Sequence[str] = ("decoder", "method")) -> pd.DataFrame:
    """Means over seeds with 95% intervals, as text; counts of active units with one decimal, and – for what is missing.

    The mapping says what to call each column, and `by` has the settings that keep rows apart.
    """
    rows = {
        key if len(by) > 1 else key[0]: {
            label: f"{interval(group[name]):.{1 if 'active' in name else 2}f}" if group[name].notna().all() else "–"
            for name, label in columns.items()
        }
        for key, group in table.groupby(list(by), sort=False)
    }
    return pd.DataFrame(rows).T.rename_axis(list(by))


def against(table: pd.DataFrame, columns: Mapping[str, str], reference: str = "full") -> pd.DataFrame:
    """Paired differences of every other method from one, with each decoder, as text, with columns as in `summary`."""
    rows = {
        (decoder, method): {
            label: f"{minus(table, name, method, reference, decoder=decoder):+.2f}" for name, label in columns.items()
        }
        for decoder, method in table[["decoder", "method"]].drop_duplicates().itertuples(index=False)
        if method != reference and reference in set(where(table, decoder=decoder)["method"])
    }
    return pd.DataFrame(rows).T.rename_axis(["decoder", "method"])


def in_digits(table: pd.DataFrame, digits: Mapping[str, int]) -> pd.DataFrame:
    """Numbers as text, each column with so many decimals, or none if it is not named; – for what is missing."""

    def written(column: pd.Series) -> pd.Series:
        places = digits.get(str(column.name), 0)
        return column.map(lambda x: "–" if pd.isna(x) else f"{x:.{places}f}".replace("-", "−"))

    return table.apply(written)


def balance(table: pd.DataFrame, **settings: Any) -> dict[str, Interval]:
    """What a living upper layer earns, and the λ below which theta's account of it is negative: means over seeds.

    The living layer is the full gradient's, the dead one that of eq. (9).

    Example:
        >>> table = pd.DataFrame({"method": ["full", "full", "modified", "modified"], "seed": [0, 1, 0, 1],
        ...                       "R": [-80, -80, -81, -81], "A": [6, 6, 0, 0], "C": [14, 14, 24, 24]})
        >>> print(balance(table)["λ*"])  # (6 - 1) / 10
        0.50 ± 0.00
    """
    alive, dead = (
        where(table, method=method, **settings).set_index("seed")[["R", "A", "C"]] for method in ("full", "modified")
    )
    saved, gained = dead["C"] - alive["C"], alive["R"] - dead["R"]
    return {
        "A": interval(alive["A"]),
        "ΔC": interval(saved),
        "ΔR": interval(gained),
        "gain at λ = 1": interval(gained + saved - alive["A"]),
        "at λ = ½": interval(gained + saved / 2 - alive["A"]),
        "λ*": interval((alive["A"] - gained) / saved),
    }


def chosen_rates(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """By objective, with p(x|u) and with p(x|u,v), the learning rate of the highest validation ELBO at the end.

    One run for each, or a ValueError: with several seeds the highest of one run would choose. A run that diverged is
    not chosen.

    Example:
        >>> runs = {"objective": "full", "skip": [False, False, True], "learning_rate": [1e-3, 2e-3, 1e-3],
        ...         "val_elbo": [-96.0, -95.0, -94.0]}
        >>> chosen_rates(pd.DataFrame(runs))
        {'full': (0.002, 0.001)}
    """
    settings = ["objective", "skip", "learning_rate"]
    if table.duplicated(settings).any():
        raise ValueError("table: expected one run for each objective, decoder and rate. Choose a seed.")
    best = table.loc[table.groupby(settings[:2], sort=False)["val_elbo"].idxmax()].set_index(settings[:2])
    rates = best["learning_rate"]
    return {name: (float(rates[name, False]), float(rates[name, True])) for name in rates.index.unique(0)}


def chosen_shares(table: pd.DataFrame) -> dict[str, float]:
    """By objective, the share `until` of the highest mean validation ELBO at the end, over all starts and seeds.

    Example:
        >>> until, elbo = [0.25, 0.25, 0.5, 0.5], [-80.0, -90.0, -84.0, -85.0]
        >>> chosen_shares(pd.DataFrame({"objective": "kl_warm_up", "until": until, "val_elbo": elbo}))
        {'kl_warm_up': 0.5}
    """
    means = table.groupby(["objective", "until"], sort=False)["val_elbo"].mean().reset_index()
    best = means.loc[means.groupby("objective", sort=False)["val_elbo"].idxmax()]
    return {str(name): float(until) for name, until in zip(best["objective"], best["until"], strict=True)}


@cache
def true_evidence() -> pd.DataFrame:
    """Mean log evidence of the models that made the data of `controlled`, in nats, by quadrature on the test images.

    In the row of each data set, `all` is over all images, `estimated` over those that have a likelihood estimate, and
    `deviation` is how far the mean over 100 images is from that on a finer grid.
    """
    rows = {}
    for config in plans.study("controlled").configs:
        if config.data not in rows:
            model, x = known_model(config.data), load(config.data, "test").float() / 255
            chosen = torch.as_tensor(store.read("controlled", config).samples["likelihood_image"])
            found, finer = model.log_evidence(x, step=0.8), model.log_evidence(x[:100])
            off = (found[:100] - finer).mean().abs()
            rows[config.data] = [float(value) for value in (found.mean(), found[chosen].mean(), off)]
    return pd.DataFrame(rows, index=["all", "estimated", "deviation"]).T
