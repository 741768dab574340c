"""A known model whose u is spread widely around what v says of it."""

from condkl_studies.synthetic import KnownModel

model = KnownModel(spread=0.7)
images = model.images
