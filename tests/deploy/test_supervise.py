import signal
import subprocess
import sys
import time

import pytest

from deploy.ports import free_port
from deploy.supervise import Child, ChildFailed, Supervisor

DEADLINE_S = 20.0


def python(*lines):
    return (sys.executable, "-u", "-c", "\n".join(lines))


SLEEPER = python("import time", "print('up')", "time.sleep(600)")
STUBBORN = python(
    "import signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "print('up')", "time.sleep(600)"
)


def until(condition, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_running(pid):
    """Runs, and is not a zombie that nobody has waited for."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


@pytest.fixture
def events():
    return []


@pytest.fixture
def supervisor(tmp_path, events):
    with Supervisor(tmp_path / "logs", lambda *event: events.append(event[:2])) as running:
        yield running


def test_a_killed_child_is_restarted_with_another_pid(supervisor, events):
    supervisor.start(Child("worker", SLEEPER))
    killed = supervisor.kill("worker")
    until(lambda: supervisor.restarts("worker") == 1 and supervisor.is_alive("worker"))
    assert supervisor.pid("worker") != killed
    until(lambda: ("worker", "restarted") in events)
    assert events.index(("worker", "died")) < events.index(("worker", "restarted"))


def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly(supervisor):
    supervisor.start(Child("worker", python("raise SystemExit(3)")), wait=False)
    time.sleep(1.5)
    assert 1 <= supervisor.restarts("worker") <= 4


def test_a_child_that_may_not_restart_stays_dead(supervisor):
    supervisor.start(Child("worker", SLEEPER, restart=False))
    supervisor.kill("worker")
    until(lambda: not supervisor.is_alive("worker"))
    time.sleep(0.4)
    assert supervisor.restarts("worker") == 0


def test_start_waits_until_the_url_answers(supervisor):
    port = free_port()
    server = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    supervisor.start(Child("web", server, ready=f"http://127.0.0.1:{port}/"))
    assert "GET / HTTP" in supervisor.log_tail("web")


def test_a_child_that_ends_before_it_is_ready_fails_with_its_last_words(supervisor):
    broken = Child(
        "worker", python("print('no config found')", "raise SystemExit(7)"), ready=lambda: False, restart=False
    )
    with pytest.raises(ChildFailed, match=r"worker ended with code 7 (?s:.*)no config found"):
        supervisor.start(broken)


def test_a_child_that_is_never_ready_fails_at_its_deadline(supervisor):
    with pytest.raises(ChildFailed, match=r"not ready within 0 s"):
        supervisor.start(Child("worker", SLEEPER, ready="http://127.0.0.1:9/", start_deadline_s=0.3))


def test_stop_asks_first_and_reports_the_code(supervisor):
    polite = python(
        "import signal, sys, time", "signal.signal(15, lambda *_: sys.exit(0))", "print('up')", "time.sleep(600)"
    )
    supervisor.start(Child("worker", polite, ready=lambda: "up" in supervisor.log_tail("worker")))
    assert supervisor.stop("worker") == 0


def test_a_child_that_ignores_sigterm_is_killed_at_its_deadline(supervisor, events):
    child = Child("worker", STUBBORN, ready=lambda: "up" in supervisor.log_tail("worker"), stop_deadline_s=0.3)
    supervisor.start(child)
    assert supervisor.stop("worker") == -signal.SIGKILL
    assert events[-1] == ("worker", "killed")


def test_children_stop_in_reverse_order_of_their_start(supervisor, events):
    for name in ("broker", "worker", "gateway"):
        supervisor.start(Child(name, SLEEPER))
    supervisor.stop_all()
    assert [name for name, event in events if event == "stopped"] == ["gateway", "worker", "broker"]


def test_a_child_gets_our_environment_and_its_own(supervisor, monkeypatch):
    monkeypatch.setenv("OURS", "1")
    show = python("import os, time", "print(os.environ['OURS'], os.environ['ITS'], flush=True)", "time.sleep(600)")
    supervisor.start(Child("worker", show, {"ITS": "2"}, ready=lambda: bool(supervisor.log_tail("worker"))))
    assert supervisor.log_tail("worker") == "1 2"


def test_a_name_is_taken_once(supervisor):
    supervisor.start(Child("worker", SLEEPER))
    with pytest.raises(ValueError, match="already supervised"):
        supervisor.start(Child("worker", SLEEPER))


GRANDPARENT = """
import sys, time
from pathlib import Path
from deploy.supervise import Child, Supervisor

PARENT = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
supervisor = Supervisor(Path(sys.argv[1]))
supervisor.start(Child("worker", (sys.executable, "-c", PARENT), ready=lambda: supervisor.log_tail("worker") != ""))
print(supervisor.pid("worker"), supervisor.log_tail("worker"), flush=True)
time.sleep(600)
"""


def test_children_and_theirs_die_when_the_parent_is_killed(tmp_path):
    command = [sys.executable, "-c", GRANDPARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(is_running(pid) for pid in pids), deadline_s=5)
