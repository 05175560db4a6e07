"""The kernels of the embedding layer's gradient against torch's operations and sums by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from entirespace.kernels.threads import threads, use_threads
from entirespace.training.embedding_kernels import KernelLookups, spread

KERNELS = KernelLookups()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "rows", "width"), [(5000, 700, 18), (1, 1, 3), (300, 10_000, 7), (0, 4, 2)])
def test_lookup_is_index_add(dtype: torch.dtype, n: int, rows: int, width: int, generator: torch.Generator) -> None:
    position = (rows * torch.rand(n, generator=generator) ** 3).long()  # few rows take most ids
    table = torch.randn(rows, width, dtype=dtype, generator=generator).requires_grad_()
    grad = torch.randn(n, width, dtype=dtype, generator=generator)
    x = KERNELS.lookup(table, position)
    x.backward(grad)
    assert torch.equal(x, table[position])
    assert table.grad is not None
    # index_add goes through the ids in their order too
    assert torch.equal(table.grad, torch.zeros_like(table).index_add(0, position, grad))


@pytest.mark.parametrize("weighted", [True, False])
def test_pool_is_embedding_bag(weighted: bool, generator: torch.Generator) -> None:
    lengths = torch.randint(0, 9, (400,), generator=generator)
    lengths[[0, 17, -1]] = 0  # empty bags, first and last among them
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    n = int(offsets[-1])
    position = torch.randint(0, 300, (n,), generator=generator)
    weights = torch.rand(n, generator=generator) if weighted else None
    grad = torch.randn(400, 18, generator=generator)
    mine = torch.randn(300, 18, generator=generator).requires_grad_()
    theirs = mine.detach().clone().requires_grad_()
    x = KERNELS.pool(mine, position, offsets, weights)
    y = F.embedding_bag(position, theirs, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)
    x.backward(grad)
    y.backward(grad)
    assert torch.equal(x, y)
    assert not x[17].any()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_pool_by_hand() -> None:
    """Bags {row 2 twice, row 0} and {}: out is 2 r2 + 3 r2 + 0.5 r0, and 0."""
    out = torch.full((3, 1), 100.0)
    spread(
        torch.tensor([[2.0], [7.0]]),
        torch.tensor([2, 2, 0]),
        out,
        offsets=torch.tensor([0, 3, 3]),
        weights=torch.tensor([2.0, 3.0, 0.5]),
    )
    assert out.tolist() == [[101.0], [100.0], [110.0]]  # added to what was there


def test_the_number_of_threads_changes_nothing(generator: torch.Generator) -> None:
    position = (3000 * torch.rand(50_000, generator=generator) ** 4).long()
    grad = torch.randn(50_000, 18, generator=generator)
    many, sums = threads(), []
    for count in (1, 2, 5):
        use_threads(count)
        sums.append(torch.zeros(3000, 18))
        spread(grad, position, sums[-1])
    use_threads(many)
    assert torch.equal(sums[0], sums[1])
    assert torch.equal(sums[0], sums[2])


def test_gradients_of_views_and_without_gradient(generator: torch.Generator) -> None:
    """A gradient may be a transposed view, and a table may need no gradient."""
    table = torch.randn(5, 4, generator=generator)
    position = torch.tensor([4, 0, 4])
    leaf = table.clone().requires_grad_()
    KERNELS.lookup(leaf, position).backward(torch.arange(12.0).reshape(4, 3).T)
    assert leaf.grad is not None
    assert leaf.grad[4].tolist() == [2, 8, 14, 20]
    assert not KERNELS.lookup(table, position).requires_grad
    assert not KERNELS.pool(table, position, torch.tensor([0, 3]), None).requires_grad
