//! The tree of results below a result as a graph, also for Graphviz (Celery: `build_graph`, `graph`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use futures_util::TryStreamExt as _;

use crate::error::Result;
use crate::result::async_result::AsyncResult;
use crate::result::collect::Dependency;

/// Results, and which task sent which. Displayed, it is a graph in the DOT language.
#[derive(Debug, Clone)]
pub struct Graph {
    root: TaskId,
    results: Vec<AsyncResult<Json>>,
    edges: Vec<(usize, usize)>,
    indexes: HashMap<TaskId, usize>,
}

impl<T> AsyncResult<T> {
    /// The tree whose root this is. See [`iterdeps`](Self::iterdeps) for `intermediate`.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`](crate::error::ErrorKind::Incomplete); and as [`document`](Self::document).
    pub async fn graph(&self, intermediate: bool) -> Result<Graph> {
        let graph = Graph { root: self.id().clone(), results: Vec::new(), edges: Vec::new(), indexes: HashMap::new() };
        self.iterdeps(intermediate).try_fold(graph, async |graph, next| Ok(graph.with(next))).await
    }
}

impl Graph {
    fn with(mut self, (parent, result): Dependency) -> Self {
        let parent = parent.map(|parent| self.index(parent));
        let index = self.index(result);
        self.edges.extend(parent.map(|parent| (parent, index)));
        self
    }

    /// The index of a result, which is added where it is new.
    fn index(&mut self, result: AsyncResult<Json>) -> usize {
        match self.indexes.entry(result.id().clone()) {
            Entry::Occupied(present) => *present.get(),
            Entry::Vacant(new) => {
                self.results.push(result);
                *new.insert(self.results.len() - 1)
            }
        }
    }

    /// The results, each once, level by level.
    pub fn results(&self) -> &[AsyncResult<Json>] {
        &self.results
    }

    /// Each result with one that its task sent, or with one of its members.
    pub fn edges(&self) -> impl Iterator<Item = (&AsyncResult<Json>, &AsyncResult<Json>)> {
        self.edges.iter().map(|(parent, child)| (&self.results[*parent], &self.results[*child]))
    }

    /// The graph in the DOT language. Tasks are oval, groups are boxes.
    pub fn to_dot(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "digraph {} {{", Quoted(&self.root))?;
        for result in &self.results {
            let shape = if result.members().is_some() { "box" } else { "oval" };
            writeln!(f, "    {id} [label={id}, shape={shape}];", id = Quoted(result.id()))?;
        }
        for (parent, child) in self.edges() {
            writeln!(f, "    {} -> {};", Quoted(parent.id()), Quoted(child.id()))?;
        }
        f.write_str("}\n")
    }
}

/// An id as a string of DOT, with its escapes.
struct Quoted<'a>(&'a TaskId);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.as_str().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}
