// Makes system calls of a program fail, to be named in LD_PRELOAD. FAULT is CALL:N:ERRNO[:PART]: the N-th
// call of write, fsync, rename, read, malloc or posix_memalign fails with that error, counted from where
// FAULT was set to it; writes and reads count on regular files whose path contains PART, allocations from
// PART bytes on (of malloc, from 4096). "short" as ERRNO cuts a read to one byte, "kill" ends the process.
// Linux only; for tests.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int counted;
static char counting[128];  // the FAULT that calls are counted for

/// Returns the fault's third part if this call of `name` is the one to fail, else NULL.
static const char* fault(const char* name, int descriptor) {
  const char* wanted = getenv("FAULT");
  const size_t length = strlen(name);
  if (strncmp(counting, wanted ? wanted : "", sizeof counting - 1) != 0) {
    strncpy(counting, wanted ? wanted : "", sizeof counting - 1);
    __atomic_store_n(&counted, 0, __ATOMIC_RELAXED);
  }
  if (!wanted || strncmp(wanted, name, length) != 0 || wanted[length] != ':') return NULL;
  char* rest = NULL;
  const long nth = strtol(wanted + length + 1, &rest, 10);
  const char* how = rest && *rest == ':' ? rest + 1 : "";
  if (descriptor >= 0) {
    struct stat status;
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return NULL;
    const char* part = strchr(how, ':');
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    if (part && !strstr(path, part + 1)) return NULL;
  }
  if (__atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED) != nth) return NULL;
  if (strncmp(how, "kill", 4) == 0) kill(getpid(), SIGKILL);
  return how;
}

ssize_t write(int descriptor, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (!real) real = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  const char* how = fault("write", descriptor);
  if (!how) return real(descriptor, data, size);
  errno = atoi(how);
  return -1;
}

ssize_t read(int descriptor, void* data, size_t size) {
  static ssize_t (*real)(int, void*, size_t);
  if (!real) real = (ssize_t(*)(int, void*, size_t))dlsym(RTLD_NEXT, "read");
  const char* how = fault("read", descriptor);
  if (!how) return real(descriptor, data, size);
  if (strncmp(how, "short", 5) == 0) return real(descriptor, data, size > 0 ? 1 : 0);
  errno = atoi(how);
  return -1;
}

int fsync(int descriptor) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  const char* how = fault("fsync", -1);
  if (!how) return real(descriptor);
  errno = atoi(how);
  return -1;
}

int rename(const char* from, const char* to) {
  static int (*real)(const char*, const char*);
  if (!real) real = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  const char* how = fault("rename", -1);
  if (!how) return real(from, to);
  errno = atoi(how);
  return -1;
}

/// Returns the error of an allocation that is to fail, else 0.
static int allocation_error(const char* name, size_t size) {
  const char* wanted = getenv("FAULT");
  const char* part = wanted ? strrchr(wanted, ':') : NULL;
  const char* how = part && size >= strtoul(part + 1, NULL, 10) ? fault(name, -1) : NULL;
  return how ? atoi(how) : 0;
}

/// Allocates libtorch's tensors.
int posix_memalign(void** memory, size_t alignment, size_t size) {
  static int (*real)(void**, size_t, size_t);
  if (!real) real = (int (*)(void**, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
  const int error = allocation_error("posix_memalign", size);
  return error ? error : real(memory, alignment, size);
}

extern void* __libc_malloc(size_t);  // dlsym() would call malloc

/// Allocates everything else: files that are read, and what C++ objects hold.
void* malloc(size_t size) {
  const int error = size < 4096 ? 0 : allocation_error("malloc", size);
  if (!error) return __libc_malloc(size);
  errno = error;
  return NULL;
}
