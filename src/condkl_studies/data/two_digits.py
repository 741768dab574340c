"""Canvases with 0 to 2 digits that do not overlap."""

from condkl_studies.canvases import Canvases

canvases = Canvases(most=2)
images = canvases.images
