"""The one study of `tiny_studies.py`."""

from tiny import TWO

from condkl_studies.plans import Study

STUDY = Study("Two runs that are long enough to be interrupted.", tuple(TWO))
