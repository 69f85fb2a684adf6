"""Over all cards at most fifty messages a second: in turns, each with its newest state; an end never waits."""

from __future__ import annotations

from collections.abc import Callable

from wiro_nb.notebook.live import CARD_MESSAGES_PER_S, Throttle


class Desk:
    """A throttle on a clock that moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[tuple[float, str]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.throttle = Throttle(clock=lambda: self.now, call_later=self._call_later)

    def _call_later(self, pause: float, work: Callable[[], None]) -> None:
        self.timers.append((self.now + pause, work))

    def offer(self, key: str, value: str) -> None:
        self.throttle.offer(key, lambda: self.sent.append((self.now, value)))

    def run_to(self, moment: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= moment]:
            timer = min(due, key=lambda item: item[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = moment


def most_in_a_second(sent: list[tuple[float, str]]) -> int:
    return max(sum(moment <= other < moment + 1.0 for other, _ in sent) for moment, _ in sent)


def test_a_thousand_moving_cards_send_fifty_messages_a_second_in_turns() -> None:
    desk = Desk()
    for tick in range(40):  # four seconds, each run ten changes a second
        for card in range(1000):
            desk.offer(f"card {card}", f"{card}: {tick}")
        desk.run_to(100.0 + (tick + 1) / 10)
    assert most_in_a_second(desk.sent) == CARD_MESSAGES_PER_S
    assert len(desk.sent) >= 4 * CARD_MESSAGES_PER_S
    assert len({text.partition(":")[0] for _, text in desk.sent}) == len(desk.sent), (
        "no card twice before all others"
    )
    desk.run_to(140.0)
    last = {text.partition(":")[0]: text for _, text in desk.sent}
    assert sorted(last.values()) == sorted(f"{card}: 39" for card in range(1000)), "each ends at its newest state"
    assert desk.timers == []


def test_few_cards_are_not_held_up() -> None:
    desk = Desk()
    for step in range(10):
        desk.offer("one", str(step))
        desk.run_to(desk.now + 0.1)
    assert [text for _, text in desk.sent] == [str(step) for step in range(10)]
    assert desk.timers == []


def test_a_card_that_ended_sends_nothing_any_more_and_one_that_fails_stops_nobody() -> None:
    desk = Desk()
    for number in range(CARD_MESSAGES_PER_S):
        desk.offer(f"filler {number}", "")
    desk.offer("gone", "gone")
    desk.throttle.offer("bad", lambda: 1 // 0)
    desk.offer("good", "good")
    desk.throttle.drop("gone")
    desk.run_to(110.0)
    assert [text for _, text in desk.sent if text] == ["good"]
