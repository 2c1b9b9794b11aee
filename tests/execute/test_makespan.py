from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.execute.makespan import Node, critical_path, makespan


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Up to twelve jobs, each of which reads some of those before it."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from([node.key for node in nodes]), unique=True)) if nodes else []
        nodes.append(Node(str(number), float(draw(st.integers(0, 9))), tuple(inputs)))
    return nodes


def test_a_chain_takes_its_sum_on_any_number_of_workers() -> None:
    chain = [Node("a", 1.0), Node("b", 2.0, ("a",)), Node("c", 3.0, ("b",))]
    assert critical_path(chain) == (6.0, ["a", "b", "c"])
    assert [makespan(chain, workers) for workers in (1, 2, 5)] == [6.0, 6.0, 6.0]


def test_two_workers_halve_what_is_independent() -> None:
    assert makespan([Node(name, 2.0) for name in "abcd"], 2) == 4.0


def test_the_order_decides_who_starts_first() -> None:
    short, long = [Node("a", 1.0), Node("b", 1.0)], Node("c", 2.0)
    assert makespan([long, *short], 2) == 2.0
    assert makespan([*short, long], 2) == 3.0


def test_the_longest_branch_is_critical() -> None:
    nodes = [Node("a", 1.0), Node("b", 5.0, ("a",)), Node("c", 2.0, ("a",)), Node("d", 1.0, ("b", "c"))]
    assert critical_path(nodes) == (7.0, ["a", "b", "d"])


def test_inputs_outside_of_the_graph_are_done() -> None:
    assert critical_path([Node("a", 2.0, ("elsewhere",))]) == (2.0, ["a"])
    assert makespan([Node("a", 2.0, ("elsewhere",))], 1) == 2.0


def test_nothing_takes_no_time() -> None:
    assert critical_path([]) == (0.0, [])
    assert makespan([], 3) == 0.0


@pytest.mark.parametrize("workers", [0, -1])
def test_no_worker_is_an_error(workers: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        makespan([Node("a", 1.0)], workers)


def test_a_circle_is_an_error() -> None:
    with pytest.raises(ValueError, match="circle"):
        makespan([Node("a", 1.0, ("b",)), Node("b", 1.0, ("a",))], 2)


@given(graphs(), st.integers(1, 5))
def test_bounds_of_list_scheduling(nodes: list[Node], workers: int) -> None:
    """Graham 1966: max(work / m, path) <= T <= work / m + (1 - 1/m) path; one worker takes the sum."""
    total, (path, chain) = sum(node.seconds for node in nodes), critical_path(nodes)
    took = makespan(nodes, workers)
    assert max(total / workers, path) <= took + 1e-9
    assert took <= total / workers + (1 - 1 / workers) * path + 1e-9
    assert makespan(nodes, 1) == pytest.approx(total)
    assert makespan(nodes, len(nodes)) == pytest.approx(path)
    known = {node.key: node for node in nodes}
    assert sum(known[key].seconds for key in chain) == path
    assert all(before in known[after].inputs for before, after in pairwise(chain))
