"""Makes the tiny deterministic network components that the model tests load.

    python tools/golden/modules.py [folder]        (default: tests/data/modules)

Every component comes with inputs and PyTorch's outputs for them (expected.safetensors), at two batch sizes
and resolutions. Nothing is trained: weights are drawn from a seeded generator.
"""

import copy
import io
import json
import math
import re
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

CHANNELS, WIDTH, TOKEN_DIM, POOLED_DIM = 4, 8, 16, 8
WORDS = ["red", "blue", "small", "star", "circle", "a", "above"]


class Denoiser(nn.Module):
    """Convolution, time and pooled modulation, one cross attention, convolution."""

    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(CHANNELS, WIDTH, 3, padding=1)
        self.time = nn.Linear(WIDTH, WIDTH)
        self.pooled = nn.Linear(POOLED_DIM, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(TOKEN_DIM, WIDTH)
        self.value = nn.Linear(TOKEN_DIM, WIDTH)
        self.out = nn.Conv2d(WIDTH, CHANNELS, 3, padding=1)
        # An integer buffer, like position ids: it stays an integer whatever the weights are converted to.
        self.register_buffer("positions", torch.arange(WIDTH // 2))

    def forward(self, latents, time, tokens, pooled):
        angles = time.unsqueeze(1) * torch.exp2(-self.positions.to(time.dtype))
        hidden = self.into(latents)
        shift = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.pooled(pooled)
        hidden = nn.functional.silu(hidden + shift.unsqueeze(2).unsqueeze(3))
        queries = self.query(hidden.flatten(2).transpose(1, 2)).unsqueeze(1)
        keys, values = self.key(tokens).unsqueeze(1), self.value(tokens).unsqueeze(1)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        hidden = hidden + attended.squeeze(1).transpose(1, 2).reshape(hidden.shape)
        return self.out(hidden)


class TextEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 2, TOKEN_DIM)
        self.pool = nn.Linear(TOKEN_DIM, POOLED_DIM)

    def forward(self, ids):
        tokens = self.words(ids)
        weight = (ids != 0).to(tokens.dtype).unsqueeze(2)
        mean = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)
        return tokens, self.pool(mean)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 12, 1)

    def forward(self, latents):
        return torch.tanh(nn.functional.pixel_shuffle(self.conv(latents), 2))


class Products(nn.Module):
    """Linear layers that are large enough to be packed, before each activation, and one that is not.

    Row i of a weight is values i, i + 1, ... of one list, which is all that the file holds.
    """

    WIDTH = 1024

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name in ("up", "gate", "mix", "out", "small"):
            inputs, outputs = (WIDTH, self.WIDTH) if name == "small" else (self.WIDTH, self.WIDTH)
            layer = nn.Linear(inputs, outputs, bias=name != "gate")
            values = torch.randn(inputs + outputs - 1, generator=generator) / math.sqrt(inputs)
            layer.weight = nn.Parameter(values.half().float().as_strided((outputs, inputs), (1, 1)))
            if layer.bias is not None:
                layer.bias.data = torch.randn(outputs, generator=generator).half().float()
            setattr(self, name, layer)
        self.eval().requires_grad_(False)

    def forward(self, x):
        up = nn.functional.gelu(self.up(x)) * nn.functional.gelu(self.gate(x), approximate="tanh")
        return self.out(nn.functional.silu(self.mix(up))) + self.small(x.narrow(-1, 0, WIDTH))


def seeded(module, seed):
    """Draws the weights, rounded to values that half precision holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            bound = 1 / math.sqrt(max(parameter[0].numel(), 1))
            parameter.copy_(
                (torch.rand(parameter.shape, generator=generator) * 2 - 1).mul(bound * 2).half().float()
            )
    return module.eval().requires_grad_(False)


def halve(module):
    """Stores floating-point weights in half precision; the traced graph stays as it was."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.half()
    return module


def without_debug_records(data):
    """Returns a TorchScript archive without *.debug_pkl records, which hold source paths, and examples."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    out = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    written_by_the_writer = ("version", ".data/serialization_id")
    for name in reader.get_all_records():
        kept = not name.endswith(".debug_pkl") and "traced_inputs" not in name
        if kept and name not in written_by_the_writer:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return out.getvalue()


def torchscript(module, inputs, half=False):
    with torch.no_grad():
        traced = torch.jit.trace(copy.deepcopy(module) if half else module, inputs, check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(halve(traced) if half else traced, buffer)
    return without_debug_records(buffer.getvalue())


def frozen(module, inputs):
    """As torch.jit.freeze leaves it: the weights are constants."""
    with torch.no_grad():
        traced = torch.jit.trace(copy.deepcopy(module).eval(), inputs, check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(traced), buffer)
    return without_debug_records(buffer.getvalue())


def exported(module, inputs, dynamic_shapes):
    program = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes)
    for graph in program.graph_module.modules():
        for node in getattr(getattr(graph, "graph", None), "nodes", []):
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
                node.meta.pop(key, None)
    # The example inputs are not needed to run, only large.
    program._example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def check_no_paths(name, data):
    """Fails if an archive names a source file of the machine that made it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.namelist():
            found = re.search(rb"(/[A-Za-z0-9_.-]+){2,}\.py|/(home|tmp|work|root|usr)/", archive.read(entry))
            if entry.endswith(".debug_pkl") or found:
                raise SystemExit(f"{name}: {entry} holds a source path: {found}")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    denoiser, encoder, decoder = seeded(Denoiser(), 1), seeded(TextEncoder(), 2), seeded(Decoder(), 3)
    generator = torch.Generator().manual_seed(4)
    expected = {}

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    for label, batch, height, width, length in (("a", 2, 8, 8, 5), ("b", 3, 10, 6, 7)):
        inputs = (
            draw(batch, CHANNELS, height, width),
            torch.rand(batch, generator=generator),
            draw(batch, length, TOKEN_DIM),
            draw(batch, POOLED_DIM),
        )
        names = (f"{label}.{name}" for name in ("latents", "time", "tokens", "pooled"))
        expected.update(zip(names, inputs))
        expected[f"{label}.output"] = denoiser(*inputs)
        if label == "a":
            example = inputs
            expected["a.image"] = decoder(inputs[0])
    ids = torch.tensor([[2, 5, 6, 0, 0, 0, 0, 0], [3, 1, 8, 7, 4, 2, 5, 0]])
    expected["ids"] = ids
    expected["encoder.tokens"], expected["encoder.pooled"] = encoder(ids)

    batch, height, width, length = (
        torch.export.Dim(name, max=256) for name in ("batch", "height", "width", "length")
    )
    dynamic = ({0: batch, 2: height, 3: width}, {0: batch}, {0: batch, 1: length}, {0: batch})
    files = {
        "denoiser.pt": torchscript(denoiser, example, half=True),
        "denoiser_frozen.pt": frozen(denoiser, example),
        "denoiser.pt2": exported(denoiser, example, dynamic),
        "text_encoder.pt": torchscript(encoder, (ids,), half=True),
        "vae_decoder.pt": torchscript(decoder, (example[0],), half=True),
        "products.pt": torchscript(Products(5), (torch.zeros(2, 3, Products.WIDTH),)),
    }
    for name, data in files.items():
        check_no_paths(name, data)
        (folder / name).write_bytes(data)
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    words = {word: i + 2 for i, word in enumerate(WORDS)}
    tokenizer = {"version": 1, "type": "words", "pad": 0, "unknown": 1, "max_tokens": 8, "words": words}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:8d}  {path.name}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "tests/data/modules")
