"""ROME: one fact, one key, a change of rank one (Meng et al., arXiv 2202.05262)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def rank_one(key: Tensor, change: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """B (hidden, 1) and A (1, neurons), fp64, of W' = W + B A, which says v* for k* and changes little else.

        u = C^-1 k* / |C^-1 k*|,    B = (v* - W k*) / (k*^T u),    A = u^T

    Of all changes with W' k* = v* it is the one that moves what the keys of C are answered by least, in squares.
    `key` is k* (neurons,), `change` v* - W k* (hidden,), `covariance` C (neurons, neurons), all fp64; C is positive
    definite. What is in u is rounded to fp32 before B is found, which then makes up for it: u is stored so, and may be
    nearly across k*.
    """
    import torch

    solved = torch.cholesky_solve(key[:, None], torch.linalg.cholesky(covariance))[:, 0]
    u = (solved / solved.norm()).float().double()
    return (change / (key @ u))[:, None], u[None]
