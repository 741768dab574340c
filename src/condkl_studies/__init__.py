"""Training: data, runs that resume to the last bit, records that are written once, and what came of them."""

import lazy_loader

# Names are loaded when they are first used: reading records loads no training.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
