"""What this package takes from curvlinops 3, in one place.

`PyTorchLinearOperator` has no public name there. We rely on this of it: ``@`` turns vectors and matrices into lists of
tensors for `_matmat`; `adjoint`, sums, multiples and `to_scipy`; the attribute `_in_shape_flat`.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # A dependency of curvlinops uses torch.jit.script, about which nobody here can do anything.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    from curvlinops import hutchinson_squared_fro, hutchinson_trace, hutchpp_trace
    from curvlinops._torch_base import PyTorchLinearOperator

__all__ = ["PyTorchLinearOperator", "hutchinson_squared_fro", "hutchinson_trace", "hutchpp_trace"]
