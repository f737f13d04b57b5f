"""Whether two builds of the program make the same latents, to the bit.

    python tools/golden/same_latents.py run PROGRAM OUT.json [--jobs 2] [--only TEXT]
    python tools/golden/same_latents.py compare A.json B.json [--words]

`run` makes every command of its list with PROGRAM, on one thread, and keeps hashes of the tensors it wrote,
its calls, rows and strategies' figures, or how it was refused. The list has what is written below, every
strategy, rule, filter, attention and solver of `PROGRAM list`, golden runs of tests/data/families, and the
commands of README.md and docs. Models and test data are those of PROGRAM's own tree, whose root is two
folders above PROGRAM's.

`compare` prints what differs and fails if anything does that A has. Refusals in other words are told, and
fail with --words.

Commands are kept in one form, in which --with NAME[:key=value,...] adds a strategy, rule, filter or
attention. A program with an option for each kind is given that, and options of strategies by the names it
knows. Several prompts get --batch 1 where no size is given, since rounding depends on what shares a batch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shlex
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from latent_cases import FAMILIES, OLD_OPTIONS, Record, all_commands, parsed, written

# What tensors of collections were once called.
OLD_TENSORS = {"sigma": "time", "uncond_": "null_"}


def tensors(path: Path) -> dict[str, tuple[Record, bytes]]:
    """The tensors of a safetensors file: what the header says of each, and its bytes."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    ends = {name: said["data_offsets"] for name, said in header.items()}
    return {name: (header[name], content[start + a : start + b]) for name, (a, b) in ends.items()}


def write_tensors(path: Path, named: dict[str, tuple[Record, bytes]]) -> None:
    header, at = {}, 0
    for name, (said, content) in named.items():
        header[name] = {**said, "data_offsets": [at, at + len(content)]}
        at += len(content)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(content for _, content in named.values()))


def row(tensor: tuple[Record, bytes], index: int) -> tuple[Record, bytes]:
    said, content = tensor
    size = len(content) // said["shape"][0]
    return {**said, "shape": said["shape"][1:]}, content[index * size : (index + 1) * size]


class Program:
    """A build of the program, and the folder of what its commands read."""

    def __init__(self, path: Path, inputs: Path) -> None:
        self.path, self.inputs = path.resolve(), inputs
        self.root = self.path.parents[2]
        self.data = self.root / "tests/data/families"
        self.registry = {entry["name"]: entry for entry in json.loads(self.output("list", "--json"))}
        self.help = self.output("generate", "--help")
        inputs.mkdir()
        for family in FAMILIES:
            (inputs / family).symlink_to(self.data / family)
            self.link_bundle(family, "pt2")
            self.write_inputs(family)
        self.link_bundle("sdxl", "released")

    def output(self, *arguments: str) -> str:
        return subprocess.run([self.path, *arguments], check=True, capture_output=True, text=True).stdout

    def link_bundle(self, family: str, manifest: str) -> None:
        """The family's bundle with another manifest."""
        folder = self.inputs / f"{family}-{manifest}"
        folder.mkdir()
        for file in (self.data / family).iterdir():
            if file.name != "model.json":
                (folder / file.name).symlink_to(file)
        (folder / "model.json").symlink_to(self.data / family / f"{manifest}.json")

    def write_inputs(self, family: str) -> None:
        """The golden runs' noise, and the embeddings of a prompt and of the empty one."""
        stored = tensors(self.data / family / "golden.safetensors")
        for name in stored:
            if name.endswith(".noise"):
                write_tensors(self.inputs / f"{family}-{name[:-6]}.safetensors", {"noise": stored[name]})
        empty = "uncond_" if "uncond_tokens" in self.help else "null_"
        made = {}
        for name in ("tokens", "pooled"):
            if f"text.{name}.float32" in stored:
                made[name] = row(stored[f"text.{name}.float32"], 1)
                made[empty + name] = row(stored[f"text.{name}.float32"], 0)
        write_tensors(self.inputs / f"cond-{family}.safetensors", made)

    def arguments(self, command: str) -> list[str]:
        """The command as this build takes it."""
        words = shlex.split(command)
        for i, word in enumerate(words):
            if word == "--with":
                words[i : i + 2] = self.choice(words[i + 1])
        made = ["--latents-out", "latents.safetensors"] if words[0] == "generate" else ["-o", "out"]
        return [*words, *made, "--threads", "1", "--json", "-q"]

    def choice(self, given: str) -> list[str]:
        name, options = parsed(given)
        entry = self.registry.get(name, {"kind": "step", "options": []})
        known = {option["name"] for option in entry["options"]}
        old = {key: old for key, old in OLD_OPTIONS.get(name, {}).items() if key not in known}
        flag = "--with" if "--with" in self.help else f"--{entry['kind']}"
        return [flag, written(name, {old.get(key, key): value for key, value in options.items()})]

    def run(self, command: str) -> Record:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        environment.pop("GLINT_MODELS", None)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for link in (self.inputs, self.root / "models", self.root / "tests"):
                (folder / link.name).symlink_to(link)
            words = [self.path, *self.arguments(command)]
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                error = done.stderr.strip().replace(str(self.root), "ROOT")
                return {"exit": done.returncode, "error": error}
            return result(json.loads(done.stdout), folder)


def result(told: Record, folder: Path) -> Record:
    record: Record = {"tensors": hashes(folder)}
    record |= {name: told[name] for name in ("calls", "rows", "items", "kept") if name in told}
    if told.get("effective_guidance_scale"):
        record["effective_guidance_scale"] = told["effective_guidance_scale"]
    for strategy, figures in told.get("strategies", {}).items():
        record[strategy] = {name: value for name, value in figures.items() if name != "seconds"}
    return record


def hashes(folder: Path) -> dict[str, str]:
    """Hashes of all tensors that were written, by their file and name."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        inside = path.relative_to(folder)
        if inside.parts[0] in ("inputs", "models", "tests"):
            continue
        for name, (said, content) in tensors(path).items():
            shape = f"{said['dtype']} {said['shape']} ".encode()
            found[f"{inside}: {new_tensor(name)}"] = hashlib.sha256(shape + content).hexdigest()
    return dict(sorted(found.items()))


def new_tensor(name: str) -> str:
    for new, old in OLD_TENSORS.items():
        if name == old or (old.endswith("_") and name.startswith(old)):
            return new + name.removeprefix(old)
    return name


def run(arguments: argparse.Namespace) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        program = Program(arguments.program, Path(folder) / "inputs")
        commands = [c for c in all_commands(program.registry, program.data) if arguments.only in c]
        records = {}
        for command, record in zip(commands, pool.map(program.run, commands), strict=True):
            records[command] = record
            print(f"\r{len(records)}/{len(commands)}", end="", file=sys.stderr, flush=True)
    arguments.out.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    refused = sum("error" in record for record in records.values())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"\r{len(records)} commands, {refused} refused, {time.monotonic() - start:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} s of processor time",
        file=sys.stderr,
    )
    return 0


def differences(a: Record, b: Record) -> list[str]:
    """What is not the same of two records, but for the words of a refusal."""
    if a.get("exit", 0) != b.get("exit", 0):
        return [f"exit code {one.get('exit', 0)} {one.get('error', '')}" for one in (a, b)]
    names = sorted({*a, *b} - {"tensors", "error"})
    found = [f"{name}: {a.get(name)} and {b.get(name)}" for name in names if a.get(name) != b.get(name)]
    one, other = a.get("tensors", {}), b.get("tensors", {})
    return found + [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def compare(arguments: argparse.Namespace) -> int:
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.a, arguments.b))
    different = reworded = 0
    for command, record in a.items():
        found = differences(record, b[command]) if command in b else ["only in the first"]
        words = [one.get("error", "") for one in (record, b.get(command, record))]
        if not found and words[0] != words[1]:
            reworded += 1
            found = ["refused in other words", *words]
        elif found:
            different += 1
        if found:
            print("\n    ".join([command, *found]))
    more = [command for command in b if command not in a]
    for command in more:
        print(f"{command}\n    only in the second")
    equal = len(a) - different - reworded
    print(f"{equal} equal, {different} different, {reworded} refused in other words, {len(more)} more")
    return int(different > 0 or (arguments.words and reworded > 0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    uses = parser.add_subparsers(required=True)
    use = uses.add_parser("run", help="run every command with a build of the program")
    use.add_argument("program", type=Path)
    use.add_argument("out", type=Path)
    use.add_argument("--jobs", type=int, default=2, help="commands at once")
    use.add_argument("--only", default="", help="commands that contain this text")
    use.set_defaults(use=run)
    use = uses.add_parser("compare", help="tell what two runs have different")
    use.add_argument("a", type=Path)
    use.add_argument("b", type=Path)
    use.add_argument("--words", action="store_true", help="other words of a refusal are a difference")
    use.set_defaults(use=compare)
    arguments = parser.parse_args()
    return arguments.use(arguments)


if __name__ == "__main__":
    sys.exit(main())
