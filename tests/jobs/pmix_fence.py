"""As a rank under srun --mpi=pmix: how long it waits in a PMIx fence without data to which rank 0 comes late.

python3 pmix_fence.py SECONDS FOLDER        into FOLDER/fence-RANK
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path


class Process(ctypes.Structure):
    """pmix_proc_t"""

    _fields_ = (("namespace", ctypes.c_char * 256), ("rank", ctypes.c_uint32))


def main() -> int:
    library = ctypes.CDLL("libpmix.so.2")
    me = Process()
    if library.PMIx_Init(ctypes.byref(me), None, ctypes.c_size_t(0)) != 0:
        return 3
    if me.rank == 0:
        time.sleep(float(sys.argv[1]))
    begin = time.monotonic()
    code = library.PMIx_Fence(None, ctypes.c_size_t(0), None, ctypes.c_size_t(0))
    (Path(sys.argv[2]) / f"fence-{me.rank}").write_text(str(time.monotonic() - begin))
    library.PMIx_Finalize(None, ctypes.c_size_t(0))
    return 0 if code == 0 else 4


if __name__ == "__main__":
    sys.exit(main())
