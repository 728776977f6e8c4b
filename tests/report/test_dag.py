"""The rule graph's image."""

import xml.etree.ElementTree as ElementTree

import pytest

from mind_animator.report.dag import dag_svg, layers_of, parse_dot

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
        0[label = "all", color = "0.1 0.6 0.85", style="rounded"];
        1[label = "train", color = "0.2 0.6 0.85", style="rounded"];
        2[label = "fetch\\nmovie: a", color = "0.3 0.6 0.85", style="rounded"];
        2 -> 1
        1 -> 0
        2 -> 0
}"""


def test_a_rule_lies_below_everything_it_needs():
    nodes, edges = parse_dot(DOT)
    assert nodes == {"0": "all", "1": "train", "2": "fetch"}
    row = {node: depth for depth, layer in enumerate(layers_of(nodes, edges)) for node in layer}
    assert all(row[start] < row[end] for start, end in edges)


def test_the_svg_is_whole_and_names_every_rule():
    root = ElementTree.fromstring(dag_svg(DOT))
    text = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert sorted(text) == ["all", "fetch", "train"]
    assert len([e for e in root.iter() if e.tag.endswith("path")]) == 3


def test_text_without_a_graph_is_refused():
    with pytest.raises(ValueError, match=r"Expected dot text with nodes, got none\."):
        dag_svg("nothing")
