"""The attention operators from Python: loading, schemas, shape functions, export and compilation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_aoti import program
from torch.nn.functional import scaled_dot_product_attention

TOKENS, HEADS, SIZE = 320, 2, 32


@pytest.fixture(scope="module")
def ops() -> object:
    torch.ops.load_library(program("libglint_ops.so", "GLINT_OPS"))
    return torch.ops.glint


def tensors(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(1, HEADS, TOKENS, SIZE, generator=generator).to(dtype) for _ in range(3))


def test_schemas_are_the_published_ones(ops: object) -> None:
    assert str(ops.pisa.default._schema) == (
        "glint::pisa(Tensor q, Tensor k, Tensor v, float density=0.14999999999999999, int block_size=64, "
        'str order="hybrid", str selection="covariance", float? scale=None, Tensor? block_indices=None, '
        "int[]? forced_blocks=None) -> Tensor"
    )
    assert str(ops.isa.default._schema) == (
        "glint::isa(Tensor q, Tensor k, Tensor v, int main_length, float density=0.0625, "
        "float context_keep=0.125, float sharp_share=0.5, Tensor? gate=None, float? scale=None, "
        "bool padded_tail=False) -> Tensor"
    )


def test_shape_functions_agree_with_the_kernels(ops: object) -> None:
    checks = ("test_schema", "test_faketensor")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        q, k, v = tensors(dtype)
        torch.library.opcheck(ops.pisa.default, (q, k, v, 0.3), {"block_size": 32}, test_utils=checks)
        torch.library.opcheck(
            ops.pisa_select.default, (q, k, v, 0.3), {"forced_blocks": [-1]}, test_utils=checks
        )
        torch.library.opcheck(
            ops.isa.default, (q, k, v, 128), {"gate": torch.rand(1, TOKENS)}, test_utils=checks
        )
        torch.library.opcheck(ops.isa_plan.default, (q, k, v, 100), test_utils=checks)
        plan = ops.isa_plan(q, k, v, 128)
        torch.library.opcheck(ops.isa.planned, (q, k, v, 128, *plan), test_utils=checks)
        torch.library.opcheck(ops.attention.default, (q, k, v), {"layer": 3}, test_utils=checks)


def test_wrong_arguments_are_named(ops: object) -> None:
    q, k, v = tensors()
    with pytest.raises(RuntimeError, match="density: expected a number in"):
        ops.pisa(q, k, v, 2.0)
    with pytest.raises(RuntimeError, match="order: expected zeroth, hybrid or first, got 'second'"):
        ops.pisa(q, k, v, order="second")
    with pytest.raises(RuntimeError, match="main_length: expected 1 to 320, got 0"):
        ops.isa(q, k, v, 0)


class Network(torch.nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ops.glint.attention(q, k, v, layer=5), torch.ops.glint.pisa(q, k, v, 0.3, 32)


def test_a_network_exports_with_any_token_count(ops: object) -> None:
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    exported = torch.export.export(Network(), tensors(), dynamic_shapes=({2: tokens},) * 3)
    short = tuple(x[:, :, :200] for x in tensors())
    dense, sparse = exported.module()(*short)
    assert torch.equal(dense, scaled_dot_product_attention(*short))
    assert torch.equal(sparse, ops.pisa(*short, 0.3, 32))


def test_a_scripted_network_survives_a_file(ops: object, tmp_path: Path) -> None:
    torch.jit.script(Network()).save(tmp_path / "network.pt")
    dense, _ = torch.jit.load(tmp_path / "network.pt")(*tensors())
    assert torch.equal(dense, scaled_dot_product_attention(*tensors()))


def test_a_compiled_package_calls_the_operators(ops: object, tmp_path: Path) -> None:
    exported = torch.export.export(Network(), tensors())
    # Python does not lend its symbols.
    with torch._inductor.config.patch({"aot_inductor.link_libtorch": True}):
        package = str(tmp_path / "network.pt2")
        package = torch._inductor.aoti_compile_and_package(exported, package_path=package)
    dense, sparse = torch._inductor.aoti_load_package(package)(*tensors())
    assert torch.equal(dense, scaled_dot_product_attention(*tensors()))
    assert torch.equal(sparse, ops.pisa(*tensors(), 0.3, 32))
