"""Drawing of the rule graph: conversion of Snakemake's dot output to a layered SVG image."""

import re
from collections import defaultdict
from html import escape

_NODE = re.compile(r'^\s*(\d+)\[label\s*=\s*"([^"\\]+)')
_EDGE = re.compile(r"^\s*(\d+)\s*->\s*(\d+)")


def parse_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Nodes (id to rule name) and edges (from, to) of the output of ``snakemake --rulegraph``."""
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for line in text.splitlines():
        if node := _NODE.match(line):
            nodes[node[1]] = node[2]
        elif edge := _EDGE.match(line):
            edges.append((edge[1], edge[2]))
    if not nodes:
        raise ValueError("Expected dot text with nodes, got none.")
    return nodes, edges


def layers_of(nodes: dict[str, str], edges: list[tuple[str, str]]) -> list[list[str]]:
    """Rules by layer: each is one layer below the lowest of its inputs; within a layer sorted by their mean
    position."""
    needs = defaultdict(set)
    for start, end in edges:
        needs[end].add(start)
    depth: dict[str, int] = {}

    def deep(node: str) -> int:
        if node not in depth:
            depth[node] = 1 + max((deep(other) for other in needs[node]), default=-1)
        return depth[node]

    layers: list[list[str]] = [[] for _ in range(1 + max(deep(node) for node in nodes))]
    for node in sorted(nodes, key=lambda node: nodes[node]):
        layers[depth[node]].append(node)
    position = {}
    for layer in layers:
        layer.sort(key=lambda n: sum(position[o] for o in needs[n]) / len(needs[n]) if needs[n] else 0.0)
        position.update({node: (rank + 0.5) / len(layer) for rank, node in enumerate(layer)})
    return layers


def dag_svg(dot: str, width: int = 1000) -> str:
    """Draw the rule graph, top to bottom.

    Parameters
    ----------
    dot : str
        Output of ``snakemake --rulegraph``.
    width : int
        Width of the drawing, pixels.

    Returns
    -------
    str
        SVG without external links; colours follow the page by ``currentColor``.
    """
    nodes, edges = parse_dot(dot)
    layers = layers_of(nodes, edges)
    step, high = 62, 28
    centre: dict[str, tuple[float, float]] = {}
    for row, layer in enumerate(layers):
        for rank, node in enumerate(layer):
            centre[node] = (width * (rank + 0.5) / len(layer), 24 + row * step)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {step * len(layers)}" role="img" '
        f'aria-label="Rule graph" font-family="system-ui, sans-serif" font-size="13">'
    ]
    # sorted by name, because Snakemake's order differs between calls
    for start, end in sorted(edges, key=lambda edge: (nodes[edge[0]], nodes[edge[1]])):
        (x0, y0), (x1, y1) = centre[start], centre[end]
        y0, y1 = y0 + high / 2, y1 - high / 2
        bend = (y1 - y0) / 2
        parts.append(
            f'<path d="M{x0:.0f} {y0:.0f} C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}" '
            'fill="none" stroke="currentColor" stroke-opacity=".28"/>'
        )
    for node, (x, y) in centre.items():
        name = nodes[node]
        wide = 8 * len(name) + 18
        parts.append(
            f'<rect x="{x - wide / 2:.0f}" y="{y - high / 2:.0f}" width="{wide}" height="{high}" rx="8" '
            'fill="#e8eefc" stroke="#5b7bd5"/>'
            f'<text x="{x:.0f}" y="{y + 4.5:.0f}" text-anchor="middle" fill="#1d2b4f">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"])
