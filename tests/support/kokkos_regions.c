/* A Kokkos Tools library: what a kernel may not do while it runs. Kokkos forbids Views to be made, freed, resized or copied, fences and
   further kernels between the begin and the end of a kernel; with a version from 4 on some of it waits for ever, with older ones it seems
   to work. Each is one line on standard error, and the last line counts the kernels seen, so that a test can tell that it was asked. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  char name[64];
} SpaceHandle;

/* How Kokkos treats a tool: without this it fences before each callback, between a kernel's begin and end too. */
typedef struct {
  _Bool requires_global_fencing, padding[255];
} ToolSettings;
void kokkosp_request_tool_settings(uint32_t actions, ToolSettings* settings) { (void)actions, settings->requires_global_fencing = 0; }

static atomic_int depth;
static atomic_ulong kernels, violations;
static char inside[256];

static void enter(char const* name, uint64_t* id) {
  if (atomic_fetch_add(&depth, 1) > 0) {
    atomic_fetch_add(&violations, 1);
    fprintf(stderr, "Kokkos region: kernel '%s' started inside '%s'\n", name, inside);
  } else {
    strncpy(inside, name, sizeof inside - 1);
  }
  *id = atomic_fetch_add(&kernels, 1);
}

static void leave(void) { atomic_fetch_sub(&depth, 1); }

static int is_of_kokkos(char const* name) { return strncmp(name, "Kokkos::", 8) == 0; }

/* Of Kokkos' own doing, and none of ours: what it does in kernels of its own (it fills new Views so), and a team's scratch memory, which it makes
   when it has begun a kernel, without a label or with one of its own. Every View of ours has a label (test_labels.cpp). */
static void note(char const* what, char const* label) {
  if (atomic_load(&depth) == 0 || is_of_kokkos(inside)) return;
  if (strstr(what, "allocation") != NULL && (strcmp(label, "[unlabeled]") == 0 || is_of_kokkos(label))) return;
  atomic_fetch_add(&violations, 1);
  fprintf(stderr, "Kokkos region: %s of '%s' inside '%s'\n", what, label, inside);
}

void kokkosp_begin_parallel_for(char const* name, uint32_t device, uint64_t* id) { (void)device, enter(name, id); }
void kokkosp_begin_parallel_reduce(char const* name, uint32_t device, uint64_t* id) { (void)device, enter(name, id); }
void kokkosp_begin_parallel_scan(char const* name, uint32_t device, uint64_t* id) { (void)device, enter(name, id); }
void kokkosp_end_parallel_for(uint64_t id) { (void)id, leave(); }
void kokkosp_end_parallel_reduce(uint64_t id) { (void)id, leave(); }
void kokkosp_end_parallel_scan(uint64_t id) { (void)id, leave(); }

void kokkosp_allocate_data(SpaceHandle space, char const* label, void const* data, uint64_t bytes) {
  (void)space, (void)data, (void)bytes, note("allocation", label);
}
void kokkosp_deallocate_data(SpaceHandle space, char const* label, void const* data, uint64_t bytes) {
  (void)space, (void)data, (void)bytes, note("deallocation", label);
}
void kokkosp_begin_deep_copy(SpaceHandle to, char const* label, void const* data, SpaceHandle from, char const* from_label,
                             void const* from_data, uint64_t bytes) {
  (void)to, (void)data, (void)from, (void)from_label, (void)from_data, (void)bytes, note("copy", label);
}
void kokkosp_begin_fence(char const* name, uint32_t device, uint64_t* id) { (void)device, *id = 0, note("fence", name); }

/* Regions are named by their phase: one line for each that began, and a violation where they do not end as they nest. */
static int regions;
void kokkosp_push_profile_region(char const* name) {
  static char seen[32][64];
  int at = 0;
  while (at < 31 && seen[at][0] != 0 && strcmp(seen[at], name) != 0) ++at;
  if (seen[at][0] == 0) fprintf(stderr, "Kokkos phase: '%s'\n", name);
  strncpy(seen[at], name, sizeof seen[at] - 1);
  ++regions;
}
void kokkosp_pop_profile_region(void) {
  if (--regions < 0) atomic_fetch_add(&violations, 1), fprintf(stderr, "Kokkos region: one ends that none began\n");
}

void kokkosp_finalize_library(void) {
  if (regions != 0) atomic_fetch_add(&violations, 1), fprintf(stderr, "Kokkos region: %d are open at the end\n", regions);
  fprintf(stderr, "Kokkos regions: %lu kernels, %lu violations\n", atomic_load(&kernels), atomic_load(&violations));
}
