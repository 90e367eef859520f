"""OGM-GE: OGM with Gaussian noise, which is to generalise better.

Peng et al. (2022), arXiv 2203.15332, as `ogm`.
"""

import dataclasses
from typing import ClassVar

from btw_jax.methods.balance import ogm


@dataclasses.dataclass(frozen=True)
class Method(ogm.Method):
  """OGM, with noise added to what every encoder learns.

  The noise of an encoder's parameter array has the standard deviation of what
  it is added to, before that is multiplied.
  """

  noisy: ClassVar[bool] = True
