"""A virtual cable between two network namespaces, which can delay Ethernet frames and hold them back.

Each end is a tap, a network device whose Ethernet frames a program reads and writes. A thread passes the frames of each
end to the other end.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import struct
import threading
import time
from collections import deque

TUN = "/dev/net/tun"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
LONGEST_FRAME = 65536


def open_tap(name: str) -> int:
    """Make the network device, which exists until the file is closed, and return the file's descriptor."""
    import fcntl

    file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(file)
        raise
    return file


class Relay:
    """The cable.

    Attributes:
        delay: the seconds that each frame takes, in either direction.
        bytes_sent: the number of bytes that have arrived, in both directions together.
    """

    def __init__(self, names: list[str]) -> None:
        self.delay = 0.0
        self.bytes_sent = 0
        self._files: list[int] = []
        try:
            self._files += map(open_tap, names)
        except OSError:
            self._close_files()
            raise
        self._frames: deque[tuple[float, int, bytes]] = deque()  # when each frame is due, and the file to write it to
        self._hold_at = math.inf  # the number of bytes sent from which on frames are held back
        self._ends = False
        self._wake, self._wake_up = os.pipe()  # to end the thread's wait after a change of the attributes above
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def hold(self, after: int = 0) -> None:
        """Once `after` more bytes have arrived, hold all frames back until `release`."""
        self._hold_at = self.bytes_sent + after

    def release(self) -> None:
        self._hold_at = math.inf
        os.write(self._wake_up, b"\0")

    @property
    def holds(self) -> bool:
        return self.bytes_sent >= self._hold_at

    @property
    def frames_waiting(self) -> int:
        return len(self._frames)

    def close(self) -> None:
        self._ends = True
        os.write(self._wake_up, b"\0")
        self._thread.join()
        self._files += self._wake, self._wake_up
        self._close_files()

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop())

    def _run(self) -> None:
        first, second = self._files
        while not self._ends:
            is_waiting = self._frames and not self.holds
            seconds = max(0.0, self._frames[0][0] - time.monotonic()) if is_waiting else None
            for file in select.select([first, second, self._wake], [], [], seconds)[0]:
                if file == self._wake:
                    os.read(file, 1)
                else:
                    self._read(file, second if file == first else first)
            while self._frames and not self.holds and self._frames[0][0] <= time.monotonic():
                _, file, frame = self._frames.popleft()
                with contextlib.suppress(OSError):  # the device is down: the frame is lost
                    self.bytes_sent += os.write(file, frame)

    def _read(self, file: int, other: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = os.read(file, LONGEST_FRAME)
                self._frames.append((time.monotonic() + self.delay, other, frame))
