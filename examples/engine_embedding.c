/* A host in plain C: its own network, glint's sampling. The network here is the exact one of data around 1.
 */
#include <glint/glint.h>

#include <stdio.h>
#include <stdlib.h>

static int32_t predict(void* user, const glint_predict_call* call) {
  const float* x = call->latents.data;
  int64_t count = 1;
  (void)user;
  for (int32_t d = 0; d < call->latents.rank; ++d) count *= call->latents.sizes[d];
  for (size_t b = 0; b < call->branch_count; ++b) { /* velocity = E[eps - x0 | x] for x0 ~ N(1, 0.1^2) */
    float* velocity = call->branches[b].output.data;
    const double of_x = call->alpha * call->alpha * 0.01 + call->sigma * call->sigma;
    for (int64_t i = 0; i < count; ++i) {
      const double residual = (x[i] - call->alpha) / of_x;
      velocity[i] = (float)(call->sigma * residual - (1.0 + call->alpha * 0.01 * residual));
    }
  }
  return 0;
}

static glint_next show(void* user, const glint_event* event) {
  (void)user;
  printf("%s %d/%d\n", event->stage, event->step, event->total);
  return GLINT_CONTINUE; /* GLINT_CANCEL ends the job */
}

static void check(glint_status status) {
  if (status == GLINT_OK) return;
  fprintf(stderr, "%s: %s\n", glint_status_name(status), glint_last_error());
  exit(1);
}

int main(void) {
  const int64_t sizes[] = {4, 16, 16};
  glint_model model = GLINT_INIT(glint_model);
  model.name = "engine";
  model.prediction = GLINT_VELOCITY;
  model.noise_kind = GLINT_FLOW;
  model.latent_rank = 3;
  model.latent_sizes = sizes;
  model.predict = predict;
  glint_engine_config config = GLINT_INIT(glint_engine_config);
  config.model = &model;

  glint_engine* engine = NULL;
  glint_session* session = NULL;
  glint_job* job = NULL;
  check(glint_engine_create(&config, &engine));
  check(glint_session_create(engine, &session));
  check(glint_session_set(session, "steps", "12"));
  check(glint_session_set(session, "seed", "7"));
  check(glint_session_set(session, "with", "z-sampling:merge=0.5"));

  glint_job_config how = GLINT_INIT(glint_job_config);
  how.on_event = show;
  check(glint_job_start(session, &how, &job)); /* runs on a thread of its own; glint_job_cancel stops it */
  check(glint_job_wait(job, -1));

  float latents[4 * 16 * 16];
  double mean = 0.0;
  check(glint_job_latents(job, latents, sizeof latents / sizeof *latents, NULL));
  for (size_t i = 0; i < sizeof latents / sizeof *latents; ++i) mean += latents[i];
  printf("mean %.3f\n", mean / (sizeof latents / sizeof *latents));
  glint_engine_release(engine); /* in any order */
  glint_job_release(job);
  glint_session_release(session);
  return 0;
}
