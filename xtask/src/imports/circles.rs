//! Circles in a graph: its strongly connected components of more than one node, found as
//! R. Tarjan does (Depth-first search and linear graph algorithms, 1972).

use std::collections::{BTreeMap, BTreeSet};

/// The nodes of each circle in the graph of `edges`, in order.
pub(super) fn circles<N: Ord + Copy>(edges: &BTreeMap<N, BTreeSet<N>>) -> Vec<BTreeSet<N>> {
    let mut search = Search {
        edges,
        index: BTreeMap::new(),
        low: BTreeMap::new(),
        stack: Vec::new(),
        found: Vec::new(),
    };
    for &node in edges.keys() {
        if !search.index.contains_key(&node) {
            search.visit(node);
        }
    }
    search.found.sort();
    search.found
}

struct Search<'a, N> {
    edges: &'a BTreeMap<N, BTreeSet<N>>,
    /// When each node was met.
    index: BTreeMap<N, usize>,
    /// The earliest node on the stack that each one reaches.
    low: BTreeMap<N, usize>,
    stack: Vec<N>,
    found: Vec<BTreeSet<N>>,
}

impl<N: Ord + Copy> Search<'_, N> {
    fn visit(&mut self, node: N) {
        let index = self.index.len();
        self.index.insert(node, index);
        self.low.insert(node, index);
        self.stack.push(node);
        for &next in self.edges.get(&node).into_iter().flatten() {
            if !self.index.contains_key(&next) {
                self.visit(next);
                self.lower(node, self.low[&next]);
            } else if self.stack.contains(&next) {
                self.lower(node, self.index[&next]);
            }
        }
        if self.low[&node] == index {
            self.take_component(node);
        }
    }

    fn lower(&mut self, node: N, to: usize) {
        let low = self.low[&node].min(to);
        self.low.insert(node, low);
    }

    fn take_component(&mut self, root: N) {
        let mut component = BTreeSet::new();
        while let Some(node) = self.stack.pop() {
            component.insert(node);
            if node == root {
                break;
            }
        }
        if component.len() > 1 {
            self.found.push(component);
        }
    }
}
