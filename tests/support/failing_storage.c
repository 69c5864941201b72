/* Preloaded into a program: its N-th call of one kind on files whose path holds a text fails, and every later one too, as on a full disk;
 * or only so many, as on a disk where another program makes room.
 *
 * FAIL_CALL  write | fsync | rename | flock
 * FAIL_PATH  part of the paths that are meant
 * FAIL_AT    the first call that fails, from 1
 * FAIL_ERRNO the error's number
 * FAIL_COUNT how many calls fail; not set: all from that one on
 * FAIL_SIGNAL a signal's number: no call fails; the process gets it after the N-th rename
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(char const* call, char const* path) {
  static int calls = 0;
  char const* const wanted = getenv("FAIL_CALL");
  char const* const part = getenv("FAIL_PATH");
  if (wanted == NULL || part == NULL || strcmp(wanted, call) != 0 || strstr(path, part) == NULL) return 0;
  char const* const count = getenv("FAIL_COUNT");
  int const call_number = __sync_add_and_fetch(&calls, 1), first = atoi(getenv("FAIL_AT"));
  char const* const signal_number = getenv("FAIL_SIGNAL");
  if (signal_number != NULL) return call_number == first ? -1 : 0;
  if (call_number < first || (count != NULL && call_number >= first + atoi(count))) return 0;
  errno = atoi(getenv("FAIL_ERRNO"));
  return 1;
}

static int file_fails(char const* call, int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t const length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return fails(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, void const* data, size_t size) { return file_fails("write", file) ? -1 : NEXT(write)(file, data, size); }
ssize_t pwrite(int file, void const* data, size_t size, off_t at) {
  return file_fails("write", file) ? -1 : NEXT(pwrite)(file, data, size, at);
}
ssize_t pwrite64(int file, void const* data, size_t size, off64_t at) {
  return file_fails("write", file) ? -1 : NEXT(pwrite64)(file, data, size, at);
}
int fsync(int file) { return file_fails("fsync", file) ? -1 : NEXT(fsync)(file); }
int flock(int file, int how) {
  int (*const next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
  return file_fails("flock", file) ? -1 : next(file, how);
}
int rename(char const* from, char const* to) {
  int const fault = fails("rename", to);
  if (fault > 0) return -1;
  int const done = NEXT(rename)(from, to);
  if (fault < 0) raise(atoi(getenv("FAIL_SIGNAL")));
  return done;
}
