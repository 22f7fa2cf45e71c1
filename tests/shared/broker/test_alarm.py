"""A release that fails on every message must not empty the queue; single bad messages must not stop it."""

from shared.broker.alarm import AlarmLimit, RejectAlarm

LIMIT = AlarmLimit(share=0.5, errors=3, window_seconds=60)


class Time:
    """A clock to set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_takes_both_the_number_and_the_share() -> None:
    alarm = RejectAlarm(LIMIT, Time())
    assert [alarm.failed(), alarm.failed()] == [0, 0]
    assert alarm.failed() == 1
    assert alarm.is_raised

    busy = RejectAlarm(LIMIT, Time())
    busy.taken(100)
    assert [busy.failed() for _ in range(50)] == [0] * 50


def test_each_further_failure_doubles_the_pause_to_a_minute() -> None:
    time = Time()
    alarm = RejectAlarm(LIMIT, time)
    pauses = []
    for _ in range(12):
        pauses.append(alarm.failed())
        time.now += pauses[-1]
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_success_that_brings_the_share_down_ends_it() -> None:
    time = Time()
    alarm = RejectAlarm(LIMIT, time)
    for _ in range(4):
        alarm.failed()
    alarm.taken(1)
    assert alarm.is_raised
    alarm.taken(3)
    assert not alarm.is_raised


def test_what_is_older_than_the_window_is_forgotten() -> None:
    time = Time()
    alarm = RejectAlarm(LIMIT, time)
    alarm.failed()
    alarm.failed()
    time.now = 61
    assert alarm.failed() == 0
