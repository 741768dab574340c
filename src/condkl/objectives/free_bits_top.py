"""The top layer alone uses some nats without a gradient against it: a floor under A."""

from condkl.objectives.free_bits import FreeBits

objective = FreeBits(below=False)
