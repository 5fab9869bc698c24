"""Laws of the schedule of steps over slots, and how near to the best it comes on graphs of a sweep's shape."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.pipeline.schedule import Order, Takes, Timed, longest_paths, lower_bound, makespan
from orchestrator.pipeline.sharing import Own, Span

SECONDS = st.integers(0, 50).map(float)  # whole numbers: their sums are exact
QUEUES: tuple[Order, ...] = ("arrival", "path")
ORDERS = st.sampled_from(QUEUES)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Timed]:
    """Up to twelve steps, each of which needs some of those before it."""
    steps: dict[str, Timed] = {}
    for number in range(draw(st.integers(0, 12))):
        needs = draw(st.lists(st.sampled_from(sorted(steps)), max_size=3)) if steps else []
        takes: Takes = draw(st.sampled_from(["nothing", "slot", "all"]))
        steps[f"s{number:02}"] = Timed(draw(SECONDS), tuple(needs), takes)
    return steps


@settings(deadline=None)
@given(graphs(), st.integers(1, 5), ORDERS)
def test_nothing_begins_before_its_inputs_and_slots_are_never_exceeded(
    steps: dict[str, Timed], slots: int, order: Order
) -> None:
    found = makespan(steps, slots, order)
    ends = {name: found.begins[name] + step.seconds for name, step in steps.items()}
    for name, step in steps.items():
        assert all(ends[need] <= found.begins[name] for need in step.needs)
    taken = {"nothing": 0, "slot": 1, "all": slots}
    for moment in found.begins.values():
        at_work = [name for name in steps if found.begins[name] <= moment < ends[name]]
        assert sum(taken[steps[name].takes] for name in at_work) <= slots
    assert found.seconds == max(ends.values(), default=0.0)


@settings(deadline=None)
@given(graphs(), st.integers(1, 5), ORDERS)
def test_no_schedule_undercuts_the_bound_nor_takes_longer_than_all_in_turn(
    steps: dict[str, Timed], slots: int, order: Order
) -> None:
    found = makespan(steps, slots, order).seconds
    assert lower_bound(steps, slots) <= found + 1e-9
    assert max(longest_paths(steps).values(), default=0.0) <= found
    assert found <= sum(step.seconds for step in steps.values())


@given(st.lists(SECONDS, max_size=12), st.integers(1, 5), ORDERS)
def test_a_chain_and_a_single_slot_take_the_sum(seconds: list[float], slots: int, order: Order) -> None:
    chain = {f"{n}": Timed(each, (f"{n - 1}",) if n else (), "slot") for n, each in enumerate(seconds)}
    beside = {f"{n}": Timed(each, takes="slot") for n, each in enumerate(seconds)}
    assert makespan(chain, slots, order).seconds == sum(seconds)
    assert makespan(beside, 1, order).seconds == sum(seconds)


@given(graphs(), st.data())
def test_longer_steps_end_no_sooner_where_there_is_a_slot_for_each(
    steps: dict[str, Timed], data: st.DataObject
) -> None:
    free = {name: Timed(s.seconds, s.needs, "nothing" if s.takes == "nothing" else "slot") for name, s in steps.items()}
    longer = {name: Timed(s.seconds + data.draw(SECONDS), s.needs, s.takes) for name, s in free.items()}
    assert makespan(free, 12).seconds <= makespan(longer, 12).seconds


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=12), st.integers(1, 5))
def test_longer_steps_end_no_sooner_in_a_queue_of_independent_ones(
    pairs: list[tuple[float, float]], slots: int
) -> None:
    short = {f"{n:02}": Timed(one, takes="slot") for n, (one, _) in enumerate(pairs)}
    longer = {f"{n:02}": Timed(one + more, takes="slot") for n, (one, more) in enumerate(pairs)}
    assert makespan(short, slots).seconds <= makespan(longer, slots).seconds


def test_who_comes_first_is_served_first() -> None:
    steps = {"long": Timed(10, takes="slot"), "short": Timed(2, takes="slot"), "late": Timed(1, ("short",), "slot")}
    steps["waits"] = Timed(8, takes="slot")  # it was there before "late" could be
    assert makespan(steps, 2).begins == {"long": 0, "short": 0, "late": 10, "waits": 2}


def test_who_runs_alone_waits_for_all_slots_and_is_waited_for() -> None:
    steps = {name: Timed(seconds, takes="slot") for name, seconds in {"a": 2, "b": 5, "c": 4, "d": 1}.items()}
    steps = {"a": steps["a"], "b": steps["b"], "alone": Timed(3, takes="all"), "c": steps["c"], "d": steps["d"]}
    assert makespan(steps, 2).begins == {"a": 0, "b": 0, "alone": 5, "c": 8, "d": 8}


def test_the_longest_path_goes_first() -> None:
    steps = {f"short {n}": Timed(2, takes="slot") for n in range(3)}
    steps |= {"long": Timed(3, takes="slot"), "after": Timed(9, ("long",))}
    assert makespan(steps, 2, "arrival").seconds == 14
    assert makespan(steps, 2, "path").seconds == 12


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        makespan({"a": Timed(1, ("b",)), "b": Timed(1, ("a",))}, 1)


LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "alike": lambda numbers: numbers.uniform(500, 600),
    "from short to long": lambda numbers: numbers.uniform(60, 1_500),
    "three sizes": lambda numbers: numbers.choice([70.0, 190.0, 430.0]),
    "a few very long": lambda numbers: numbers.lognormvariate(6.0, 0.8),
}


def sweep(lengths: str, trials: int, seed: int) -> dict[str, Timed]:
    """A text, a teacher and its caches, trials with a measurement each, and one report."""
    numbers = random.Random(seed)
    steps = {"corpus": Timed(5), "blocks": Timed(3, ("corpus",)), "teacher": Timed(20, ("blocks",), "all")}
    steps |= {f"cache-{n}": Timed(10, ("blocks", "teacher"), "slot") for n in range(8)}
    for n in range(trials):
        steps[f"trial-{n}"] = Timed(LENGTHS[lengths](numbers), ("blocks", f"cache-{n % 8}"), "slot")
        steps[f"measure-{n}"] = Timed(numbers.uniform(1, 5), (f"trial-{n}",))
    return steps | {"report": Timed(5, tuple(f"measure-{n}" for n in range(trials)))}


@pytest.mark.parametrize("lengths", [name for name in LENGTHS if name != "three sizes"])
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_trials_on_256_slots_are_near_the_best_and_soon_decided(lengths: str, seed: int) -> None:
    steps = sweep(lengths, 1_000, seed)
    bound, began = lower_bound(steps, 256), time.process_time()
    found = makespan(steps, 256, "path").seconds
    assert time.process_time() - began < 1
    assert found / bound < 1.05
    assert found <= makespan(steps, 256, "arrival").seconds


@pytest.mark.parametrize("seed", range(5))
def test_of_few_sizes_no_order_fills_the_slots_and_the_longest_path_comes_nearest(seed: int) -> None:
    steps = sweep("three sizes", 1_000, seed)
    first_come, longest = (makespan(steps, 256, order).seconds / lower_bound(steps, 256) for order in QUEUES)
    assert longest < 1.15
    assert first_come > 1.25


def test_steps_beyond_the_cores_slow_each_other() -> None:
    pair = {"a": Timed(4, busy=2), "b": Timed(1, busy=1), "waits": Timed(1, ("b",))}
    found = makespan(pair, 1, cores=2)
    assert found.ends == pytest.approx({"b": 1.5, "waits": 2.5, "a": 4.5})
    assert makespan(pair, 1).seconds == 4


@st.composite
def shared(draw: st.DrawFn) -> dict[str, Timed]:
    steps = draw(graphs())
    return {name: Timed(s.seconds, s.needs, s.takes, draw(st.sampled_from([0, 1, 2]))) for name, s in steps.items()}


@settings(deadline=None)
@given(shared(), st.integers(1, 5), st.integers(1, 4))
def test_what_steps_would_take_by_themselves_is_told_from_when_they_ran(
    steps: dict[str, Timed], slots: int, cores: int
) -> None:
    found = makespan(steps, slots, cores=cores)
    spans = [Span(found.begins[name], found.ends[name], step.busy) for name, step in steps.items()]
    clock = Own(spans, cores)
    for name, step in steps.items():
        assert clock.seconds(found.begins[name], found.ends[name]) == pytest.approx(step.seconds, abs=1e-6)
    assert found.seconds >= sum(step.seconds * step.busy for step in steps.values()) / cores - 1e-6


def test_ranks_decide_where_they_are_given() -> None:
    steps = {name: Timed(2, takes="slot") for name in ("a", "b", "c")}
    assert makespan(steps, 1, ranks={"c": 3, "b": 1}).begins == {"c": 0, "b": 2, "a": 4}
