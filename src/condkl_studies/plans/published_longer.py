"""The protocol of `published`, up to its seventh stage of eight."""

from condkl_studies.plans import Study
from condkl_studies.plans.published import until

STUDY = Study(
    "The published protocol, as in `published`, for 1,093 of its 3,280 epochs.",
    until("seven_stages", 1093),  # a run of seven stages is one of six that goes on
    open=True,
)
