"""How long threads wait busily."""

import os

from radrim.runtime.waiting import WaitingSettings, wait_briefly


def test_waits_briefly_unless_told_otherwise(monkeypatch):
    """The number of turns is set for this process and its children, but not where the user has chosen one."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == str(WaitingSettings.spins)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
