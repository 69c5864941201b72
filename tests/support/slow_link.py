"""Joins two Ethernet segments by a link with latency: slow_link.py MILLISECONDS NAME NAME

Makes two TAP devices of these names and passes each frame that one of them is given to the other, MILLISECONDS later.
Prints "ready" when they are there; they go away with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LARGEST_FRAME = 65536


def open_tap(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def write(device: int, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # the device is down or full: a frame is lost, as on any link
        os.write(device, frame)


async def relay(delay: float, ends: tuple[int, int]) -> None:
    loop = asyncio.get_running_loop()

    def forward(source: int, sink: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                loop.call_later(delay, write, sink, os.read(source, LARGEST_FRAME))

    loop.add_reader(ends[0], forward, ends[0], ends[1])
    loop.add_reader(ends[1], forward, ends[1], ends[0])
    await asyncio.Event().wait()


if __name__ == "__main__":
    taps = open_tap(sys.argv[2]), open_tap(sys.argv[3])
    print("ready", flush=True)
    asyncio.run(relay(float(sys.argv[1]) / 1e3, taps))
