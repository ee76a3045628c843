import os
import threading
import time

import pytest

from stream.reasoner_thread import ReasonerThread

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has a class of threads that go last")


def scheduler():
    return os.sched_getscheduler(0)


async def test_a_call_takes_its_share_until_told_to_go_last():
    thread = ReasonerThread(30.0)
    assert await thread.call(scheduler) == os.SCHED_OTHER
    thread.go_last()
    assert await thread.call(scheduler) == os.SCHED_IDLE
    assert scheduler() == os.SCHED_OTHER
    thread.close()


async def test_a_call_that_finds_no_core_left_is_begun_again_with_its_share():
    thread, found = ReasonerThread(30.0, going_last_s=0.2), threading.Event()

    def starved():
        if scheduler() == os.SCHED_IDLE:
            found.wait(10)
        return scheduler()

    thread.go_last()
    assert await thread.call(starved) == os.SCHED_OTHER
    assert await thread.call(scheduler) == os.SCHED_OTHER, "for a while calls take their share"
    found.set()
    await thread._late
    thread.close()


async def test_a_model_that_is_slow_by_itself_never_goes_last():
    thread = ReasonerThread(30.0, going_last_s=0.2)
    await thread.call(time.sleep, 0.15)
    thread.go_last()
    assert await thread.call(scheduler) == os.SCHED_OTHER
    assert await thread.call(scheduler) == os.SCHED_IDLE, "once calls are quick again, they do"
    thread.close()


async def test_an_error_of_a_call_that_goes_last_is_its_callers():
    thread = ReasonerThread(30.0)
    thread.go_last()
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 / 0)
    thread.close()
