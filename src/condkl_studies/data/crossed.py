"""A known model like `loose` in which v reaches the pixels directly too."""

from condkl_studies.synthetic import KnownModel

model = KnownModel(spread=0.7, skip=True)
images = model.images
