"""A known model whose u is close to what v says of it."""

from condkl_studies.synthetic import KnownModel

model = KnownModel(spread=0.1)
images = model.images
