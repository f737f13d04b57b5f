"""Measures glint, diffusers, torch.compile and OpenVINO on the same networks, in turn.

    PYTHONPATH=tools/export:tools/train python tools/bench/peers.py FOLDER [--networks unet flux ...]
        [--peers glint eager ...] [--threads 1 2] [--rounds 7] [--program glint_bench_run] [--page PAGE]

FOLDER gets the networks, with random weights but for emoji-flow's: unet (864 M parameters, SDXL's kind,
32 x 32 latents, batch 2), flux (FLUX's width, two of its blocks, 1024 + 128 tokens), wan (Wan 1.3B's
width, two blocks, 1024 tokens), emoji-b1 and emoji-b8 (the bundled denoiser for 1 and 8 pictures with
guidance). Every peer is a process of its own that holds the network and its inputs and runs it once for
each line it is sent; the rounds go through the peers one by one, so that other work on the machine slows
all of them alike. Figures are medians of CPU seconds. All run in float32. `--page` writes the table
between the marks in that page.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
NETWORKS = ("unet", "flux", "wan", "emoji-b1", "emoji-b8")
PEERS = ("glint", "glint-plain", "eager", "compile", "openvino")
SHOWN = {
    "glint": "glint",
    "glint-plain": "glint `--pack off`",
    "eager": "diffusers",
    "compile": "torch.compile",
    "openvino": "OpenVINO",
}
TITLES = {
    "unet": "UNet of SDXL's kind, 864 M",
    "flux": "FLUX's shape",
    "wan": "Wan's shape",
    "emoji-b1": "emoji-flow, 1 picture",
    "emoji-b8": "emoji-flow, 8 pictures",
}
BEGIN, END = "<!-- peers -->", "<!-- end of peers -->"

Inputs = tuple[torch.Tensor, ...]


def emoji(pictures: int) -> tuple[torch.nn.Module, Inputs]:
    from glint_train.denoiser import Denoiser

    torch.manual_seed(1)
    stored = torch.jit.load(str(ROOT / "models/emoji-flow/denoiser.pt"))
    module = Denoiser()
    weights = {name: value.float() for name, value in stored.state_dict().items()}
    missing = module.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise SystemExit(f"emoji-flow: no weights for {', '.join(missing)}")
    rows = 2 * pictures  # with and without the prompt
    tokens, pooled = torch.randn(rows, 16, 192), torch.randn(rows, 192)
    return module, (torch.randn(rows, 4, 16, 16), torch.full((rows,), 0.5), tokens, pooled)


def network(name: str) -> tuple[torch.nn.Module, Inputs]:
    """Returns a network and the inputs it is measured with."""
    import attention_models
    import unet

    if name == "unet":
        return unet.network()
    if name.startswith("emoji-b"):
        return emoji(int(name.removeprefix("emoji-b")))
    torch.manual_seed(0)
    module = attention_models.KINDS[name](tiny=False)
    time_step = torch.full((1,), 500.0)
    if name == "flux":
        tokens, pooled = torch.randn(1, 128, 4096), torch.randn(1, 768)
        guidance = torch.full((1,), 3.5)
        return module, (torch.randn(1, 16, 64, 64), time_step, tokens, pooled, guidance, torch.arange(1024))
    return module, (torch.randn(1, 16, 4, 32, 32), time_step, torch.randn(1, 128, 4096), torch.arange(1024))


def archive(folder: Path, name: str) -> Path:
    return folder / f"{name}.pt"


def make(folder: Path, name: str) -> None:
    """Writes the network as TorchScript, with its inputs, unless they are there."""
    from glint_export.archives import write_torchscript

    inputs_file = archive(folder, name).with_suffix(".safetensors")
    if archive(folder, name).exists() and inputs_file.exists():
        return
    module, inputs = network(name)
    write_torchscript(module.eval().requires_grad_(False), inputs, archive(folder, name))
    save_file({str(i): x for i, x in enumerate(inputs)}, inputs_file)


def convert(folder: Path, name: str) -> None:
    """Writes the network in OpenVINO's format, unless it is there."""
    import openvino

    file = archive(folder, name).with_suffix(".xml")
    if not file.exists():
        module, inputs = network(name)
        model = openvino.convert_model(module.eval().requires_grad_(False), example_input=inputs)
        openvino.save_model(model, file, compress_to_fp16=False)


def runner(peer: str, folder: Path, name: str, threads: int) -> Callable[[], torch.Tensor]:
    """Loads the network as a peer runs it."""
    stored = load_file(archive(folder, name).with_suffix(".safetensors"))
    inputs = tuple(stored[str(i)] for i in range(len(stored)))
    if peer == "openvino":
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        compiled = openvino.compile_model(archive(folder, name).with_suffix(".xml"), "CPU", settings)
        arrays = [x.numpy() for x in inputs]
        return lambda: torch.from_numpy(compiled(arrays)[0])
    module = network(name)[0].eval().requires_grad_(False)
    run = torch.compile(module) if peer == "compile" else module
    return lambda: run(*inputs)


def peak_mib() -> float:
    """The most memory this process has had; getrusage counts that of the process it was started by, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def serve(peer: str, folder: Path, name: str, threads: int, output: Path) -> None:
    """What glint_bench_run does, by another peer."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    run = runner(peer, folder, name, threads)
    save_file({"output": run().contiguous()}, output)
    print("ready", flush=True)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(cpu, wall, peak_mib(), flush=True)


class Worker:
    """A peer in a process of its own."""

    def __init__(self, peer: str, name: str, threads: int, options: argparse.Namespace):
        self.peer, self.seconds, self.peak = peer, [], 0.0
        self.output = options.folder / f"{name}.{peer}.safetensors"
        file = archive(options.folder, name)
        if peer.startswith("glint"):
            command = [options.program, file, file.with_suffix(".safetensors"), self.output]
            command += ["--threads", str(threads)] + (["--plain"] if peer == "glint-plain" else [])
        else:
            command = [sys.executable, __file__, options.folder, "--serve", peer, name, str(threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            [str(part) for part in command], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.line("ready")

    def line(self, expected: str = "") -> str:
        line = self.process.stdout.readline().strip()
        while expected and line != expected and self.process.poll() is None:
            line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.peer} ended with {self.process.wait()}")
        return line

    def run(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        cpu, _, peak = map(float, self.line().split())
        self.seconds.append(cpu)
        self.peak = peak

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, threads: int, options: argparse.Namespace) -> list[str]:
    """Measures all peers on one network; returns the rows of the table."""
    workers = []
    for peer in options.peers:
        try:
            workers.append(Worker(peer, name, threads, options))
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    try:
        for _ in range(options.rounds):
            for worker in workers:
                worker.run()
    finally:
        for worker in workers:
            worker.close()
    outputs = {worker.peer: load_file(worker.output)["output"] for worker in workers}
    medians = {worker.peer: statistics.median(worker.seconds) for worker in workers}
    others = [seconds for peer, seconds in medians.items() if not peer.startswith("glint")]
    rows = []
    for worker in workers:
        spread = f"{min(worker.seconds):.3f} to {max(worker.seconds):.3f}"
        difference = "-"
        if "eager" in outputs and worker.peer != "eager":
            reference = outputs["eager"]
            largest = (outputs[worker.peer] - reference).abs().max() / reference.abs().max()
            difference = f"{largest.item():.0e}"
        ratio = f"{medians[worker.peer] / min(others):.2f}" if others else "-"
        rows.append(
            f"| {TITLES[name]} | {threads} | {SHOWN[worker.peer]} | {medians[worker.peer]:.3f} | {spread} "
            f"| {ratio} | {worker.peak:.0f} | {difference} |"
        )
        print(rows[-1], flush=True)
    return rows


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    model = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    return f"{model} with {torch.backends.cpu.get_cpu_capability()}"


def versions(peers: list[str]) -> str:
    packages = ["torch", "diffusers"] + (["openvino"] if "openvino" in peers else [])
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def page_with(page: str, table: str) -> str:
    """Returns a page with the table between the marks replaced."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table}{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/tests/bench/glint_bench_run")
    parser.add_argument("--page", type=Path, help="page to write the table into")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        peer, name, threads = options.serve
        output = options.folder / f"{name}.{peer}.safetensors"
        return serve(peer, options.folder, name, int(threads), output)
    if options.prepare:
        make(options.folder, options.prepare)
        return convert(options.folder, options.prepare) if "openvino" in options.peers else None
    if not options.program.exists():
        parser.error(f"--program: no such file: {options.program}; it is built with -DGLINT_BENCH=ON")
    options.folder.mkdir(parents=True, exist_ok=True)
    table = [
        "| network | threads | run by | CPU s a run | all runs | to the best peer | peak MiB | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in options.networks:
        # In a process of its own, whose memory is free again before the runs.
        prepare = [sys.executable, __file__, options.folder, "--prepare", name, "--peers", *options.peers]
        subprocess.run(prepare, check=True, stdout=sys.stderr)
        for threads in options.threads:
            table += measure(name, threads, options)
    text = f"{processor()}; {versions(options.peers)}; medians of {options.rounds} runs in turn.\n\n"
    text += "\n".join(table) + "\n"
    if options.page:
        options.page.write_text(page_with(options.page.read_text(), text))


if __name__ == "__main__":
    main()
