/* The C interface of glint: C99, no C++ and no tensor types.
 *
 * Objects: an engine holds a model and never changes; a session holds the options of requests; a job is one
 * run of a session's request. Each is made with one reference. Retain adds one, release takes one; a session
 * keeps its engine alive and a job its session's engine, so they may be released in any order. Engines are
 * shared by threads freely; a session and a job lock themselves, so that any thread may call them.
 *
 * Every call returns a status, and none lets an exception out, prints, or ends the process. After a failure
 * the message is in glint_last_error() of the calling thread, and that of a job in glint_job_message(). All
 * objects stay usable.
 *
 * Structs begin with struct_size, set by the caller to sizeof the struct (GLINT_INIT). One from an older
 * header works; one from a newer header works if all it adds is zero. Within a major version no function is
 * removed, no meaning or value changes, and structs only grow at their end.
 *
 * libglint_c has everything; libglint_c_core runs models that the host supplies, and answers
 * GLINT_UNSUPPORTED where a model bundle, a prompt or a picture would be needed. */
#ifndef GLINT_GLINT_H
#define GLINT_GLINT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(GLINT_C_BUILD)
#define GLINT_C_API __declspec(dllexport)
#else
#define GLINT_C_API
#endif
#else
#define GLINT_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Increases with every addition. */
#define GLINT_C_VERSION 2

/* Sets a struct to zeros but for its size: glint_model m = GLINT_INIT(glint_model); */
#ifdef __cplusplus
#define GLINT_INIT(type) (glint_sized<type>())
#else
#define GLINT_INIT(type) \
  { .struct_size = sizeof(type) }
#endif

typedef enum glint_status {
  GLINT_OK = 0,
  GLINT_INVALID_ARGUMENT = 1,   /* null, out of range, unknown name, a combination that cannot work */
  GLINT_SHAPE_MISMATCH = 2,     /* a tensor does not fit the model or the request */
  GLINT_UNSUPPORTED_DTYPE = 3,  /* a tensor's type is not supported here */
  GLINT_UNSUPPORTED_DEVICE = 4, /* no such device in this build */
  GLINT_NOT_FOUND = 5,          /* no such file, component or name */
  GLINT_BAD_MODEL = 6,          /* a bundle or weight file is malformed */
  GLINT_OUT_OF_MEMORY = 7,
  GLINT_CANCELLED = 8,          /* by glint_job_cancel or a callback */
  GLINT_NUMERICAL = 9,          /* a value is not finite where it must be */
  GLINT_INTERNAL = 10,          /* a callback failed, or a fault of the library */
  GLINT_IO = 11,                /* reading or writing failed: a full disk, a device's error, a closed pipe */
  GLINT_PENDING = 100,          /* the job has not ended */
  GLINT_BUFFER_TOO_SMALL = 101, /* nothing was written; the size needed is returned */
  GLINT_UNSUPPORTED = 102       /* not in this library, or a newer struct than it knows */
} glint_status;

typedef enum glint_dtype { GLINT_FLOAT32 = 1, GLINT_FLOAT64 = 2 } glint_dtype;

/* What the network's output stands for, with x = alpha x0 + sigma eps. */
typedef enum glint_prediction {
  GLINT_EPSILON = 1, /* eps */
  GLINT_V = 2,       /* alpha eps - sigma x0 */
  GLINT_X0 = 3,      /* x0 */
  GLINT_VELOCITY = 4 /* eps - x0 */
} glint_prediction;

/* How signal and noise mix. */
typedef enum glint_noise_kind {
  GLINT_VP = 1,  /* alpha^2 + sigma^2 = 1 */
  GLINT_FLOW = 2 /* alpha + sigma = 1 */
} glint_noise_kind;

typedef enum glint_next { GLINT_CONTINUE = 0, GLINT_CANCEL = 1 } glint_next;

typedef enum glint_log_level { GLINT_LOG_WARNING = 1, GLINT_LOG_ERROR = 2 } glint_log_level;

typedef struct glint_engine glint_engine;
typedef struct glint_session glint_session;
typedef struct glint_job glint_job;

/* A view of an array in the host's memory, contiguous, last dimension fastest. data is null for no tensor. */
typedef struct glint_tensor {
  size_t struct_size;
  void* data;
  glint_dtype dtype;
  int32_t rank;
  const int64_t* sizes; /* [rank] */
} glint_tensor;

/* One evaluation of the latents under one conditioning. */
typedef struct glint_branch {
  size_t struct_size;
  glint_tensor tokens; /* [B or 1,L,D], as given to the session */
  glint_tensor pooled; /* [B or 1,P] */
  glint_tensor output; /* to be filled: the latents' shape and dtype */
} glint_branch;

/* What a model is asked: one output per branch, for the same latents. All views end with the call. */
typedef struct glint_predict_call {
  size_t struct_size;
  glint_tensor latents; /* [B,C,...] */
  double model_time;    /* the network's time input: a timestep, or 1000 sigma for flow */
  double alpha, sigma;  /* the noise level */
  size_t branch_count;
  const glint_branch* branches;
  size_t adapter_count;
  const char* const* adapter_names;
  const double* adapter_scales;
  int32_t has_guidance; /* whether the model takes the guidance scale as an input */
  double guidance;
} glint_predict_call;

/* A denoising network of the host. Called on the thread of the job; two jobs of one engine call it at the
 * same time. */
typedef struct glint_model {
  size_t struct_size;
  const char* name;
  glint_prediction prediction;
  glint_noise_kind noise_kind;
  int32_t latent_rank;         /* without the batch: 3 for [C,H,W] */
  const int64_t* latent_sizes; /* -1 = any; a request then gives the size */
  int32_t no_uncond_branch;    /* 1: has no unconditional branch, so guidance by difference does not apply */
  int32_t embedded_guidance;   /* 1: takes the guidance scale as an input */
  size_t adapter_count;
  const char* const* adapter_names;
  int32_t train_steps; /* 0 = 1000 */
  double shift;        /* flow: static shift of the grid; 0 = 1 */
  double beta_start;   /* VP, scaled linear betas; 0 = 0.00085 */
  double beta_end;     /* 0 = 0.012 */
  /* Fills every branch's output. Anything but 0 fails the job with GLINT_INTERNAL. */
  int32_t (*predict)(void* user, const glint_predict_call* call);
  void* user;
  void (*destroy)(void* user); /* called once, when the engine ends; may be null */
} glint_model;

typedef struct glint_engine_config {
  size_t struct_size;
  const char* bundle;       /* folder of a model bundle; null for a model of the host */
  const glint_model* model; /* copied; null for a bundle */
  const char* device;       /* for a bundle: null = "cpu" */
  void (*log)(void* user, glint_log_level level, const char* message); /* may be null; called on any thread */
  void* log_user;
  /* Since version 2: the most bytes of a bundle's weights in memory at one time; 0 = no limit. Where it would
   * be passed, components that no job runs with are let go of first. A job whose text encoders, denoiser or
   * decoder alone are larger is refused with GLINT_OUT_OF_MEMORY before anything is loaded, and one that
   * finds no room beside other jobs ends with it. What a job computes comes on top. */
  uint64_t memory_limit;
} glint_engine_config;

/* What a job tells while it runs. All pointers end with the call. */
typedef struct glint_event {
  size_t struct_size;
  const char* stage;      /* "denoise", "decode" or a strategy's name */
  int32_t step;           /* steps done in this stage */
  int32_t total;          /* steps in all */
  glint_tensor denoised;  /* estimate of the clean latents after a step, if the job asked for previews */
  const uint8_t* preview; /* RGBA8 rows without gaps, if a bundle's decoder made one; else null */
  int32_t preview_width, preview_height;
} glint_event;

typedef struct glint_job_config {
  size_t struct_size;
  /* Called on the thread of the job at every stage and step. */
  glint_next (*on_event)(void* user, const glint_event* event);
  void* user;
  int32_t preview_every; /* steps between previews; 0 = none */
} glint_job_config;

typedef struct glint_job_stats {
  size_t struct_size;
  uint64_t seed;
  int64_t calls; /* model calls */
  int64_t rows;  /* samples through the network */
  double seconds;
  int32_t steps;
} glint_job_stats;

/* A step strategy of the host: replaces a step's latents before the step is taken. */
typedef struct glint_step_strategy {
  size_t struct_size;
  const char* name;
  /* Whether the strategy is active at a step; null = always. */
  int32_t (*active)(void* user, int32_t step, int32_t steps);
  /* Changes latents [B,C,...] in place. Anything but 0 fails the job with GLINT_INTERNAL. */
  int32_t (*refine)(void* user, const glint_tensor* latents, double alpha, double sigma, int32_t step,
                    int32_t steps);
  void* user;
  void (*destroy)(void* user); /* called once, when the last session and job with it ends; may be null */
} glint_step_strategy;

/* library */

GLINT_C_API uint32_t glint_c_version(void);         /* GLINT_C_VERSION of the library */
GLINT_C_API const char* glint_version_string(void); /* "0.1.0" */
GLINT_C_API const char* glint_status_name(glint_status status);
/* Message of the last failure on this thread; "" if there was none. Valid until the thread's next call. */
GLINT_C_API const char* glint_last_error(void);

/* engine */

/* Errors: GLINT_INVALID_ARGUMENT unless exactly one of bundle and model is given; GLINT_UNSUPPORTED for
 * a bundle in libglint_c_core; GLINT_NOT_FOUND, GLINT_BAD_MODEL. */
GLINT_C_API glint_status glint_engine_create(const glint_engine_config* config, glint_engine** engine);
GLINT_C_API glint_status glint_engine_retain(glint_engine* engine);
GLINT_C_API glint_status glint_engine_release(glint_engine* engine); /* null is allowed, for every release */

/* Since version 2. Writes the bytes that the weights of a bundle's component have in memory, "denoiser" or
 * "text_encoder" for example; null = of all components. They are loaded when first used. A host's model has
 * none. Errors: GLINT_NOT_FOUND for a component that has nothing in memory. */
GLINT_C_API glint_status glint_engine_memory(glint_engine* engine, const char* component, uint64_t* bytes);
/* Since version 2. Writes the name of the component number `index` of those in memory, as glint_session_get
 * writes. Errors: GLINT_NOT_FOUND past the last one. */
GLINT_C_API glint_status glint_engine_component(glint_engine* engine, int32_t index, char* text, size_t size,
                                                size_t* needed);
/* Since version 2. Lets go of all weights; they are loaded again when next used. Jobs that run keep theirs
 * until the stage ends. */
GLINT_C_API glint_status glint_engine_free_params(glint_engine* engine);

/* session */

GLINT_C_API glint_status glint_session_create(glint_engine* engine, glint_session** session);
GLINT_C_API glint_status glint_session_retain(glint_session* session);
GLINT_C_API glint_status glint_session_release(glint_session* session);

/* Sets an option; null takes its default again. The keys:
 *   steps, seed, count, guidance     numbers
 *   solver                           NAME[:key=value,...]
 *   schedule                         key=value,... (spacing, sigmas, rho, shift, ...)
 *   with                             methods, NAME[:key=value,...], divided by ';'
 *   adapters                         name=scale,...
 *   size                             latent sizes without the batch, as "4,64,64"
 *   prompt, negative, width, height  with a bundle only
 *   free_params_immediately          true or false, with a bundle only: let go of weights when their stage
 *                                    ends, and load them in every job
 *   prompt_2, prompt_3, negative_2, negative_3, clip_skip, text_length, and for SDXL original_size,
 *   target_size (WIDTHxHEIGHT), crop (LEFT,TOP), negative_original_size, negative_target_size,
 *   negative_crop                    with a bundle only
 * Errors: GLINT_INVALID_ARGUMENT for an unknown key, name or option, and for a bad value */
GLINT_C_API glint_status glint_session_set(glint_session* session, const char* key, const char* value);

/* Writes an option's text, "" if unset, and its size with the final zero to needed, which may be null. */
GLINT_C_API glint_status glint_session_get(glint_session* session, const char* key, char* text, size_t size,
                                           size_t* needed);

/* Copies a tensor into the session; null, or one without data, removes it. The names: noise [B,C,...]
 * (replaces seed, count and size), tokens [1 or B,L,D], pooled [1 or B,P], null_tokens, null_pooled. */
GLINT_C_API glint_status glint_session_set_tensor(glint_session* session, const char* name,
                                                  const glint_tensor* tensor);

/* Adds a strategy of the host after those of the option `with`; null removes them all. */
GLINT_C_API glint_status glint_session_add_strategy(glint_session* session,
                                                    const glint_step_strategy* strategy);

/* --- job
 * ----------------------------------------------------------------------------------------------------------
 */

/* Starts the session's request, as it is now, on a thread of its own. config may be null.
 * Errors: those of the options together; failures of the run are the job's. */
GLINT_C_API glint_status glint_job_start(glint_session* session, const glint_job_config* config,
                                         glint_job** job);

/* Runs the session's request on the calling thread. Returns the run's status; the job, which may then be
 * read, comes with any status but those of bad arguments, for which it is null. */
GLINT_C_API glint_status glint_job_run(glint_session* session, const glint_job_config* config,
                                       glint_job** job);

GLINT_C_API glint_status glint_job_retain(glint_job* job);
/* The last release of a job that runs cancels it and waits for it to end, at most one model call. */
GLINT_C_API glint_status glint_job_release(glint_job* job);

GLINT_C_API glint_status glint_job_poll(glint_job* job); /* GLINT_PENDING, or how the job ended */
/* As poll, after waiting for the end, at most that many milliseconds; -1 = however long it takes.
 * Errors: GLINT_INVALID_ARGUMENT from a callback of the job itself, which would wait for itself. */
GLINT_C_API glint_status glint_job_wait(glint_job* job, int64_t milliseconds);
GLINT_C_API glint_status
glint_job_cancel(glint_job* job); /* from any thread, at any time, any number of times */

/* Writes why the job failed, "" if it did not, as glint_session_get writes. */
GLINT_C_API glint_status glint_job_message(glint_job* job, char* text, size_t size, size_t* needed);

/* Of a job that ended well; else its status, or GLINT_PENDING. */
GLINT_C_API glint_status glint_job_get_stats(glint_job* job, glint_job_stats* stats);
/* Writes the latents' sizes [B,C,...]; rank receives their number, and may be given with sizes null. */
GLINT_C_API glint_status glint_job_latent_sizes(glint_job* job, int64_t* sizes, int32_t capacity,
                                                int32_t* rank);
/* Copies the latents as float32; count is the number of values there is room for, needed that of the latents.
 */
GLINT_C_API glint_status glint_job_latents(glint_job* job, float* values, size_t count, size_t* needed);
/* Writes the size of picture `index`. Errors: GLINT_NOT_FOUND if there is no such picture; a host's model and
 * a bundle without a decoder make none. */
GLINT_C_API glint_status glint_job_picture_size(glint_job* job, int32_t index, int32_t* width,
                                                int32_t* height);
/* Copies picture `index` as RGBA8, rows row_stride bytes apart; size is that of the buffer in bytes. */
GLINT_C_API glint_status glint_job_picture(glint_job* job, int32_t index, uint8_t* rgba, size_t row_stride,
                                           size_t size);

#ifdef __cplusplus
} /* extern "C" */

template <typename T>
T glint_sized() {
  T value = T();
  value.struct_size = sizeof(T);
  return value;
}
#endif

#endif /* GLINT_GLINT_H */
