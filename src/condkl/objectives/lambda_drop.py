"""λ falls from 1, the full gradient, to 0, eq. (9), over the first half of the training."""

from condkl.objectives.lambda_warm_up import LambdaSchedule

objective = LambdaSchedule(first=1.0, last=0.0)
