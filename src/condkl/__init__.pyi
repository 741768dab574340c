from . import clusters as clusters
from . import discrete as discrete
from . import divergence as divergence
from . import dynamics as dynamics
from . import evaluation as evaluation
from . import gradients as gradients
from . import hierarchical as hierarchical
from . import learned as learned
from . import linear as linear
from . import noise as noise
from . import objectives as objectives
from . import switch as switch
from . import vae as vae
from .divergence import KLChain as KLChain
from .divergence import conditional_kl_at as conditional_kl_at
from .divergence import kl_chain as kl_chain
from .evaluation import active_units as active_units
from .evaluation import iwae_log_likelihood as iwae_log_likelihood
from .gradients import (
    Field as Field,
)
from .gradients import (
    KLProblem as KLProblem,
)
from .gradients import (
    full_gradient as full_gradient,
)
from .gradients import (
    interpolated_gradient as interpolated_gradient,
)
from .gradients import (
    modified_gradient as modified_gradient,
)
from .gradients import (
    pathwise as pathwise,
)
from .gradients import (
    score_function as score_function,
)
from .gradients import (
    term_gradients as term_gradients,
)
from .hierarchical import HierarchicalGaussian as HierarchicalGaussian
from .objectives import (
    Objective as Objective,
)
from .objectives import (
    full as full,
)
from .objectives import (
    interpolated as interpolated,
)
from .objectives import (
    modified as modified,
)
from .objectives import (
    objective as objective,
)
from .switch import conditional_kl as conditional_kl
from .switch import scale_gradient as scale_gradient
from .vae import HierarchicalVAE as HierarchicalVAE
from .vae import Terms as Terms
