"""Two machines: network namespaces, joined by a cable or a relay, over which MPI uses TCP; shared memory is off."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .relay import Relay

pytestmark = pytest.mark.slow  # each starts several processes

CASES, DRIVER = Path(__file__).with_name("cases.py"), Path(__file__).with_name("driver.py")
ADDRESSES = ("10.77.91.1", "10.77.91.2")
TCP = {
    "MPIR_CVAR_NOLOCAL": "1",
    "UCX_TLS": "tcp,self",
    "UCX_NET_DEVICES": "all",
    "UCX_LOG_LEVEL": "error",
    "FI_PROVIDER": "tcp",
}

# What mpiexec calls instead of ssh: REMOTE [OPTIONS] HOST COMMAND
REMOTE = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec PREFIX-${host##*.} sh -c "$*"
"""

CONNECT = f"""
import socket, time
begin = time.perf_counter()
socket.socket().connect_ex(("{ADDRESSES[1]}", 9))
print(time.perf_counter() - begin)
"""


class Machines:
    """Two network namespaces, `PREFIX-1` and `PREFIX-2`."""

    kind = "cable"

    def __init__(self, folder: Path) -> None:
        self.prefix = f"chainrule-{self.kind}-{os.getpid()}"
        self.names = [f"{self.prefix}-1", f"{self.prefix}-2"]
        self.cables = [f"cr{self.kind[0]}{os.getpid()}{end}" for end in "ab"]
        self.remote = folder / "remote"
        self.remote.write_text(REMOTE.replace("PREFIX", self.prefix))
        self.remote.chmod(0o700)

    def set_up(self) -> None:
        for name in self.names:
            self.ip("netns", "add", name)
        self.connect()
        for name, cable, address in zip(self.names, self.cables, ADDRESSES, strict=True):
            self.ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            self.ip("-n", name, "link", "set", "lo", "up")
        self.switch_on()

    def connect(self) -> None:
        (first, second), (a, b) = self.names, self.cables
        self.ip("link", "add", a, "netns", first, "type", "veth", "peer", "name", b, "netns", second)

    def switch_on(self) -> None:
        """Set the ends up, and wait until they are: that takes the kernel up to a second, and UCX uses none before."""
        for name, cable in zip(self.names, self.cables, strict=True):
            self.ip("-n", name, "link", "set", cable, "up")
        end = time.monotonic() + 10
        while not set(self.of_cables("operstate")) <= {"up", "unknown"}:  # of a tap, it is unknown
            assert time.monotonic() < end, "the cable does not come up"
            time.sleep(0.05)

    def tear_down(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    def inside(self, machine: int, *command: str) -> str:
        program = ["ip", "netns", "exec", self.names[machine], *command]
        return subprocess.run(program, check=True, capture_output=True, text=True).stdout

    def of_cables(self, file: str) -> list[str]:
        """What the kernel says of either end."""
        files = [f"/sys/class/net/{cable}/{file}" for cable in self.cables]
        return [self.inside(machine, "cat", file).strip() for machine, file in enumerate(files)]

    def bytes_sent(self) -> list[int]:
        return list(map(int, self.of_cables("statistics/tx_bytes")))

    @property
    def launcher(self) -> tuple[str, ...]:
        return (
            "-launcher", "ssh", "-launcher-exec", str(self.remote), "-localhost", ADDRESSES[0],
            "-hosts", ",".join(ADDRESSES), "-ppn", "1",
        )  # fmt: skip


class RelayedMachines(Machines):
    """Two network namespaces with a relay between them."""

    kind = "relay"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.relay = Relay(self.cables)

    def connect(self) -> None:
        for name, cable in zip(self.names, self.cables, strict=True):
            self.ip("link", "set", cable, "netns", name)

    def tear_down(self) -> None:
        self.relay.close()
        super().tear_down()

    def round_trip(self) -> float:
        """Seconds until the second machine refuses a connection, as nothing listens there."""
        self.inside(0, sys.executable, "-c", CONNECT)  # learns the Ethernet address, which takes a round trip as well
        return float(self.inside(0, sys.executable, "-c", CONNECT))


def made(kind, folder):
    """Set the machines up, and tear them down after the tests."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("network namespaces need `ip` and root")
    try:
        machines = kind(folder)
    except OSError as error:
        pytest.skip(f"a tap device cannot be made: {error}")
    try:
        machines.set_up()
    except subprocess.CalledProcessError as error:
        machines.tear_down()
        pytest.skip(f"network namespaces cannot be made: {error.stderr.strip()}")
    yield machines
    machines.tear_down()


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    yield from made(Machines, tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def relayed(tmp_path_factory):
    yield from made(RelayedMachines, tmp_path_factory.mktemp("relayed"))


@pytest.fixture(scope="module")
def expected():
    """What two ranks print if they train as one process does, on as many shards."""
    environment = {**os.environ, "CHAINRULE_THREADS": "1"}
    alone = subprocess.run([sys.executable, CASES], env=environment, capture_output=True, text=True, check=True).stdout
    return [[*case, digest, digest, epochs] for *case, digest, epochs in map(str.split, alone.splitlines())]


def printed(job):
    assert job.wait() == 0, job.sentences
    return [line.split() for line in job.out.splitlines()]


def train_until_cut(start, machines, cut):
    """Cut the connection of two ranks that train; check that both end, with the sentence and a checkpoint."""
    arguments = ["train", "--epochs", "500", "--limit", "2000", "--batch-size", "500", "--out", "run", "--quiet"]
    job = start(2, DRIVER, "slow", *arguments, machines=machines, **TCP)
    folder = job.out_file.parent
    metrics = folder / "run" / "metrics.jsonl"
    end = time.monotonic() + 60
    while not metrics.exists() or not metrics.read_text():
        assert job.process.poll() is None, job.sentences
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    processes = [int((folder / f"rank-{rank}.pid").read_text()) for rank in range(2)]
    cut()
    begin = time.monotonic()
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < begin + 10, "a rank still runs"
        time.sleep(0.05)
    job.process.kill()  # it may wait for the machine that it cannot reach
    (sentence,) = [line for line in job.sentences if line.startswith("chainrule: ")]
    assert re.match(
        r"chainrule: rank 1 \(.*\) has not answered for \d s: it was killed or stopped, or its network", sentence
    )
    assert (folder / "run" / "checkpoint" / "state.safetensors").exists()


def test_two_machines_train_as_one_over_tcp(start, machines, expected):
    before = machines.bytes_sent()
    assert printed(start(2, CASES, machines=machines, **TCP)) == expected
    sent = [after - start for after, start in zip(machines.bytes_sent(), before, strict=True)]
    # Each step of 15 per case sends half of the bucket, twice, in either direction: weights, flags, loss and buffers
    mlp = 145 * 32 + 33 * 5 + 4 + 2
    cnn = 10 * 4 + 2 * 4 + 101 * 5 + 6 + 2 * 4 + 1 + 2
    least = 15 * 2 * 4 * (mlp + cnn)
    assert min(sent) > least
    assert max(sent) < least + 400_000  # states of the start, headers, heartbeats


def test_a_broken_cable_ends_both(start, machines):
    """Each machine notices by itself."""
    try:
        train_until_cut(start, machines, lambda: machines.inside(0, "ip", "link", "set", machines.cables[0], "down"))
    finally:
        machines.switch_on()


def test_a_slow_network_changes_no_bits(start, machines):
    """8 Mbit/s, at which the messages take as long as all else."""
    for machine, cable in enumerate(machines.cables):
        try:
            machines.inside(
                machine, "tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate", "8mbit", "burst", "16kbit",
                "latency", "2s",
            )  # fmt: skip
        except (subprocess.CalledProcessError, FileNotFoundError):
            pytest.skip("the kernel cannot limit the rate of a network (tc qdisc ... tbf)")
    try:
        begin, before = time.monotonic(), machines.bytes_sent()
        job = start(2, CASES, machines=machines, **TCP)
        assert job.wait() == 0, job.sentences
        seconds = time.monotonic() - begin
        sent = max(after - start for after, start in zip(machines.bytes_sent(), before, strict=True))
        assert sent > 600_000
        assert seconds > 0.9 * sent / 1e6  # that is 8 Mbit/s, but for what is sent in a burst
        quick = start(2, CASES)
        assert quick.wait() == 0, quick.sentences
        assert job.out == quick.out
    finally:
        for machine, cable in enumerate(machines.cables):
            machines.inside(machine, "tc", "qdisc", "del", "dev", cable, "root")


def test_a_delay_changes_no_bits(start, relayed, expected):
    relayed.relay.delay = 0.02
    try:
        assert relayed.round_trip() > 0.04
        assert printed(start(2, CASES, "cnn adam compiled", machines=relayed, **TCP)) == expected[-1:]
    finally:
        relayed.relay.delay = 0.0


def test_a_short_stall_changes_no_bits(start, relayed, expected):
    """Half as long as the timeout, in the middle of the training: in all, at least 1.3 MB are sent."""
    relay = relayed.relay
    relay.hold(after=700_000)
    try:
        job = start(2, CASES, machines=relayed, **TCP, CHAINRULE_RANK_TIMEOUT="3")
        while not relay.holds:
            assert job.process.poll() is None, job.sentences
            time.sleep(0.05)
        time.sleep(1.5)
        assert relay.frames_waiting
        assert job.process.poll() is None, job.sentences
    finally:
        relay.release()
    assert printed(job) == expected


def test_a_long_stall_ends_both(start, relayed):
    """As a broken cable, but the devices stay up."""
    try:
        train_until_cut(start, relayed, relayed.relay.hold)
    finally:
        relayed.relay.release()
