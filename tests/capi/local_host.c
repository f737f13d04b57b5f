/* A host that loads the library itself, as plug-ins are loaded: with RTLD_LOCAL, so that nothing the library
 * brings is seen by others. Arguments: the library, a bundle without a text encoder, then the numbers of its
 * conditioning and noise: L, D, P, C, H, W. Tokens, pooled embedding and noise are ramps; prints the latents.
 */
#include "loaded.h"

#include <stdlib.h>

static void check(glint_status status) {
  if (status == GLINT_OK) return;
  fprintf(stderr, "%s\n", glint_last_error_());
  exit(1);
}

/* Sets a tensor whose value number i is i / count - 0.5. */
static void set_ramp(glint_session* session, const char* name, int32_t rank, const int64_t* sizes) {
  size_t count = 1;
  for (int32_t d = 0; d < rank; ++d) count *= (size_t)sizes[d];
  float* values = malloc(count * sizeof *values);
  for (size_t i = 0; i < count; ++i) values[i] = (float)i / (float)count - 0.5f;
  glint_tensor tensor = GLINT_INIT(glint_tensor);
  tensor.data = values;
  tensor.dtype = GLINT_FLOAT32;
  tensor.rank = rank;
  tensor.sizes = sizes;
  check(glint_session_set_tensor_(session, name, &tensor));
  free(values);
}

int main(int argc, char** argv) {
  if (argc != 9) return 2;
  if (!load(argv[1])) return 1;
  int64_t n[6];
  for (int i = 0; i < 6; ++i) n[i] = strtoll(argv[3 + i], NULL, 10);
  const int64_t tokens[] = {1, n[0], n[1]}, pooled[] = {1, n[2]}, noise[] = {1, n[3], n[4], n[5]};
  glint_engine_config config = GLINT_INIT(glint_engine_config);
  config.bundle = argv[2];
  glint_engine* engine = NULL;
  glint_session* session = NULL;
  glint_job* job = NULL;
  check(glint_engine_create_(&config, &engine));
  check(glint_session_create_(engine, &session));
  check(glint_session_set_(session, "steps", "1"));
  check(glint_session_set_(session, "guidance", "1"));
  set_ramp(session, "tokens", 3, tokens);
  set_ramp(session, "pooled", 2, pooled);
  set_ramp(session, "noise", 4, noise);
  check(glint_job_run_(session, NULL, &job));
  size_t count = 0;
  check(glint_job_latents_(job, NULL, 0, &count));
  float* latents = malloc(count * sizeof *latents);
  check(glint_job_latents_(job, latents, count, NULL));
  for (size_t i = 0; i < count; ++i) printf("%.9g\n", latents[i]);
  free(latents);
  glint_job_release_(job);
  glint_session_release_(session);
  glint_engine_release_(engine);
  return 0;
}
