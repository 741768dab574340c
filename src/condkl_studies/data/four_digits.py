"""Canvases with 0 to 4 digits that may lie on one another."""

from condkl_studies.canvases import Canvases

canvases = Canvases(most=4, overlap=True)
images = canvases.images
