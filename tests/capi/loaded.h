/* The functions of a library that a host loads itself, each under its name with a trailing underscore. */
#include <glint/glint.h>

#include <dlfcn.h>
#include <stdio.h>

#define EACH_FUNCTION(X)                                                                        \
  X(const char*, glint_last_error, (void))                                                      \
  X(glint_status, glint_engine_create, (const glint_engine_config*, glint_engine**))            \
  X(glint_status, glint_engine_release, (glint_engine*))                                        \
  X(glint_status, glint_session_create, (glint_engine*, glint_session**))                       \
  X(glint_status, glint_session_release, (glint_session*))                                      \
  X(glint_status, glint_session_set, (glint_session*, const char*, const char*))                \
  X(glint_status, glint_session_set_tensor, (glint_session*, const char*, const glint_tensor*)) \
  X(glint_status, glint_job_start, (glint_session*, const glint_job_config*, glint_job**))      \
  X(glint_status, glint_job_run, (glint_session*, const glint_job_config*, glint_job**))        \
  X(glint_status, glint_job_wait, (glint_job*, int64_t))                                        \
  X(glint_status, glint_job_latents, (glint_job*, float*, size_t, size_t*))                     \
  X(glint_status, glint_job_release, (glint_job*))

#define DECLARE(type, name, parameters) static type(*name##_) parameters;
EACH_FUNCTION(DECLARE)

#define FIND(type, name, parameters)         \
  *(void**)&name##_ = dlsym(library, #name); \
  if (!name##_) return fprintf(stderr, "%s is missing\n", #name), NULL;

/* Loads a library with RTLD_LOCAL and finds its functions. Returns NULL, and says why, if that fails. */
static void* load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), NULL;
  EACH_FUNCTION(FIND)
  return library;
}
