"""What `condkl.divergence` is made of: one distribution, one pair of them, integrals, and draws."""
