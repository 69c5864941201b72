/* Preloaded into an MPI program: counts the requests, communicators, files, ... that are made and ended by MPI calls of the program and of
 * libraries such as HDF5. A rank on which the two differ after MPI_Finalize says so and ends with code 97.
 *
 * What a call makes is told by its handle: null for a request that is already done, MPI_COMM_NULL for a rank that is left out. A request
 * is ended when a call that got it turns it into MPI_REQUEST_NULL. test_mpi_objects.py checks that all calls in use are known here.
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum kind { request, message, communicator, datatype, file, info, key, kinds };
static char const* const names[kinds] = {"requests", "messages", "communicators", "datatypes", "files", "infos", "keys"};
static long made[kinds], ended[kinds];

static void count(long* counter, int condition) {
  if (condition) __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* A call that makes one object, *last. */
#define MAKES(kind, null, call, handle, parameters, arguments)  \
  int MPI_##call parameters {                                   \
    int const code = PMPI_##call arguments;                     \
    count(&made[kind], code == MPI_SUCCESS && *handle != null); \
    return code;                                                \
  }
/* A call that ends one object. */
#define ENDS(kind, null, call, type)                               \
  int MPI_##call(type* handle) {                                   \
    int const given = *handle != null, code = PMPI_##call(handle); \
    count(&ended[kind], given&& code == MPI_SUCCESS);              \
    return code;                                                   \
  }

MAKES(communicator, MPI_COMM_NULL, Comm_dup, made_comm, (MPI_Comm comm, MPI_Comm* made_comm), (comm, made_comm))
MAKES(communicator, MPI_COMM_NULL, Comm_split, made_comm, (MPI_Comm comm, int color, int order, MPI_Comm* made_comm),
      (comm, color, order, made_comm))
MAKES(communicator, MPI_COMM_NULL, Comm_split_type, made_comm, (MPI_Comm comm, int type, int order, MPI_Info hints, MPI_Comm* made_comm),
      (comm, type, order, hints, made_comm))
ENDS(communicator, MPI_COMM_NULL, Comm_free, MPI_Comm)

MAKES(file, MPI_FILE_NULL, File_open, made_file, (MPI_Comm comm, char const* name, int mode, MPI_Info hints, MPI_File* made_file),
      (comm, name, mode, hints, made_file))
ENDS(file, MPI_FILE_NULL, File_close, MPI_File)
MAKES(info, MPI_INFO_NULL, Info_dup, copy, (MPI_Info hints, MPI_Info* copy), (hints, copy))
ENDS(info, MPI_INFO_NULL, Info_free, MPI_Info)
MAKES(key, MPI_KEYVAL_INVALID, Comm_create_keyval, made_key,
      (MPI_Comm_copy_attr_function * copy, MPI_Comm_delete_attr_function* end, int* made_key, void* state), (copy, end, made_key, state))
ENDS(key, MPI_KEYVAL_INVALID, Comm_free_keyval, int)

MAKES(datatype, MPI_DATATYPE_NULL, Type_contiguous, type, (int n, MPI_Datatype old, MPI_Datatype* type), (n, old, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_vector, type, (int n, int length, int stride, MPI_Datatype old, MPI_Datatype* type),
      (n, length, stride, old, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_create_hvector, type, (int n, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype* type),
      (n, length, stride, old, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_create_hindexed, type,
      (int n, int const lengths[], MPI_Aint const at[], MPI_Datatype old, MPI_Datatype* type), (n, lengths, at, old, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_create_hindexed_block, type,
      (int n, int length, MPI_Aint const at[], MPI_Datatype old, MPI_Datatype* type), (n, length, at, old, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_create_struct, type,
      (int n, int const lengths[], MPI_Aint const at[], MPI_Datatype const of[], MPI_Datatype* type), (n, lengths, at, of, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_create_resized, type, (MPI_Datatype old, MPI_Aint low, MPI_Aint extent, MPI_Datatype* type),
      (old, low, extent, type))
MAKES(datatype, MPI_DATATYPE_NULL, Type_dup, type, (MPI_Datatype old, MPI_Datatype* type), (old, type))
ENDS(datatype, MPI_DATATYPE_NULL, Type_free, MPI_Datatype)

MAKES(request, MPI_REQUEST_NULL, Isend, r, (void const* data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request* r),
      (data, n, type, to, tag, comm, r))
MAKES(request, MPI_REQUEST_NULL, Irecv, r, (void* data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request* r),
      (data, n, type, from, tag, comm, r))
MAKES(request, MPI_REQUEST_NULL, Ibarrier, r, (MPI_Comm comm, MPI_Request* r), (comm, r))
MAKES(request, MPI_REQUEST_NULL, Ibcast, r, (void* data, int n, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* r),
      (data, n, type, root, comm, r))
MAKES(request, MPI_REQUEST_NULL, Iallreduce, r,
      (void const* data, void* sum, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm, MPI_Request* r), (data, sum, n, type, op, comm, r))

/* A matched message is ended by being received. */
MAKES(message, MPI_MESSAGE_NULL, Mprobe, m, (int from, int tag, MPI_Comm comm, MPI_Message* m, MPI_Status* status),
      (from, tag, comm, m, status))
int MPI_Improbe(int from, int tag, MPI_Comm comm, int* found, MPI_Message* m, MPI_Status* status) {
  int const code = PMPI_Improbe(from, tag, comm, found, m, status);
  count(&made[message], code == MPI_SUCCESS && *found);
  return code;
}
int MPI_Imrecv(void* data, int n, MPI_Datatype type, MPI_Message* m, MPI_Request* r) {
  int const code = PMPI_Imrecv(data, n, type, m, r);
  count(&ended[message], code == MPI_SUCCESS);
  count(&made[request], code == MPI_SUCCESS && *r != MPI_REQUEST_NULL);
  return code;
}

static int pending(int n, MPI_Request const* r) {
  int found = 0;
  for (int i = 0; i < n; ++i) found += r[i] != MPI_REQUEST_NULL;
  return found;
}
#define COMPLETES(call, size, parameters, arguments)                                  \
  int MPI_##call parameters {                                                         \
    int const before = pending(size, r), code = PMPI_##call arguments;                \
    __atomic_add_fetch(&ended[request], before - pending(size, r), __ATOMIC_RELAXED); \
    return code;                                                                      \
  }
COMPLETES(Wait, 1, (MPI_Request * r, MPI_Status* status), (r, status))
COMPLETES(Test, 1, (MPI_Request * r, int* done, MPI_Status* status), (r, done, status))
COMPLETES(Waitall, n, (int n, MPI_Request r[], MPI_Status status[]), (n, r, status))
COMPLETES(Testall, n, (int n, MPI_Request r[], int* done, MPI_Status status[]), (n, r, done, status))

/* HDF5 frees what it holds inside of MPI_Finalize. */
int MPI_Finalize(void) {
  int const code = PMPI_Finalize();
  int differ = 0;
  for (int k = 0; k < kinds; ++k) differ |= made[k] != ended[k];
  char text[512];
  int length = snprintf(text, sizeof text, "MPI objects%s:", differ ? " NOT ENDED" : "");
  for (int k = 0; k < kinds; ++k) {
    length += snprintf(text + length, sizeof text - (size_t)length, " %ld of %ld %s,", ended[k], made[k], names[k]);
  }
  text[length - 1] = '\n';
  /* To a file, if one is named: launchers cut what ranks say to stderr at any place. */
  char const* const path = getenv("COUNT_MPI_OBJECTS");
  int const to = path == NULL ? STDERR_FILENO : open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (write(to, text, (size_t)length) < 0 || differ) _exit(97);
  return code;
}
