"""What test_blender.py runs inside Blender: LIBRARY MODEL EXPECTED.rgba MODE, after --."""

import sys
import time

import bpy
import numpy

path, model, expected_file, mode = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.preferences.addon_enable(module="glint_blender")
preferences = bpy.context.preferences.addons["glint_blender"].preferences
preferences.library, preferences.model = path, model
settings = bpy.context.scene.glint
settings.prompt, settings.strategy, settings.steps, settings.seed = "red apple", "z-sampling", 20, 3


def pixels() -> numpy.ndarray:
    """The image's bytes, rows from the top."""
    width, height = settings.image.size
    values = numpy.empty(4 * width * height, numpy.float32)
    settings.image.pixels.foreach_get(values)
    return numpy.rint(values * 255.0).astype(numpy.uint8).reshape(height, width, 4)[::-1]


def check() -> None:
    # Blender's own BLAS takes the place of libtorch's where it is loaded for all, and rounds differently.
    expected = numpy.fromfile(expected_file, numpy.uint8).astype(int)
    difference = numpy.abs(pixels().ravel().astype(int) - expected)
    print(f"differs by at most {difference.max()}, in the mean by {difference.mean():.4f}", flush=True)
    assert difference.mean() < 0.5 and difference.max() <= 8, "not the program's picture"
    assert settings.progress == 1.0 and not settings.running


def from_a_script() -> None:
    assert bpy.ops.glint.generate() == {"FINISHED"}
    check()
    settings.image.pixels[0] = 0.5
    assert bpy.ops.glint.generate() == {"FINISHED"}  # into the same image
    check()
    preferences.free_params = True
    assert bpy.ops.glint.generate() == {"FINISHED"}
    check()
    settings.strategy = "z-samplin"
    try:
        bpy.ops.glint.generate()
    except RuntimeError as error:
        assert "did you mean 'z-sampling'?" in str(error), error
    else:
        raise AssertionError("an unknown strategy was taken")
    assert not settings.running


def in_the_interface() -> None:
    """Starts the operator as the panel's button does, and watches from a timer of the interface."""
    seen: dict[str, list] = {"progress": [], "ticks": [], "pictures": []}

    def watch() -> float | None:
        try:
            seen["ticks"].append(time.monotonic())
            if settings.running:
                seen["progress"].append(settings.progress)
                seen["pictures"].append(pixels().tobytes())
                return 0.01
            check()
            gaps = numpy.diff(seen["ticks"])
            print(f"ticks {len(gaps)}, longest gap {gaps.max():.3f} s", flush=True)
            assert len(set(seen["progress"])) > 3, set(seen["progress"])  # a bar that moves
            assert len(set(seen["pictures"])) > 3  # previews
            assert gaps.max() < seen["ticks"][-1] - seen["ticks"][0]  # more than one tick: not blocked
            assert len(gaps) > 20, len(gaps)
            print("interface: fine", flush=True)
        except BaseException as error:
            print(f"interface: {error!r}", flush=True)
        bpy.ops.wm.quit_blender()
        return None

    def start() -> None:
        window = bpy.context.window_manager.windows[0]
        with bpy.context.temp_override(window=window):
            assert bpy.ops.glint.generate("INVOKE_DEFAULT") == {"RUNNING_MODAL"}
        bpy.app.timers.register(watch)

    bpy.app.timers.register(start, first_interval=1.0)


if mode == "script":
    from_a_script()
    bpy.ops.preferences.addon_disable(module="glint_blender")
    print("script: fine", flush=True)
else:
    settings.steps = 150
    in_the_interface()
