"""The commands by which same_latents.py compares two builds of the program."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("sdxl", "sd3", "flux", "wan")
PROMPT, FAMILY_PROMPT = "red apple", "a small golden fox in the snow"
OLD_FLAGS = ("--rule", "--filter", "--step", "--noise", "--attention")
# What options of strategies were once called.
OLD_OPTIONS = {
    "isa": {"density": "sparsity"},
    "rf-sampling": {"uncond": "null"},
    "reflect": {"uncond": "null"},
}

# What each model is called with where a line of LINES does not say it.
DEFAULTS = {
    **dict.fromkeys(("emoji-flow", "emoji-xl", "emoji-flow-distilled"), f"'{PROMPT}' --steps 6"),
    **dict.fromkeys(("sdxl", "sd3", "flux"), f"'{FAMILY_PROMPT}' --steps 6 --width 32 --height 24"),
    "sdxl-released": f"'{FAMILY_PROMPT}' --steps 6 --width 16 --height 16",
    "wan": f"'{FAMILY_PROMPT}' --steps 6 --width 48 --height 32 --frames 5",
}

# {a|b} in a line stands for one with each.
LINES = {
    "emoji-flow": """
{|--guidance {0|1|7.5}|--negative 'blue sky' --seed 7 --steps 2|--negative '' --guidance 4 --steps 1}
'' --guidance 3 --negative apple --count 3 --batch {1|2|8}
'red apple' 'blue heart' --batch 1 {--count 2 --negative dark --trajectory-out t.safetensors|--lora strong}
'red apple' 'blue heart' --batch 1 --with {golden-noise --with tdg|stability-selection:candidates=2,steps=2}
'red apple' 'blue heart' --batch 1 --with {apg:momentum=-0.5 --with rf-sampling|core2|reward-selection:keep=0}
'red apple' 'blue heart' --batch 1 --solver dpmpp-2m-sde --with w2sd:weak_prompt=apple
--effective-guidance {--with z-sampling --trajectory-out t.safetensors|--guidance 1|--count 3 --batch 2}
--lora strong:0.5 {--lora weak:-1.2|--with rf-sampling --with core2}
--lora strong:0.5 --with w2sd:adapter=strong,strong_adapter=1.5,weak_adapter=-1.5
--count 3 --batch 2 --with {z-sampling:form=direct|stability-selection:candidates=5,steps=2|apg:momentum=-0.5}
--count 3 --batch 2 --with {reward-selection:candidates=2|w2sd:weak_model=weak_denoiser}

--with z-sampling:guidance_forward=5,guidance_inverse=-0.5 --with apg:eta=0.3,threshold=1
--with z-sampling:guidance_inverse=1,branches=legacy-both --with apg:threshold=0,scale=4,momentum=0.5
--with z-sampling:guidance_inverse=1,legacy=true --with apg:space=raw
--with z-sampling:guidance_inverse=1,form=direct --with apg:form=diffusers,momentum=-0.7
--with z-sampling:guidance_inverse=1,repeats=2,merge=0.5 --with mambo-g:scale=6,alpha=2
--with z-sampling:guidance_inverse=1,span=3,start=0.2,stop=0.7,merge=-0.5 --with fdg:low_scale=1,parallel=0.5
--with z-sampling:evaluation=source --with tdg:gamma=1.2,beta=0.5,degrade=channels
--with z-sampling:evaluation=linear-prev --with interval:start=0.2,stop=0.8
--with z-sampling:evaluation=fixed-point,iterations=3 --with rescale:phi=1
--with z-sampling:coefficients=legacy-shifted --with dynamic:power=1
--with z-sampling:form=direct,span=2,repeats=2,merge=0.7,start=0.4,guidance_forward=4 --with tcfg:scale=4
--with w2sd:weak_model=weak_denoiser,legacy=true,repeats=2 --with autoguidance:scale=3,cfg_scale=2
--with w2sd:weak_model=weak_denoiser,form=direct,weak_guidance=unset --with interval:sigma_min=0.3,sigma_max=3
--with w2sd:strong_model=weak_denoiser,strong_guidance=4,branches=legacy-both --with cfg-zero-star
--with w2sd:weak_prompt=,form=direct --with cfg-schedule:scales=5x2+2x2+0
--with 'w2sd:strong_prompt=a small red apple,weak_prompt=apple,strong_guidance=2' --with tdg:seed=3,scale=2
--with w2sd:adapter=strong,strong_adapter=1.5,weak_adapter=1,{form=direct|other_adapter=weak,repeats=2}
--with rf-sampling:forward_scale=0.5,inverse_scale=-0.2,{legacy=true|form=direct|span=2,repeats=2,merge=1}
--with rf-sampling:forward_scale=0.5,forward_null_mix=0.1,inverse_scale=-0.3,inverse_null_mix=0.4
--with rf-sampling:forward_scale=0.5,{coefficients=legacy-upper|evaluation=fixed-point,start=0.3}
--with rf-sampling:forward_scale=0.5,uncond=legacy-prompt{|,form=direct}
--with reflect:weak_guidance=0,forward_scale=0.3,inverse_scale=-0.3,{form=direct|uncond=legacy-prompt,span=2}
--with reflect:forward_null_mix=0.5,forward_scale=0.4,inverse_null_mix=0.6,inverse_scale=-0.4
--with reflect:weak_model=weak_denoiser,evaluation=fixed-point,weak_guidance=unset
--with z-core2:{guidance_forward=5,gap_scale=0.7|guidance_final=3,start=0.3|form=direct|legacy=true,span=2}

--with stability-selection:steps=2,evaluation=fixed-point,inversion_iterations=3,batch=2,guidance=1
--with stability-optimization:iterations=2,steps=2,{gradient=perturbation|evaluation=source}
--with stability-optimization:iterations=2,steps=2,keep_norm=false,learning_rate=10,momentum=0.9,guidance=1
--with reward-selection:candidates=3,{prune_at=0|prune_at=1|prune_at=0.3,keep=0.7,scorer=scorer}
--with golden-noise:amount=0.5 --with cfg:scale={0|1},branches=legacy-both
--with apg:scale=10,eta=0,threshold=10,momentum=-0.5,warmup_steps=3,warmup_scale=2,form=diffusers,space=raw
--with perturbation:weak_model=weak_denoiser,{stop=1,perturbation_scale=1|scale=2,stop=0.5,adaptive_scale=0.5}
--with {core2:slow_steps=2,gap_scale=0.5,scale=4|cfg-zero-star:zero_steps=0|cfg-zero-star:zero_steps=2}
--with {pisa|isa}:min_tokens=1,first_dense_layers=0 {--with z-sampling|--with tdg}
--with pisa:min_tokens=1,first_dense_layers=2,block_size=8,density=0.5,order={zeroth|first,stop=0.5}

--with interval:stop=0.7 --with rescale --with apg:eta=0 --with z-sampling
--with {rescale:phi=0.5 --with dynamic|apg --with dynamic --with rescale:phi=0.5} --with z-sampling:span=2
--with {tdg|core2:slow_steps=2|autoguidance} --with dynamic --with z-sampling
--with apg:momentum=-0.5 --with {rf-sampling|w2sd:strong_guidance=4} --with interval:stop=0.7
--with z-sampling:guidance_inverse=1 --with {fdg|cfg-schedule:scales=4x3+2|rf-sampling --with golden-noise}
--with rf-sampling{|:form=direct --with z-sampling:form=direct} --with apg --with z-sampling
--with {z-sampling:form=direct --with w2sd:weak_model=weak_denoiser|w2sd:strong_guidance=4 --with z-core2}
--with {golden-noise --with reward-selection:candidates=2|reward-selection:candidates=2 --with golden-noise}
--with stability-selection:candidates=2,steps=2 --with golden-noise --with tdg --with rescale:phi=0.5
--with reward-selection:candidates=2 --with {apg:momentum=-0.5 --with core2|z-sampling --with dynamic}
--solver {unipc|dpmpp-2m-sde} --with z-sampling:{start=0.2,stop=0.6|form=direct}
--solver {cfgpp:order=2 --guidance 0.6|cfgpp:eta=1 --guidance 0.6|flow-euler --schedule exponential:shift=2}
--solver {cfgpp|unipc} --with rescale --with apg:scale=1 --with interval:stop=0.5
""",
    "emoji-xl": """
{|--guidance {0|5} --negative blue|--effective-guidance --count 3 --batch 2}
'red apple' 'blue heart' --batch 1 --with z-sampling --with apg:momentum=-0.5
--solver {cfgpp:order=2 --guidance 0.5|cfgpp:eta=1|ddim:eta=0.7|dpmpp-2m --schedule linspace}
--with z-sampling:guidance_inverse=1,evaluation=source --with apg:space=raw,momentum=-0.5
--with z-sampling:{form=direct|legacy=true} --with mambo-g
--with z-sampling:start=0.2,evaluation={fixed-point|linear-prev} --with interval:sigma_min=0.5,sigma_max=5
--with w2sd:{weak_prompt=apple,weak_guidance=unset|strong_guidance=4,legacy=true}
--with rf-sampling:forward_scale=0.5,inverse_scale=-0.2,{start=0.2|form=direct|legacy=true}
--with {tdg:degrade=channels|fdg --with rescale|tcfg --with dynamic|cfg-zero-star:zero_steps=0}
--with stability-{selection:candidates=5,steps=3|optimization:iterations=1,steps=2}
""",
    "emoji-flow-distilled": """
{|--guidance {0|6}|--effective-guidance}
'red apple' 'blue heart' --batch 1 --with rf-sampling
--with cfg:scale={0|2.5} --negative blue
--with {apg:scale=3 --with interval:stop=0.5|tdg:scale=2 --with rescale}
--with z-sampling{:guidance_forward=5,guidance_inverse=0|:form=direct|:legacy=true| --with cfg:scale=2}
--with w2sd:{strong_guidance=5,weak_guidance=1|weak_prompt=apple,weak_guidance=unset}
--with rf-sampling:{legacy=true|form=direct|uncond=legacy-prompt,span=2}
""",
    "sdxl": r"""
--solver ddim --guidance 5.5 --with z-sampling:{repeats=2|legacy=true|evaluation=fixed-point,iterations=3}
--solver ddim --lora inputs/sdxl/lora-kohya.safetensors:0.8 \
  --with w2sd:adapter=lora-kohya,strong_adapter=1.5,weak_adapter=-1.5{|,legacy=true|,form=direct}
--lora inputs/sdxl/lora-peft.safetensors:0.7 --lora inputs/sdxl/lora-kohya.safetensors:-0.4
--solver {ddim --with tdg:degrade=channels|euler --schedule exponential:spacing=linspace --with mambo-g}
--with pisa:min_tokens=1,first_dense_layers=0,density=0.3 --width 64 --height 64
""",
    "sd3": """
--guidance 4.5 --with z-sampling:guidance_inverse=0.5,{evaluation=linear-prev|legacy=true,start=0.2}
--guidance 4.5 --with rf-sampling:forward_scale=9,inverse_scale=-1,{span=2|legacy=true}
--lora inputs/sd3/lora-peft.safetensors:0.8 --with w2sd:adapter=lora-peft,strong_adapter=1.5,weak_adapter=-1.5
--with {cfg-zero-star:zero_steps=2|tdg:degrade=channels}
--width 96 --height 96 --with pisa:min_tokens=1,first_dense_layers=0,{reorder=false|density=0.4,start=0.5}
--width 96 --height 96 --with pisa:min_tokens=1,first_dense_layers=1,{order=first,selection=mean|order=zeroth}
--width 96 --height 96 --with pisa:min_tokens=1,first_dense_layers=1,selection=variance,block_size=32,stop=0.7
""",
    "flux": """
{--guidance 1|--guidance 6 --solver unipc|--schedule default:shift=2 --solver dpmpp-2m}
--with rf-sampling:{legacy=true,span=2,merge=0.5|form=direct|uncond=legacy-prompt}
--with z-sampling:guidance_forward=5,guidance_inverse=1
--with cfg:scale=2.5 --negative blurry --with {rf-sampling|z-sampling --with rescale}
--lora inputs/flux/lora-peft.safetensors:0.5 --lora inputs/flux/lora-kohya.safetensors:0.5
--lora inputs/flux/lora-peft.safetensors --with w2sd:adapter=lora-peft,strong_adapter=1.5,weak_adapter=-1.5
--width 96 --height 96 --with pisa:min_tokens=1,first_dense_layers=0{|,reorder=false}
""",
    "wan": r"""
{--frames {1|9}|--schedule default:shift=5 --solver dpmpp-2m}
--with rf-sampling:forward_scale=9,inverse_scale=-1,legacy=true --solver flow-euler
--lora inputs/wan/lora-published.safetensors:0.8 \
  --with w2sd:adapter=lora-published,strong_adapter=1.5,weak_adapter=-1.5
--with {cfg-zero-star|tdg:degrade=channels|stability-selection:candidates=5,steps=2 --frames 1}
--width 256 --height 256 --with pisa:min_tokens=1,first_dense_layers=0
--width 256 --height 256 --with isa:min_tokens=1,first_dense_layers=0,{density=0.6|sharp_share=0.2|start=0.4}
--width 256 --height 256 --with isa:min_tokens=1,first_dense_layers=0,{context_keep=0.9|main_length=128}
""",
    "sdxl-released": """
--with core2:slow_steps=2,text={columns|legacy-rows} --negative blurry
--with z-core2:text=columns,gap_scale=0.7
--with golden-noise:svd_attention={true|false}
--with golden-noise:amount=0.5 --with core2:slow_steps=2 --count 3 --batch 2
""",
}

# Of every family, then of its bundle whose denoiser is an exported program.
FAMILY_LINES = """
{|--seed 5 --negative blurry --count 3 --batch {1|2}|--guidance 2 --effective-guidance}
--cond-in inputs/cond-@.safetensors {--count 2 --batch 1|--with rf-sampling:forward_scale=0.5}
'a fox' 'a red apple on a table' --batch 1 --negative blurry --with z-sampling
--with {z-sampling:form=direct|reflect:forward_scale=0.3,weak_guidance=unset} --with fdg:parallel=0.5
--with apg:eta=0,momentum=-0.5,space=raw --with interval:stop=0.5 --with rescale
--with stability-optimization:iterations=1,steps=2
"""
EXPORTED_LINES = """
--count 3 --batch 2 --negative blurry --with rf-sampling
--cond-in inputs/cond-@.safetensors --with z-sampling
--with stability-optimization:iterations=1,steps=2,gradient=perturbation
"""

# Of a flow model and of variance-preserving ones; what does not apply to a solver is left out.
SCHEDULES = {
    "emoji-flow": ("default:shift=2",),
    "emoji-xl": ("",),
    "sdxl": ("leading:terminal=sigma_min,steps_offset=0", "karras:rho=5,spacing=trailing"),
}

# What does not run with its defaults, does nothing in few steps, or would take long.
ENOUGH = {
    "w2sd": "w2sd:strong_guidance=4",
    "perturbation": "perturbation:weak_model=weak_denoiser,stop=1",
    "stability-selection": "stability-selection:candidates=5,steps=2",
    "stability-optimization": "stability-optimization:iterations=3,steps=2",
    "pisa": "pisa:min_tokens=1,first_dense_layers=0,block_size=16",
    "isa": "isa:min_tokens=1,first_dense_layers=0",
}

# Given whole: noise from a file, and refusals.
OTHERS = """
generate 'a fox' --model inputs/sdxl --noise-in inputs/sdxl-euler-8.safetensors --steps 5 --batch {1|2}
generate 'a fox' 'a hen' --model inputs/sd3 --noise-in inputs/sd3-flow-euler-8.safetensors --steps 5 --batch 1
generate 'a fox' --model inputs/wan --noise-in inputs/wan-unipc-shift3-1f-8.safetensors --steps 5
generate 'red apple' --with {z-samplin|cfg:scales=2|apg --with cfg|perturbation|interval:start=2}
generate 'red apple' --with {w2sd:weak_guidance=unset|cfg:scale=2 --guidance 3|cfg-schedule:scales=x}
generate 'red apple' {--solver cfgpp --guidance 2|--schedule leading|--solver unipc --schedule karras}
generate 'red apple' --model emoji-xl --{solver flow-euler|with cfg-zero-star|with core2|steps 0}
generate 'a fox' --model inputs/sdxl-pt2 --{lora inputs/sdxl/lora-sgm.safetensors|with stability-optimization}
generate 'a fox' --model inputs/sdxl-released --width 32 --with golden-noise
generate --model emoji-flow
"""

COLLECT = """
collect trajectories {|--seed 9 --count 2 --batch 1|--stored float32 --negative blue --solver unipc}
collect trajectories --model emoji-xl --solver euler --schedule linspace --guidance 4
collect trajectories --model inputs/sdxl --width 32 --height 24 --stored float32 --shard 1
collect noise-pairs {|--guidance-forward 5 --guidance-inverse 0 --margin -1|--span 2 --merge 0.5 --repeats 2}
collect noise-pairs --margin -9 --stored float32 --evaluation {linear-prev|fixed-point --iterations 3}
collect noise-pairs --margin -9 --stored float32 --coefficients legacy-shifted --count 3 --batch 2 --shard 4
"""

Record = dict[str, Any]


def expanded(lines: str) -> Iterator[str]:
    """The lines, with each alternative of their braces."""
    for line in filter(None, map(str.strip, lines.replace("\\\n", "").splitlines())):
        yield from alternatives(line)


def alternatives(line: str) -> Iterator[str]:
    found = re.search(r"\{([^{}]*)\}", line)
    if not found:
        yield line
        return
    for one in found[1].split("|"):
        yield from alternatives(line[: found.start()] + one + line[found.end() :])


def completed(line: str, model: str, defaults: str) -> str:
    """A command: the line with the prompt, the model and whatever else it does not say."""
    words, said = shlex.split(line), shlex.split(defaults)
    prompts = [] if "--cond-in" in words or (words and not words[0].startswith("--")) else said[:1]
    command = ["generate", *prompts, *words, "--model", model]
    for flag, value in zip(said[1::2], said[2::2], strict=True):
        command += [flag, value] if flag not in words else []
    return normal(shlex.join(command))


def normal(command: str) -> str:
    """The command in the one form, without outputs, and with --batch where there are several prompts."""
    words, kept = shlex.split(command), []
    while words:
        word = words.pop(0)
        if word in ("-o", "--output", "--sheet", "--enlarge", "--fps"):
            words.pop(0)
        elif word in OLD_FLAGS or word == "--with":
            kept += ["--with", new_options(words.pop(0))]
        elif word == "-m":
            kept.append("--model")
        elif word not in ("--json", "-q", "--quiet"):
            kept.append(word)
    prompts = [*(i for i, word in enumerate(kept) if word.startswith("-")), len(kept)][0] - 1
    if kept[0] == "generate" and prompts > 1 and "--batch" not in kept:
        kept += ["--batch", "1"]
    return shlex.join(kept)


def new_options(choice: str) -> str:
    name, options = parsed(choice)
    new = {old: key for key, old in OLD_OPTIONS.get(name, {}).items()}
    return written(name, {new.get(key, key): value for key, value in options.items()})


def parsed(choice: str) -> tuple[str, dict[str, str]]:
    name, _, options = choice.partition(":")
    pairs = (option.partition("=") for option in options.split(",") if option)
    return name, {key: value for key, _, value in pairs}


def written(name: str, options: dict[str, str]) -> str:
    return name + ":" * bool(options) + ",".join(f"{key}={value}" for key, value in options.items())


def documented() -> Iterator[str]:
    """The commands of README.md and docs that make something."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in page.read_text(encoding="utf-8").splitlines():
            found = re.match(r"\s*(?:\./|build/\S+/)glint ((?:generate|collect) .*)", line)
            if found:
                yield normal(shlex.join(shlex.split(found[1], comments=True)))


def golden(data: Path) -> Iterator[str]:
    """The short golden runs of diffusers on the tiny families, from the noise that they had."""
    for family in FAMILIES:
        cases = json.loads((data / family / "golden.json").read_text())["cases"]
        for case in (case for case in cases if case["steps"] < 20):
            command = ["generate", FAMILY_PROMPT, "--model", f"inputs/{family}"]
            command += ["--noise-in", f"inputs/{family}-{case['name']}.safetensors"]
            for name in ("steps", "solver", "guidance", "negative"):
                command += [f"--{name}", str(case[name])] if case[name] is not None else []
            schedule = [f"{name}={case[name]}" for name in ("spacing", "sigmas", "shift") if case[name]]
            command += ["--schedule", "default:" + ",".join(schedule)] if schedule else []
            command += ["--with", f"cfg:scale={case['true_guidance']}"] if case["true_guidance"] else []
            yield shlex.join(command)


def of_families(data: Path) -> Iterator[str]:
    for family in FAMILIES:
        for lora in sorted((data / family).glob("lora-*.safetensors")):
            line = f"--lora inputs/{family}/{lora.name}:-0.7"
            yield completed(line, f"inputs/{family}", DEFAULTS[family])
        for line in expanded(FAMILY_LINES.replace("@", family)):
            yield completed(line, f"inputs/{family}", DEFAULTS[family])
        for line in expanded(EXPORTED_LINES.replace("@", family)):
            yield completed(line, f"inputs/{family}-pt2", DEFAULTS[family])


def of_registry(registry: dict[str, Record]) -> Iterator[str]:
    """Everything the program lists, with its defaults; solvers with every schedule they take."""
    for name, entry in registry.items():
        if entry["kind"] == "solver":
            guidance = " --guidance 0.6" if name == "cfgpp" else ""
            for model, schedules in SCHEDULES.items():
                for schedule in filter(lambda one: applies(one, name, model), schedules):
                    line = f"--solver {name}{guidance}" + (f" --schedule {schedule}" if schedule else "")
                    yield completed(line, place(model), DEFAULTS[model])
        elif entry["kind"] != "model":
            yield completed(f"--with {ENOUGH.get(name, name)}", "emoji-flow", DEFAULTS["emoji-flow"])


def applies(schedule: str, solver: str, model: str) -> bool:
    if model == "emoji-flow":
        return True
    return solver != "flow-euler" and (solver != "ddim" or not schedule.startswith("karras"))


def place(model: str) -> str:
    """What --model is given: a bundled model's name, or the folder of a tiny one."""
    return model if model.startswith("emoji") else f"inputs/{model}"


def all_commands(registry: dict[str, Record], data: Path) -> list[str]:
    commands = list(of_registry(registry))
    for model, lines in LINES.items():
        commands += [completed(line, place(model), DEFAULTS[model]) for line in expanded(lines)]
    commands += [*of_families(data), *golden(data), *documented(), *map(normal, expanded(OTHERS))]
    commands += [normal(f"{line} '{PROMPT}' 'blue heart' --steps 3") for line in expanded(COLLECT)]
    return list(dict.fromkeys(commands))
