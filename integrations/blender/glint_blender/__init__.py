"""Pictures from prompts in Blender: a panel in the image editor's side bar fills an image datablock."""

import bpy
import numpy

from . import library

bl_info = {
    "name": "glint",
    "author": "the glint contributors",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "Image Editor > Side Bar > glint",
    "description": "Pictures from prompts by diffusion and flow models",
    "category": "Paint",
}

# No postponed annotations here: Blender reads those of classes as properties.
_engines: dict[tuple[str, str], library.Engine] = {}


def engine_of(preferences: bpy.types.AddonPreferences) -> library.Engine:
    """The engine of a model, opened once."""
    key = (preferences.library, preferences.model)
    if key not in _engines:
        model = bpy.path.abspath(preferences.model)
        _engines[key] = library.Engine(library.Library(preferences.library or None), model)
    return _engines[key]


def fill(image: bpy.types.Image, picture: library.Picture) -> None:
    """Copies a picture into an image, whose rows begin at the bottom."""
    if tuple(image.size) != (picture.width, picture.height):
        image.scale(picture.width, picture.height)
    rows = numpy.frombuffer(picture.rgba, numpy.uint8).reshape(picture.height, -1)[::-1]
    image.pixels.foreach_set((rows.astype(numpy.float32) / 255.0).ravel())
    image.update()


class GlintPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    library: bpy.props.StringProperty(
        name="Library", description="libglint_c.so; empty = the system's", subtype="FILE_PATH"
    )
    model: bpy.props.StringProperty(name="Model", description="Folder of a model bundle", subtype="DIR_PATH")
    free_params: bpy.props.BoolProperty(
        name="Free memory at once", description="Let go of each network when its stage ends; takes longer"
    )

    def draw(self, context: bpy.types.Context) -> None:
        for name in ("library", "model", "free_params"):
            self.layout.prop(self, name)


class GlintSettings(bpy.types.PropertyGroup):
    prompt: bpy.props.StringProperty(name="Prompt")
    negative: bpy.props.StringProperty(name="Negative")
    strategy: bpy.props.StringProperty(
        name="Strategy", description="NAME[:key=value,...], several divided by ;", default="z-sampling"
    )
    steps: bpy.props.IntProperty(name="Steps", default=20, min=1, max=1000)
    seed: bpy.props.IntProperty(name="Seed", default=0, min=0)
    image: bpy.props.PointerProperty(
        name="Image", description="What is filled; empty = a new one", type=bpy.types.Image
    )
    progress: bpy.props.FloatProperty(name="Progress", subtype="FACTOR", min=0.0, max=1.0)
    running: bpy.props.BoolProperty(name="Running")


class GlintGenerate(bpy.types.Operator):
    """Fill the image from the prompt. Escape cancels"""

    bl_idname = "glint.generate"
    bl_label = "Generate"

    def start(self, context: bpy.types.Context, preview_every: int) -> bool:
        """Starts the job; reports what the library refused."""
        settings = context.scene.glint
        preferences = context.preferences.addons[__package__].preferences
        try:
            self.session = library.Session(engine_of(preferences))
            for key in ("prompt", "negative", "steps", "seed"):
                self.session.set(key, getattr(settings, key) or ("0" if key == "seed" else None))
            self.session.set("with", settings.strategy or None)
            self.session.set("free_params_immediately", "true" if preferences.free_params else "false")
            self.job = self.session.start(preview_every)
        except library.GlintError as error:
            self.report({"ERROR"}, str(error))
            return False
        if settings.image is None:
            settings.image = bpy.data.images.new(settings.prompt or "glint", 64, 64, alpha=True)
        self.image, self.shown = settings.image, None
        settings.progress, settings.running = 0.0, True
        return True

    def finish(self, context: bpy.types.Context) -> None:
        self.job.close()
        self.session.close()
        context.scene.glint.running = False

    def step(self, context: bpy.types.Context) -> set[str]:
        """Shows how far the job is, and its picture when it has ended."""
        settings = context.scene.glint
        try:
            done = self.job.done()
            if done:
                fill(self.image, self.job.picture())
        except library.GlintError as error:
            self.finish(context)
            self.report({"WARNING" if error.status == library.CANCELLED else "ERROR"}, str(error))
            return {"CANCELLED"}
        if done:
            settings.progress = 1.0
            self.finish(context)
            return {"FINISHED"}
        settings.progress = self.job.fraction
        preview = self.job.progress.preview
        if preview is not None and preview is not self.shown:
            self.shown = preview
            fill(self.image, preview)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """From a script: ends with the picture."""
        if not self.start(context, 0):
            return {"CANCELLED"}
        try:
            self.job.wait()
        except library.GlintError:  # which step reports
            pass
        return self.step(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """From the interface, which stays usable."""
        if not self.start(context, 1):
            return {"CANCELLED"}
        self.timer = context.window_manager.event_timer_add(0.05, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC":
            self.job.cancel()
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        result = self.step(context)
        for area in context.screen.areas if context.screen else ():
            if area.type == "IMAGE_EDITOR":
                area.tag_redraw()
        if result != {"RUNNING_MODAL"}:
            context.window_manager.event_timer_remove(self.timer)
            return result
        return {"PASS_THROUGH"}


class GlintPanel(bpy.types.Panel):
    bl_idname = "IMAGE_PT_glint"
    bl_label = "glint"
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "glint"

    def draw(self, context: bpy.types.Context) -> None:
        settings, layout = context.scene.glint, self.layout
        for name in ("prompt", "negative", "strategy", "steps", "seed", "image"):
            layout.prop(settings, name)
        row = layout.row()
        row.enabled = not settings.running
        row.operator_context = "INVOKE_DEFAULT"
        row.operator(GlintGenerate.bl_idname)
        if settings.running:
            layout.prop(settings, "progress", slider=True)


CLASSES = (GlintPreferences, GlintSettings, GlintGenerate, GlintPanel)


def register() -> None:
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.glint = bpy.props.PointerProperty(type=GlintSettings)


def unregister() -> None:
    _engines.clear()
    del bpy.types.Scene.glint
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
