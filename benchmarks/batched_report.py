"""What a record of many models in one program says, as tables: where it was measured, and how fast."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

KIND = "batched"  # how the names of the records end


def records(data: Path) -> dict[str, dict[str, Any]]:
    """The records in the data folder, by the names of their files."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted((data / "bench").glob(f"*-{KIND}.json"))}


def where(record: dict[str, Any]) -> str:
    """The device that was measured: a card by its name, or a CPU, which is called one."""
    card = record["machine"]["device"]
    return f"CPU, one thread: {record['machine']['processor']}" if card == "cpu" else f"GPU: {card}"


def source(name: str, record: dict[str, Any]) -> str:
    """What stands behind the tables of the record in the file of that name."""
    when, versions = datetime.fromisoformat(record["started"]), ", ".join(map(" ".join, record["packages"].items()))
    how = "compiled" if record["settings"]["compiled"] else "not compiled"
    return (
        f"Source: data/bench/{name}, {where(record)}, {when.day} {when:%B %Y}. {record['machine']['system']}, Python "
        f"{record['machine']['python']}, {versions}. Steps {how}. Commit {record['commit']}, protocol "
        f"{record['protocol']}."
    )


def measured(found: dict[str, dict[str, Any]]) -> str:
    """What was measured and what was not, in a sentence: what ran on a CPU is no measurement of a GPU."""
    places = {on_gpu: [where(r) for r in found.values() if (r["machine"]["device"] != "cpu") == on_gpu] for on_gpu in
              (True, False)}  # fmt: skip
    gpus = f"Measured on {'; '.join(places[True])}." if places[True] else "No GPU has been measured in this copy."
    return gpus + (f" A little was run on {'; '.join(places[False])}." if places[False] else "")


def limits(found: dict[str, dict[str, Any]]) -> str:
    """What the records do not show, in a sentence."""
    if all(record["machine"]["device"] == "cpu" for record in found.values()):
        return "Nothing about GPUs: none was measured."
    return "One card a file, one size of model. Steps on a GPU are timed without what a study does after an epoch."


def speeds(record: dict[str, Any]) -> pd.DataFrame:
    """Median rates over the laps, a row for each number of models at once, and one for plain PyTorch."""
    peak, flops = record["peak"]["measured"], record["problem"]["flops_per_step"]
    plain = float(np.median(record["plain"]["steps"]))
    rows = {f"{row['models']} at once": float(np.median(row["steps"])) for row in record["speed"]}
    rows["plain PyTorch, one model"] = plain
    columns = ["steps/s, all models", "share of peak", "over plain PyTorch"]
    values = [[rate, rate * flops / peak, rate / plain] for rate in rows.values()]
    return pd.DataFrame(values, list(rows), columns).rename_axis(columns=where(record))


def likelihoods(record: dict[str, Any]) -> pd.DataFrame:
    """Median rates of the likelihood estimates, images a second."""
    rates = {"condkl": record["likelihoods"], "plain PyTorch": record["plain"]["likelihoods"]}
    column = f"images/s at K = {record['settings']['samples']:,}"
    return pd.DataFrame({column: {who: float(np.median(laps)) for who, laps in rates.items()}}).rename_axis(
        columns=where(record)
    )


def training(record: dict[str, Any]) -> pd.DataFrame:
    """What the trained runs of `main` come to, in nats on test images: means over the seeds, and seconds for all."""
    rows = pd.DataFrame([run for part in record["main"] for run in part["runs"]])
    means = rows.groupby(["decoder", "objective"])[["elbo", "R", "A", "C"]].mean()
    seconds = {part["decoder"]: part["seconds"] for part in record["main"]}
    return means.assign(seconds=[seconds[decoder] for decoder, _ in means.index]).rename_axis(columns=where(record))
