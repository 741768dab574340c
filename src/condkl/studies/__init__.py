"""Studies: frozen configs, runs that resume to the last bit, and records that are written once."""

from condkl.studies.config import RunConfig
from condkl.studies.engine import RunFailedError, RunResult, run
from condkl.studies.schedule import run_all
from condkl.studies.store import RecordError, read, read_study

__all__ = ["RecordError", "RunConfig", "RunFailedError", "RunResult", "read", "read_study", "run", "run_all"]
