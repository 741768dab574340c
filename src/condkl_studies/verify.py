"""Whether the records are whole, and what the last verification found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from condkl_studies import store
from condkl_studies.config import digest
from condkl_studies.files import PARTIAL, write_json
from condkl_studies.machine import commit, machine
from condkl_studies.plans import Study
from condkl_studies.replay import Replay
from condkl_studies.store import RunResult


@dataclass(frozen=True)
class Repeated:
    """A replay that passed: the run's id and label, whether the same kind of machine made the record, the result."""

    run: str
    label: str
    same_machine: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """What the last verification without a problem found.

    It `passed` at that time, UTC, as ISO 8601, and at that `commit`, None outside a repository. `records` says how many
    were checked, and `seals` their `store.seals`, for each study; `replays` are the first windows trained again.
    """

    passed: str
    commit: str | None
    machine: dict[str, str]
    records: dict[str, int]
    seals: dict[str, str]
    replays: list[Repeated]

    def outdated(self, studies: Mapping[str, Study]) -> list[str]:
        """The names of the studies of which a record came, went or was made anew since."""
        nothing = store.seals("", ())
        now = {name: store.seals(name, study.configs) for name, study in studies.items()}
        names = dict.fromkeys([*now, *self.seals])
        return [name for name in names if self.seals.get(name, nothing) != now.get(name, nothing)]


def checked(studies: Mapping[str, Study]) -> tuple[list[RunResult], list[str]]:
    """The whole records, and a line for each that is broken, of no study, or missing from a study that is not open."""
    whole, problems = [], []
    for name, study in studies.items():
        for config in store.recorded(name, study.configs) if study.open else study.configs:
            try:
                whole.append(store.read(name, config))
            except store.RecordError as error:
                problems.append(str(error))
    known = {store.record_folder(name, config) for name, study in studies.items() for config in study.configs}
    for folder in sorted(store.runs_folder().glob("*/*")):
        if folder.name.startswith(PARTIAL):
            problems.append(f"{folder}: a half-written record. Delete it, and run the study.")
        elif folder.is_dir() and folder not in known:
            problems.append(f"{folder}: a record of no run of any study. Delete it, or add its config to a study.")
    return whole, problems


def verified_file() -> Path:
    """Where the last verification without a problem is kept, beside the studies' records."""
    return store.runs_folder() / "verified.json"


def keep_verification(studies: Mapping[str, Study], replays: Sequence[Replay]) -> Path:
    """Keep what a verification of all studies without a problem found, in place of the one before; gives the file."""
    recorded = {name: store.recorded(name, study.configs) for name, study in studies.items()}
    found = Verification(
        passed=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=machine(),
        records={name: len(configs) for name, configs in recorded.items()},
        seals={name: store.seals(name, configs) for name, configs in recorded.items()},
        replays=[Repeated(r.config.id, r.config.label, r.bits is not None, str(r)) for r in replays],
    )
    write_json(verified_file(), asdict(found) | {"seal": digest(asdict(found))})
    return verified_file()


def last_verification() -> Verification | None:
    """The last verification without a problem, or None; a RecordError if its file is truncated or altered."""
    try:
        said = json.loads(verified_file().read_text(encoding="utf-8"))
        if said.pop("seal") != digest(said):
            raise ValueError("its seal is another one")
        replays = [Repeated(**one) for one in said.pop("replays")]
        return Verification(**said, replays=replays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        how = f"truncated or altered ({error!r}). Delete it, and run `make verify`."
        raise store.RecordError(f"{verified_file()}: {how}") from error
