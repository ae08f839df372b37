"""Curvature of the engine's objective: Hessian and Gauss-Newton operators, and what can be learnt from them."""
