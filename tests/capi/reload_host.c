/* A host that loads the library, uses it, unloads it and loads it again, in a locale whose numbers have
 * commas and in a child process, and looks at what of its own the library may have changed. Arguments: the
 * library, and "unloads" if nothing of it may stay in memory. Prints the decimal point of its locale.
 */
#define _GNU_SOURCE
#include "loaded.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 256
#define REQUIRE(condition)                                                                            \
  do {                                                                                                \
    if (!(condition)) return fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition), 1; \
  } while (0)

static int32_t predict(void* user, const glint_predict_call* call) {
  (void)user;
  for (size_t b = 0; b < call->branch_count; ++b)
    for (int i = 0; i < COUNT; ++i)
      ((float*)call->branches[b].output.data)[i] = 0.3f * ((const float*)call->latents.data)[i];
  return 0;
}

static int run(float* latents) {
  const int64_t sizes[] = {4, 8, 8};
  glint_model model = GLINT_INIT(glint_model);
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
  REQUIRE(glint_engine_create_(&config, &engine) == GLINT_OK);
  REQUIRE(glint_session_create_(engine, &session) == GLINT_OK);
  REQUIRE(glint_session_set_(session, "guidance", "3.5") == GLINT_OK);
  REQUIRE(glint_session_set_(session, "guidance", "3,5") == GLINT_INVALID_ARGUMENT);
  REQUIRE(glint_session_set_(session, "with", "z-sampling:merge=0.5") == GLINT_OK);
  REQUIRE(glint_job_start_(session, NULL, &job) == GLINT_OK);
  REQUIRE(glint_job_wait_(job, -1) == GLINT_OK);
  size_t count = 0;
  REQUIRE(glint_job_latents_(job, latents, COUNT, &count) == GLINT_OK && count == COUNT);
  glint_job_release_(job);
  glint_session_release_(session);
  glint_engine_release_(engine);
  return 0;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2 || argc == 3);
  char folder[4096], now[4096];
  REQUIRE(getcwd(folder, sizeof folder));
  struct sigaction handlers[32], handler;
  for (int s = 1; s < 32; ++s) sigaction(s, NULL, &handlers[s]);
  float first[COUNT], again[COUNT];
  for (int round = 0; round < 3; ++round) {
    if (round == 1) setlocale(LC_ALL, "de_DE.UTF-8");
    char locale[256];
    snprintf(locale, sizeof locale, "%s", setlocale(LC_ALL, NULL));
    void* library = load(argv[1]);
    if (!library) return 1;
    if (run(round == 0 ? first : again)) return 1;
    REQUIRE(round == 0 || memcmp(first, again, sizeof first) == 0);
    const pid_t child = fork();
    if (child == 0) _exit(run(again) || memcmp(first, again, sizeof first) != 0);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    REQUIRE(dlclose(library) == 0);
    REQUIRE(argc == 2 || !dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD));
    REQUIRE(strcmp(setlocale(LC_ALL, NULL), locale) == 0);
    REQUIRE(getcwd(now, sizeof now) && strcmp(folder, now) == 0);
    for (int s = 1; s < 32; ++s) {
      sigaction(s, NULL, &handler);
      REQUIRE(handler.sa_handler == handlers[s].sa_handler);
    }
  }
  printf("decimal point '%s'\n", localeconv()->decimal_point);
  return 0;
}
