"""Who may train on a shared cluster: gangs, priorities, ages, the dead; without one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.leases import AGE, PATIENCE, Leases, Wish, fits

NODES = [(4.0, 0.0), (4.0, 0.0)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wish(run: str, workers: int = 1, cpus: float = 4, priority: int = 0) -> Wish:
    return Wish(run, workers, cpus, 0, priority)


def test_a_gang_gets_all_of_its_workers_or_none_and_is_passed_by_nobody(clock: Clock) -> None:
    leases = Leases(clock)
    assert leases.ask("one", wish("a"), NODES) == ""
    assert leases.ask("gang", wish("b", workers=2), NODES) == "room beside a"
    assert leases.ask("small", wish("c", cpus=1), NODES) == "room beside a, b, 1 before it"
    leases.give_back("one")
    assert leases.ask("small", wish("c", cpus=1), NODES) != ""
    assert leases.ask("gang", wish("b", workers=2), NODES) == ""
    leases.give_back("gang")
    assert leases.ask("small", wish("c", cpus=1), NODES) == ""


def test_a_higher_priority_goes_first_until_the_other_has_waited_long(clock: Clock) -> None:
    leases = Leases(clock)
    assert leases.ask("now", wish("a", workers=2), NODES) == ""

    def ask_all(*more: str) -> None:
        leases.ask("now", wish("a", workers=2), NODES, held=True)
        leases.ask("low", wish("b", workers=2), NODES)
        for key in more:
            leases.ask(key, wish("c", workers=2, priority=1), NODES)

    ask_all("high")
    leases.give_back("now")
    assert leases.ask("low", wish("b", workers=2), NODES) != ""
    assert leases.ask("high", wish("c", workers=2, priority=1), NODES) == ""
    leases.give_back("high")
    leases.ask("now", wish("a", workers=2), NODES, held=True)
    while clock.now < AGE + 1:
        clock.now += PATIENCE / 2
        ask_all()
    ask_all("late")
    leases.give_back("now")
    assert leases.ask("late", wish("c", workers=2, priority=1), NODES) != ""
    assert leases.ask("low", wish("b", workers=2), NODES) == ""


def test_who_does_not_ask_again_is_dead_and_who_waits_ahead_of_it_begins(clock: Clock) -> None:
    leases = Leases(clock)
    leases.ask("killed", wish("a", workers=2), NODES)
    assert leases.ask("next", wish("b"), NODES) != ""
    clock.now += PATIENCE - 1
    assert leases.ask("next", wish("b"), NODES) != ""
    clock.now += 2
    assert leases.ask("next", wish("b"), NODES) == ""


def test_a_successor_learns_what_is_held(clock: Clock) -> None:
    leases = Leases(clock)
    assert leases.ask("going", wish("a", workers=2), NODES, held=True) == ""
    assert leases.ask("next", wish("b"), NODES) == "room beside a"


def test_more_than_is_there_at_all_is_not_waited_for(clock: Clock) -> None:
    """A cluster that grows adds nodes for what Ray waits for."""
    leases = Leases(clock)
    assert leases.ask("large", wish("a", workers=3), NODES) == ""
    assert leases.ask("wide", wish("b", cpus=5), NODES) == ""


def test_what_waits_is_wanted_beside_what_is_held_until_it_waits_no_more(clock: Clock) -> None:
    leases = Leases(clock)
    leases.ask("one", wish("a"), NODES)
    assert leases.wanted() == []
    leases.ask("gang", wish("b", workers=2, cpus=3), NODES)
    assert leases.wanted() == [{"CPU": 4}, {"CPU": 3}, {"CPU": 3}]
    leases.ask("one", wish("a"), NODES, held=True)
    clock.now += PATIENCE + 1
    assert leases.wanted() == []


gangs = st.tuples(st.integers(1, 3), st.sampled_from([0.5, 1, 2, 4]), st.integers(-1, 1))


@settings(max_examples=100, deadline=None)
@given(st.lists(gangs, min_size=1, max_size=12), st.randoms())
def test_all_end_and_no_node_ever_holds_more_than_it_has(wanted: list[tuple[int, float, int]], random) -> None:
    """No deadlock and no starvation: whoever waits has its turn, in whatever order all ask."""
    clock = Clock()
    leases, held = Leases(clock), set()
    wishes = {str(n): wish(str(n), workers, cpus, priority) for n, (workers, cpus, priority) in enumerate(wanted)}
    left = {key: each for key, each in wishes.items() if fits(NODES, [each])}
    rounds = 0
    while left:
        rounds += 1
        assert rounds <= 2 * len(wishes)
        clock.now += 1
        for key in random.sample(sorted(left), len(left)):
            if leases.ask(key, left[key], NODES) == "":
                held.add(key)
        assert fits(NODES, [wishes[key] for key in leases._held])
        assert held
        key = random.choice(sorted(held))
        leases.give_back(key)
        held.discard(key)
        del left[key]
