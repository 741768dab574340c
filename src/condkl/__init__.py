"""The conditional KL divergence of hierarchical VAEs: the mathematics, and the model."""

import lazy_loader

# Names are loaded when they are first used: the mathematics loads no model.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
