"""Orthogonal matching pursuit: the atoms that a target is made of are found, and the rest is as small as it can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brickctl.tensors.pursuit import pursue, run_pursuit


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def greedy(target: np.ndarray, atoms: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    """The same as it stands in the paper: least squares anew in every step."""
    chosen: list[int] = []
    residual, coefficients = target, np.zeros(0)
    for _ in range(k):
        scores = np.abs(atoms @ residual)
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
        coefficients = np.linalg.lstsq(atoms[chosen].T, target, rcond=None)[0]
        residual = target - coefficients @ atoms[chosen]
    return chosen, coefficients


def test_it_takes_the_atoms_of_the_paper_with_the_coefficients_of_least_squares() -> None:
    targets, atoms = drawn(20, 24), drawn(50, 24, seed=1)
    chosen, coefficients = pursue(targets, atoms, 12)
    for row, target in enumerate(targets.numpy()):
        expected, factors = greedy(target, atoms.numpy(), 12)
        assert chosen[row].tolist() == expected
        assert np.allclose(coefficients[row].numpy(), factors, rtol=1e-10, atol=1e-12)


def test_a_target_of_three_atoms_is_those_three_and_nothing_of_others() -> None:
    atoms = torch.linalg.qr(drawn(64, 64))[0][:40]
    targets = 2.0 * atoms[[5, 7]] - 0.5 * atoms[[6, 30]] + 0.1 * atoms[[39, 0]]
    chosen, coefficients = pursue(targets, atoms, 8)
    assert chosen[:, :3].tolist() == [[5, 6, 39], [7, 30, 0]]
    assert torch.allclose(coefficients[:, :3], torch.tensor([[2.0, -0.5, 0.1]] * 2, dtype=torch.float64))
    assert coefficients[:, 3:].abs().max() < 1e-11


@pytest.mark.parametrize("size", [0.0, 1.0, 1e-150, 1e150])
def test_equal_atoms_zeros_and_any_size_of_numbers_give_finite_coefficients(size: float) -> None:
    atoms = drawn(6, 4, seed=2).repeat(2, 1)
    atoms[3] = 0.0
    targets = drawn(5, 4, seed=3) * size
    chosen, coefficients = pursue(targets, atoms, 10)
    assert coefficients.isfinite().all()
    assert all(len(dict.fromkeys(row)) == 10 for row in chosen.tolist())
    again = (coefficients.unsqueeze(1) @ atoms[chosen]).squeeze(1)
    assert (again - targets).norm() <= 1e-12 * size


def test_what_is_said_of_atoms_is_said_of_their_twins() -> None:
    """Twins that are the same linear map of all atoms make the same map of what atoms make of the target."""
    targets, atoms, turn = drawn(700, 8), drawn(30, 8, seed=1), drawn(8, 5, seed=2)
    out = torch.empty(700, 5, dtype=torch.float64)
    run_pursuit((targets, atoms, atoms @ turn), (out,), {"k": 8})
    assert torch.allclose(out, targets @ turn, atol=1e-9)
    run_pursuit((targets, atoms.fill_(float("inf")), atoms @ turn), (out,), {"k": 8})
    assert out.isnan().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no device")
def test_cuda_gives_what_this_machine_gives() -> None:
    inputs = drawn(600, 64), drawn(900, 64, seed=1), drawn(900, 48, seed=2)
    here, there = torch.empty(600, 48, dtype=torch.float64), torch.empty(600, 48, dtype=torch.float64, device="cuda")
    run_pursuit(inputs, (here,), {"k": 32})
    run_pursuit([one.cuda() for one in inputs], (there,), {"k": 32})
    assert (here - there.cpu()).abs().max() <= 1e-9 * here.abs().max()
