"""What a run leaves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from condkl_studies.config import RunConfig


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        config: its settings.
        metrics: a row for each window of training: `step`, means over its batches of `elbo`, `R`, `A`, `C`, what
            pulls on theta if the config asks for it, and, in the rows that have them, `val_elbo`, `val_R`, `val_A`,
            `val_C`, `active_v`, `active_u` on the validation split. All terms in nats.
        samples: arrays. `prior_u`, grey levels as bytes, shape (8, 8, pixels), has one v for each row and a new u for
            each image; `prior_v` the same u's noise along each column, and a new v for each image; `variance_v` and
            `kl_v`, `kl_u`, … are `evaluation.Units` on the test split; `test` holds its mean ELBO, R, A and C;
            `likelihood_image` and `log_likelihood` the numbers of test images and their estimates in nats.
        provenance: what stands behind the numbers: commit, versions, machine, seconds, time.
    """

    config: RunConfig
    metrics: pd.DataFrame
    samples: dict[str, np.ndarray]
    provenance: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long the run took by the clock, evaluation included."""
        return float(sum(self.provenance["seconds"].values()))
