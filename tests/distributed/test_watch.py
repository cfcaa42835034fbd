"""When a rank has failed: by the times of its heartbeats, and the settings of the watch."""

import pytest

from chainrule.distributed.watch import Peer, Phase, _timeout
from chainrule.errors import SettingError


def test_a_silent_rank_has_failed():
    peer = Peer(100.0)
    assert peer.fault(106.0, 6.0) is None
    peer.hear(104.0, 1, Phase.BUSY, 0)
    assert peer.fault(110.0, 6.0) is None
    assert peer.fault(110.1, 6.0) == ("has not answered for 6 s: it was killed or stopped, or its network is down")


@pytest.mark.parametrize(
    ("count", "phase", "longest", "seconds", "stuck"),
    [
        (50, Phase.STEP, 0.1, 6.5, True),
        (50, Phase.STEP, 0.1, 5.5, False),
        (50, Phase.STEP, 2.0, 19.0, False),  # its steps are long
        (50, Phase.STEP, 2.0, 21.0, True),
        (5, Phase.STEP, 0.1, 500.0, False),  # its first steps may compile
        (50, Phase.BUSY, 0.1, 500.0, False),  # validating
        (50, Phase.WAITING, 0.1, 500.0, False),
    ],
)
def test_a_stuck_rank_has_failed(count, phase, longest, seconds, stuck):
    peer = Peer(0.0)
    peer.hear(10.0, count, phase, int(longest * 1e6))
    peer.hear(10.0 + seconds, count, phase, int(longest * 1e6))  # its thread lives
    fault = peer.fault(10.0 + seconds, 6.0)
    assert (fault is not None) == stuck
    if stuck:
        assert fault == f"has been in one training step for {seconds:.0f} s: it is stuck"


def test_progress_is_no_fault():
    peer = Peer(0.0)
    for second in range(100):
        peer.hear(float(second), 50 + second, Phase.STEP, 1000)
        assert peer.fault(second + 0.9, 6.0) is None


@pytest.mark.parametrize("setting", ["0", "-3", "soon", "nan"])
def test_a_timeout_that_is_none_is_refused(monkeypatch, setting):
    monkeypatch.setenv("CHAINRULE_RANK_TIMEOUT", setting)
    with pytest.raises(SettingError, match=f"CHAINRULE_RANK_TIMEOUT is '{setting}': it must be a number of seconds"):
        _timeout()


def test_the_timeout(monkeypatch):
    monkeypatch.delenv("CHAINRULE_RANK_TIMEOUT", raising=False)
    assert _timeout() == 6.0
    monkeypatch.setenv("CHAINRULE_RANK_TIMEOUT", "60")
    assert _timeout() == 60.0
