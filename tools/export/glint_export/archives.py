"""Component files without source paths: TorchScript archives, exported programs, compiled packages."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch._export.serde import serialize

SUFFIX = {"torchscript": ".pt", "pt2": ".pt2", "aoti": ".pt2"}
TRIM_AFTER = 1 << 28  # bytes copied
WRITTEN_BY_THE_WRITER = ("version", ".data/serialization_id")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def give_memory_back() -> None:
    """Modules lie in cycles, and glibc keeps the blocks of what is freed if they are smaller than 32 MB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def strip(source: Path, target: Path) -> None:
    """Copies a TorchScript archive record by record, without debug records (source paths) or examples."""
    reader = torch._C.PyTorchFileReader(str(source))
    writer, copied = torch._C.PyTorchFileWriter(str(target)), 0
    for name in reader.get_all_records():
        if name.endswith(".debug_pkl") or "traced_inputs" in name or name in WRITTEN_BY_THE_WRITER:
            continue
        record = reader.get_record(name)
        writer.write_record(name, record, len(record))
        copied += len(record)
        del record
        if copied > TRIM_AFTER:
            give_memory_back()
            copied = 0
    writer.write_end_of_file()


@contextlib.contextmanager
def unfused_attention() -> Iterator[None]:
    """Keeps the fast path of nn.MultiheadAttention, which tracing cannot follow, off."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def write_torchscript(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    with torch.no_grad(), unfused_attention():
        traced = torch.jit.trace(module, example, check_trace=False)
    whole = path.with_suffix(".tmp")
    torch.jit.save(traced, str(whole))
    strip(whole, path)
    whole.unlink()


def program(module: nn.Module, example: tuple[Tensor, ...], shapes: object) -> torch.export.ExportedProgram:
    with torch.no_grad(), unfused_attention():
        exported = torch.export.export(
            module,
            example,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    # Assertions about sizes are Python expressions, which the library cannot interpret.
    graph = exported.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    exported.graph_module.recompile()
    for graph in exported.graph_module.modules():
        for node in getattr(getattr(graph, "graph", None), "nodes", []):
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
                node.meta.pop(key, None)
    return exported


@contextlib.contextmanager
def weights_once() -> Iterator[None]:
    """Keeps torch.export.save from pickling, in memory, all weights that it has written, for nobody."""
    pickled = serialize.serialize_torch_artifact

    def without_weights(artifact: object, *options: object) -> bytes:
        return b"" if isinstance(artifact, dict) else pickled(artifact, *options)

    with mock.patch.object(serialize, "serialize_torch_artifact", without_weights):
        yield


def call_our_attention(exported: torch.export.ExportedProgram) -> None:
    """Replaces attention by calls of the loaded glint_ops library, numbered in order.

    Compiled code cannot be changed later.
    """
    layer = 0
    for node in exported.graph_module.graph.nodes:
        if node.target is torch.ops.aten.scaled_dot_product_attention.default:
            node.target = torch.ops.glint.attention.default
            node.kwargs = dict(node.kwargs) | {"layer": layer}
            layer += 1
    exported.graph_module.recompile()


def write(
    module: nn.Module,
    example: tuple[Tensor, ...],
    shapes: object,
    path: Path,
    backend: str,
    sparse: bool = False,
) -> None:
    """Writes one component. `shapes` are torch.export's dynamic shapes; tracing needs none.

    `sparse` is for compiled packages: their attention obeys a policy, and they need the operators where they
    run. The library changes the attention of the other backends when it loads them.
    """
    if backend == "torchscript":
        write_torchscript(module, example, path)
    elif backend == "pt2":
        exported = program(module, example, shapes)
        exported._example_inputs = None  # not needed to run, only large
        with weights_once():
            torch.export.save(exported, str(path))
    else:
        exported = program(module, example, shapes)
        if sparse:
            call_our_attention(exported)
        # Linked with libtorch.so a package would need the CUDA libraries, which a CPU set-up does not have.
        torch._inductor.config.aot_inductor.link_libtorch = False
        torch._inductor.aoti_compile_and_package(exported, package_path=str(path))


def load(path: Path, backend: str) -> nn.Module:
    """A stored component as something to call with tensors."""
    if backend == "torchscript":
        return torch.jit.load(str(path))
    if backend == "pt2":
        return torch.export.load(str(path)).module()
    # The package expects torch's symbols in the program, where a Python process keeps them apart.
    ctypes.CDLL(str(Path(torch.__file__).parent / "lib/libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    return torch._inductor.aoti_load_package(str(path))
