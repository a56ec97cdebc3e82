//! Finds the groups of a graph whose members all reach each other.

use std::collections::{BTreeMap, BTreeSet};

/// Who points to whom.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The groups of more than one member in which each reaches each. (Two members are in one group when each is among what
/// the other reaches; for the few hundred files of a crate that is quick enough and easier to see than Tarjan's way.)
pub(crate) fn knots(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|start| (start, reach(graph, start))).collect();
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    let mut knots = Vec::new();
    for (start, ends) in &reached {
        if seen.contains(start) || !ends.contains(start) {
            continue;
        }
        let knot: Vec<&String> =
            ends.iter().filter(|end| reached.get(*end).is_some_and(|back| back.contains(start))).copied().collect();
        seen.extend(&knot);
        if knot.len() > 1 {
            knots.push(knot.into_iter().cloned().collect());
        }
    }
    knots
}

/// Everything that `start` reaches in one step or more.
fn reach<'g>(graph: &'g Graph, start: &String) -> BTreeSet<&'g String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = graph.get(start).into_iter().flatten().collect();
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(graph.get(node).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn a_ring_is_a_knot_and_what_hangs_on_it_is_not() {
        assert_eq!(knots(&graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "a")])), [["a", "b", "c"]]);
    }

    #[test]
    fn a_tree_has_none_and_two_rings_are_two() {
        assert!(knots(&graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("d", "d")])).is_empty());
        assert_eq!(knots(&graph(&[("a", "b"), ("b", "a"), ("x", "y"), ("y", "x"), ("b", "x")])).len(), 2);
    }
}
