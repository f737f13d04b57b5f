/* A window that shows a picture while it is made. The render loop never waits for the job:
 *   viewer [--measure] BUNDLE PROMPT [KEY=VALUE...]
 * KEY=VALUE are options of glint_session_set, such as with=z-sampling, steps=30 or seed=7. Escape cancels the
 * job, space starts the next seed, closing the window ends the program. With --measure the window idles for
 * two seconds first, makes the picture, prints both frame rates and ends. */
#include <glint/glint.h>

#include <SDL2/SDL.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kSide = 512, kFramesPerSecond = 60 };

/* What the job's thread leaves for the render loop. */
typedef struct Shared {
  SDL_mutex* mutex;
  uint8_t* pixels; /* RGBA8, newest preview; null if the loop has taken it */
  int32_t width, height, step, total;
} Shared;

typedef struct Viewer {
  SDL_Window* window;
  SDL_Renderer* renderer;
  SDL_Texture* texture;
  Shared shared;
  glint_session* session;
  glint_job* job; /* null while none runs */
  uint64_t seed;
  int quit;
} Viewer;

static void check(glint_status status) {
  if (status == GLINT_OK) return;
  fprintf(stderr, "viewer: %s\n", glint_last_error());
  exit(1);
}

static void check_sdl(int fine) {
  if (fine) return;
  fprintf(stderr, "viewer: %s\n", SDL_GetError());
  exit(1);
}

/* Called on the job's thread. */
static glint_next on_event(void* user, const glint_event* event) {
  Shared* shared = user;
  uint8_t* copy = NULL;
  if (event->preview) {
    const size_t size = (size_t)event->preview_width * (size_t)event->preview_height * 4;
    copy = malloc(size);
    if (copy) memcpy(copy, event->preview, size);
  }
  SDL_LockMutex(shared->mutex);
  if (copy) {
    free(shared->pixels); /* one the loop was too slow for */
    shared->pixels = copy;
    shared->width = event->preview_width;
    shared->height = event->preview_height;
  }
  shared->step = event->step;
  shared->total = event->total;
  SDL_UnlockMutex(shared->mutex);
  return GLINT_CONTINUE;
}

static void show(Viewer* viewer, const uint8_t* pixels, int32_t width, int32_t height) {
  int own_width = 0, own_height = 0;
  if (viewer->texture) SDL_QueryTexture(viewer->texture, NULL, NULL, &own_width, &own_height);
  if (own_width != width || own_height != height) {
    if (viewer->texture) SDL_DestroyTexture(viewer->texture);
    viewer->texture = SDL_CreateTexture(viewer->renderer, SDL_PIXELFORMAT_RGBA32, SDL_TEXTUREACCESS_STREAMING,
                                        width, height);
    check_sdl(viewer->texture != NULL);
  }
  SDL_UpdateTexture(viewer->texture, NULL, pixels, width * 4);
}

static void start(Viewer* viewer) {
  char seed[32];
  snprintf(seed, sizeof seed, "%llu", (unsigned long long)viewer->seed);
  check(glint_session_set(viewer->session, "seed", seed));
  glint_job_config how = GLINT_INIT(glint_job_config);
  how.on_event = on_event;
  how.user = &viewer->shared;
  how.preview_every = 1;
  check(glint_job_start(viewer->session, &how, &viewer->job));
}

/* Shows what the job has left, and its picture when it has ended. */
static void follow(Viewer* viewer) {
  Shared* shared = &viewer->shared;
  SDL_LockMutex(shared->mutex);
  uint8_t* pixels = shared->pixels;
  const int32_t width = shared->width, height = shared->height, step = shared->step, total = shared->total;
  shared->pixels = NULL;
  SDL_UnlockMutex(shared->mutex);
  if (pixels) show(viewer, pixels, width, height);
  free(pixels);

  char title[256];
  snprintf(title, sizeof title, "glint: step %d/%d", step, total);
  const glint_status status = viewer->job ? glint_job_poll(viewer->job) : GLINT_PENDING;
  if (status == GLINT_PENDING) {
    if (viewer->job) SDL_SetWindowTitle(viewer->window, title);
    return;
  }
  snprintf(title, sizeof title, "glint: %s", status == GLINT_OK ? "done" : glint_status_name(status));
  if (status == GLINT_OK) {
    int32_t full_width = 0, full_height = 0;
    check(glint_job_picture_size(viewer->job, 0, &full_width, &full_height));
    const size_t row = (size_t)full_width * 4, size = row * (size_t)full_height;
    uint8_t* picture = malloc(size);
    check_sdl(picture != NULL);
    check(glint_job_picture(viewer->job, 0, picture, row, size));
    show(viewer, picture, full_width, full_height);
    free(picture);
  } else if (status != GLINT_CANCELLED) {
    fprintf(stderr, "viewer: %s\n", glint_last_error());
  }
  SDL_SetWindowTitle(viewer->window, title);
  printf("%s\n", title);
  fflush(stdout);
  check(glint_job_release(viewer->job));
  viewer->job = NULL;
}

static void answer(Viewer* viewer, const SDL_Event* event) {
  if (event->type == SDL_QUIT) viewer->quit = 1;
  if (event->type != SDL_KEYDOWN) return;
  if (event->key.keysym.sym == SDLK_ESCAPE && viewer->job) check(glint_job_cancel(viewer->job));
  if (event->key.keysym.sym == SDLK_SPACE && !viewer->job) {
    ++viewer->seed;
    start(viewer);
  }
}

/* One frame, 1/60 s unless something is late. */
static void frame(Viewer* viewer) {
  const Uint64 end = SDL_GetTicks64() + 1000 / kFramesPerSecond;
  SDL_Event event;
  while (SDL_PollEvent(&event)) answer(viewer, &event);
  follow(viewer);
  SDL_SetRenderDrawColor(viewer->renderer, 32, 32, 40, 255);
  SDL_RenderClear(viewer->renderer);
  if (viewer->texture) SDL_RenderCopy(viewer->renderer, viewer->texture, NULL, NULL);
  SDL_RenderPresent(viewer->renderer);
  const Uint64 now = SDL_GetTicks64();
  if (now < end) SDL_Delay((Uint32)(end - now));
}

/* Frames per second until `milliseconds` are over, or until the job has ended if that is 0. */
static double frame_rate(Viewer* viewer, Uint64 milliseconds) {
  const Uint64 begin = SDL_GetTicks64();
  int frames = 0;
  for (; !viewer->quit && (milliseconds ? SDL_GetTicks64() - begin < milliseconds : viewer->job != NULL);
       ++frames)
    frame(viewer);
  return frames * 1000.0 / (double)(SDL_GetTicks64() - begin);
}

static void set_options(Viewer* viewer, int count, char** options) {
  for (int i = 0; i < count; ++i) {
    char key[64];
    const char* equals = strchr(options[i], '=');
    if (!equals || (size_t)(equals - options[i]) >= sizeof key) {
      fprintf(stderr, "viewer: expected KEY=VALUE, got %s\n", options[i]);
      exit(2);
    }
    snprintf(key, sizeof key, "%.*s", (int)(equals - options[i]), options[i]);
    check(glint_session_set(viewer->session, key, equals + 1));
    if (strcmp(key, "seed") == 0) viewer->seed = strtoull(equals + 1, NULL, 10);
  }
}

int main(int argc, char** argv) {
  const int measure = argc > 1 && strcmp(argv[1], "--measure") == 0;
  if (argc - measure < 3) {
    fprintf(stderr, "usage: viewer [--measure] BUNDLE PROMPT [KEY=VALUE...]\n");
    return 2;
  }
  argv += measure;
  argc -= measure;
  Viewer viewer;
  memset(&viewer, 0, sizeof viewer);
  glint_engine* engine = NULL;
  glint_engine_config config = GLINT_INIT(glint_engine_config);
  config.bundle = argv[1];
  check(glint_engine_create(&config, &engine));
  check(glint_session_create(engine, &viewer.session));
  check(glint_session_set(viewer.session, "prompt", argv[2]));
  set_options(&viewer, argc - 3, argv + 3);

  check_sdl(SDL_Init(SDL_INIT_VIDEO) == 0);
  viewer.window = SDL_CreateWindow("glint", 0, 0, kSide, kSide, SDL_WINDOW_RESIZABLE);
  check_sdl(viewer.window != NULL);
  viewer.renderer = SDL_CreateRenderer(viewer.window, -1, 0);
  check_sdl(viewer.renderer != NULL);
  viewer.shared.mutex = SDL_CreateMutex();
  check_sdl(viewer.shared.mutex != NULL);

  const double idle = measure ? frame_rate(&viewer, 2000) : 0.0;
  start(&viewer);
  if (measure) printf("%.1f frames a second idle, %.1f while generating\n", idle, frame_rate(&viewer, 0));
  while (!measure && !viewer.quit) frame(&viewer);

  glint_job_release(viewer.job); /* cancels a job that still runs */
  glint_session_release(viewer.session);
  glint_engine_release(engine);
  free(viewer.shared.pixels);
  SDL_DestroyMutex(viewer.shared.mutex);
  if (viewer.texture) SDL_DestroyTexture(viewer.texture);
  SDL_DestroyRenderer(viewer.renderer);
  SDL_DestroyWindow(viewer.window);
  SDL_Quit();
  return 0;
}
