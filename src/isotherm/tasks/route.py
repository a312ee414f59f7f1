"""Route: a way through a graph that passes no vertex twice."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from random import Random

from isotherm.records import Verdict
from isotherm.tasks.draws import between, pick, shuffled
from isotherm.tasks.family import Data, Family, bare, verdict

VERTICES = {1: 4, 2: 5, 3: 6, 4: 8}
LETTERS = "ABCDEFGHIJ"
STRAY = 0.3  # share of the legs of an attempt that ignore the roads; without it most random walks arrive

RULES = (
    "Go from the first letter to the second along the given roads, which lead both ways, through no letter twice, and "
    "write the letters you pass. `route A to F by AB BC AD DF CF:` is answered by `ADF`."
)


def generate(rng: Random, level: int) -> Data:
    """A random tree over the vertices and some roads more; the ends are not neighbours."""
    vertices = shuffled(rng, LETTERS)[: VERTICES[level]]
    start, goal = shuffled(rng, vertices)[:2]
    tree = [(vertices[between(rng, 0, i - 1)], vertices[i]) for i in range(1, len(vertices))]
    others = [pair for pair in combinations(vertices, 2) if pair not in tree]
    roads = tree + shuffled(rng, others)[: between(rng, 1, level + 1)]
    if (start, goal) in roads or (goal, start) in roads:
        return generate(rng, level)
    edges = ["".join(shuffled(rng, road)) for road in shuffled(rng, roads)]
    return {"start": start, "goal": goal, "edges": edges}


def neighbours(data: Data, vertex: str) -> list[str]:
    """The vertices one road away."""
    return [edge.replace(vertex, "") for edge in data["edges"] if vertex in edge]


def ways(data: Data, path: str) -> list[str]:
    """Every way that begins with the path and ends at the goal (depth-first search)."""
    if path[-1] == data["goal"]:
        return [path]
    onward = [path + vertex for vertex in neighbours(data, path[-1]) if vertex not in path]
    return [way for longer in onward for way in ways(data, longer)]


def solve(data: Data, rng: Random) -> str:
    return pick(rng, ways(data, data["start"]))


def attempt(data: Data, rng: Random) -> str:
    """A random walk until the goal or a dead end, now and then across country."""
    path = data["start"]
    while path[-1] != data["goal"]:
        reach = sorted(set("".join(data["edges"]))) if rng.random() < STRAY else neighbours(data, path[-1])
        fresh = [vertex for vertex in reach if vertex not in path]
        if not fresh:
            break
        path += pick(rng, fresh)
    return path


def check(data: Data, response: str) -> Verdict:
    path = bare(response)
    if not re.fullmatch("[A-Z]{1,26}", path):
        return Verdict.UNPARSED
    roads = {frozenset(edge) for edge in data["edges"]}
    ends = path[0] == data["start"] and path[-1] == data["goal"]
    return verdict(ends and len(set(path)) == len(path) and all(frozenset(road) in roads for road in pairwise(path)))


def key(data: Data) -> str:
    """The ends in either direction and the set of roads: the way back is the same problem."""
    ends = "".join(sorted([data["start"], data["goal"]]))
    return f"{ends} by {' '.join(sorted(''.join(sorted(edge)) for edge in data['edges']))}"


ROUTE = Family(
    name="route",
    rules=RULES,
    levels=(1, 2, 3, 4),
    trained=False,
    generate=generate,
    prompt=lambda data: f"route {data['start']} to {data['goal']} by {' '.join(data['edges'])}:",
    key=key,
    check=check,
    solve=solve,
    attempt=attempt,
)
