"""MEMIT: many facts at once, spread over layers (Meng et al., arXiv 2210.07229)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def of_facts(keys: Tensor, changes: Tensor, covariance: Tensor, *, weight: float) -> tuple[Tensor, Tensor]:
    """B (hidden, facts) and A (facts, neurons), fp64, of W' = W + B A.

        B A = R K^T (lambda C + K K^T)^-1,    A = K^T (lambda C + K K^T)^-1 = (lambda I + K^T C^-1 K)^-1 K^T C^-1

    Of all changes it is the one with the least |R - dW K|^2 + lambda tr(dW C dW^T): C is a mean over tokens of text,
    so a fact counts as much as lambda tokens. `keys` is K (neurons, facts), `changes` R (hidden, facts), `covariance`
    C (neurons, neurons), all fp64; C is positive definite. The second form of A (Woodbury) solves for as many unknowns
    as there are facts.
    """
    import torch

    solved = torch.cholesky_solve(keys, torch.linalg.cholesky(covariance))
    inner = keys.T @ solved
    inner.diagonal().add_(weight)
    return changes, torch.linalg.solve(inner, solved.T)
