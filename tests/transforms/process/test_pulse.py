"""The pulse of a process that may be stopped."""

import os
import signal
import subprocess
import sys
import time

from transforms.process.pulse import Pulse


def test_a_gap_between_beats_is_a_stop_for_what_began_before_it() -> None:
    now = 100.0
    pulse = Pulse(lambda: now)
    for _ in range(10):
        now += 0.5
        pulse.beat()
    began = now
    assert pulse.stopped(began) == 0.0
    now += 12.0
    assert pulse.stopped(began) == 12.0
    now += 0.5
    assert pulse.stopped(began) == 12.0
    assert pulse.stopped(now) == 0.0, "what begins after it is not concerned"


def test_a_process_notices_that_it_was_stopped() -> None:
    code = (
        "import time; from transforms.process.pulse import pulse\n"
        "p = pulse(); began = p.clock(); print('on', flush=True)\n"
        "input(); print(p.stopped(began) > 1.5)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "on\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(2)  # it is what is measured
    os.kill(child.pid, signal.SIGCONT)
    out, _ = child.communicate("\n", timeout=20)
    assert out == "True\n"
