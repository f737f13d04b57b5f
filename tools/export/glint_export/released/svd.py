"""Singular value decomposition without freedom: one answer whatever LAPACK's signs and null spaces are."""

from __future__ import annotations

import torch
from torch import Tensor

NULL = 1e-6  # of the largest singular value: below, a direction is rounding and no part of the matrix
TIE = 1e-6  # relative: entries of a vector this close in size are equally large
INDEPENDENT = 1e-3  # length outside a subspace from which a unit vector counts as outside


def sign_of(columns: Tensor) -> Tensor:
    """Per column the sign of its largest entry; of the first one, among equally large ones."""
    size = columns.abs()
    first = (size >= size.amax(0) * (1 - TIE)).to(torch.uint8).argmax(0)
    return columns.gather(0, first[None])[0].sign()


def completed(basis: Tensor, width: int) -> Tensor:
    """Extends orthonormal columns [n,r] to [n,width] with unit vectors, in order, made orthogonal."""
    for i in range(basis.shape[0]):
        if basis.shape[1] == width:
            break
        new = torch.zeros(basis.shape[0], dtype=basis.dtype)
        new[i] = 1
        for _ in range(2):
            new = new - basis @ (basis.T @ new)
        length = new.norm()
        if length > INDEPENDENT:
            basis = torch.cat([basis, (new / length)[:, None]], dim=1)
    return basis


def canonical_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U [m,m], s [k], Vh [k,n] of a matrix [m,n], k = min(m,n), in float64.

    The largest entry of each column of U is positive; directions without a singular value are unit vectors,
    as far as they can be.
    """
    u, s, vh = torch.linalg.svd(matrix.double().cpu(), full_matrices=False)
    rank = int((s > NULL * s[0]).sum())
    sign = sign_of(u[:, :rank])
    left = completed(u[:, :rank] * sign, matrix.shape[0])
    right = completed((vh[:rank] * sign[:, None]).T, len(s)).T
    return left, torch.where(torch.arange(len(s)) < rank, s, 0), right
