"""The tools for GPUs, as far as they go without one: kernels compile and do not spill, names are right."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "tests/data/attention"


def tool(name: str) -> ModuleType:
    loader = SourceFileLoader(f"gpu_{name}", str(HERE / name))
    spec = spec_from_loader(loader.name, loader)
    module = module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no CUDA toolkit")
def test_kernels_compile_for_one_architecture_without_spills() -> None:
    command = [sys.executable, HERE / "kernels", "--arch", "86"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| AttendMma")]
    loops = [line for line in lines if line.count("|") == 11]
    assert len(lines) == 8
    assert len(loops) == 4
    # A tile of 64 keys: 4 * d / 16 steps times two products of 4 warps, all in one loop.
    assert {int(line.split("|")[3]) for line in loops} == {64, 128}


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("NS1_9AttendMmaINS1_8BFloat16ELi128ELi2ELi1EEE", "AttendMma BFloat16 128 2 1"),
        ("NS1_11AttendPlainIfLi64EEE", "AttendPlain float 64"),
        ("NS1_4PoolINS1_4HalfEEE", "Pool Half"),
        ("NS1_4RankE", "Rank"),
    ],
)
def test_kernels_are_called_by_their_names(mangled: str, name: str) -> None:
    entry = f"_ZN5glint3ops4cuda5entryI{mangled}EEvNT_6ParamsE"
    assert tool("kernels").demangled(entry) == name


def test_instructions_are_counted_in_the_innermost_loop_with_products() -> None:
    sass = """
        .text.f:
.L_x_0:
        /*0000*/                   FADD R1, R1, R2 ;
.L_x_1:
        /*0010*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0020*/                   LDSM.16.M88.4 R8, [R2] ;
        /*0030*/              @!P0 BRA `(.L_x_1) ;
        /*0040*/               @P1 BRA `(.L_x_0) ;
        /*0050*/                   EXIT ;
"""
    kernels = tool("kernels")
    ((name, lines),) = kernels.functions(sass)
    assert name == "f"
    assert kernels.inner_loop(lines) == {"HMMA": 1, "LDSM": 1, "BRA": 1}


def test_roofline_counts_dense_attention_as_its_products() -> None:
    flop, approximate, dense, traffic = tool("kernels").work(64 * 100, 128, 1.0)
    assert dense == 4 * 6400**2 * 128
    assert flop - approximate == dense
    assert traffic > 14 * 6400 * 128


def test_check_reads_the_recorded_cases() -> None:
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    file = DATA / "pisa_15_n320_d64_fp16.safetensors"
    mine, theirs = tool("check").read_safetensors(file), load_file(file)
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(theirs[name]) for name in theirs)
