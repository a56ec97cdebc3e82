//! The tree of results below a result: the tasks that its task sent, and those that they sent (Celery: `collect`,
//! `iterdeps`, `get_leaf`).

use std::collections::{HashSet, VecDeque};
use std::future::IntoFuture;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use futures_util::future::BoxFuture;
use futures_util::stream::try_unfold;
use futures_util::{Stream, TryStreamExt as _};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::result::async_result::AsyncResult;
use crate::result::pending::PendingResults;
use crate::result::wait::WaitOptions;

/// A result with the one whose task sent it, which comes first; the root has none.
pub type Dependency = (Option<AsyncResult<Json>>, AsyncResult<Json>);

/// A walk through the tree, level by level. The documents of a level are read at once.
struct Walk {
    queue: VecDeque<Entry>,
    /// The last one that was returned; its children are not in the queue yet.
    current: Option<Entry>,
    /// Those whose children were put into the queue.
    expanded: HashSet<TaskId>,
    intermediate: bool,
}

/// A result of the tree.
struct Entry {
    parent: Option<AsyncResult<Json>>,
    result: AsyncResult<Json>,
    /// Whether its document was read, whatever its state was.
    read: bool,
}

impl Walk {
    fn from<T>(root: &AsyncResult<T>, intermediate: bool) -> Self {
        let root = Entry { parent: None, result: root.erased(), read: false };
        Self { queue: VecDeque::from([root]), current: None, expanded: HashSet::new(), intermediate }
    }

    /// The next result; its document is not read.
    async fn next(&mut self) -> Result<Option<Dependency>> {
        if let Some(current) = self.current.take() {
            self.expand(current).await?;
        }
        self.current = self.queue.pop_front();
        Ok(self.current.as_ref().map(|entry| (entry.parent.clone(), entry.result.clone())))
    }

    /// Reads the documents of the current result and of the queue, where more than one result is waited for.
    async fn read_queue(&mut self) -> Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if !current.read && !is_known(&current.result) {
            self.read_ahead(&current).await?;
            current.read = true;
        }
        self.current = Some(current);
        Ok(())
    }

    /// Reads the documents of `current` and of all in the queue.
    async fn read_ahead(&mut self, current: &Entry) -> Result<()> {
        let unread = self.queue.iter_mut().filter(|entry| !entry.read && !is_known(&entry.result));
        let mut results = vec![current.result.clone()];
        results.extend(unread.map(|entry| {
            entry.read = true;
            entry.result.clone()
        }));
        PendingResults::of(format!("task {} and what it sent", current.result.id()), &results).look().await.map(drop)
    }

    async fn expand(&mut self, entry: Entry) -> Result<()> {
        if !entry.read && !is_known(&entry.result) {
            self.read_ahead(&entry).await?;
        }
        let result = &entry.result;
        if is_known(result) {
            if self.expanded.insert(result.id().clone()) {
                let children = children_of(result).into_iter();
                self.queue.extend(children.map(|child| Entry {
                    parent: Some(result.clone()),
                    result: child,
                    read: false,
                }));
            }
            return Ok(());
        }
        if self.intermediate {
            return Ok(());
        }
        let text = format!(
            "list the results after task {}: it is not ready; wait for it, or ask for what there is so far (intermediate)",
            result.id()
        );
        Err(Error::new(ErrorKind::Incomplete, text))
    }
}

/// Whether it is known to be ready. A result that is not stored counts as ready.
fn is_known(result: &AsyncResult<Json>) -> bool {
    match result.members() {
        Some(members) => members.iter().all(is_known),
        None => result.ignored() || result.cached_document().is_some(),
    }
}

fn children_of(result: &AsyncResult<Json>) -> Vec<AsyncResult<Json>> {
    if let Some(members) = result.members() {
        return members.to_vec();
    }
    let document = result.cached_document();
    let children = document.as_ref().and_then(|document| document.children.as_deref()).unwrap_or_default();
    children.iter().map(|child| AsyncResult::of_tuple(result.app(), child)).collect()
}

impl<T> AsyncResult<T> {
    /// Every result of the tree whose root this is, each with the one whose task sent it, level by level. The members
    /// of a group come after the group. It does not wait: a task that is not ready ends the stream with an error of
    /// kind [`ErrorKind::Incomplete`]; with `intermediate` it is returned without children.
    pub fn iterdeps(&self, intermediate: bool) -> impl Stream<Item = Result<Dependency>> + Send + use<T> {
        try_unfold(Walk::from(self, intermediate), async |mut walk| Ok(walk.next().await?.map(|next| (next, walk))))
    }

    /// Waits for every result of the tree whose root this is, level by level, and returns each with its value. The
    /// value of a group is the list of its values, and its members come after it.
    pub fn collect(&self) -> Collect {
        Collect { root: self.erased(), options: WaitOptions::default() }
    }

    /// Waits for all results of the tree, and returns the value of the last one.
    ///
    /// # Errors
    /// As [`Collect::stream`].
    pub async fn get_leaf(&self) -> Result<Json> {
        Ok(self.collect().await?.pop().map_or(Json::NULL, |(_, value)| value))
    }
}

/// A wait for a tree of results. Awaited, it returns a list of them with their values; [`stream`](Self::stream) returns
/// them one by one.
#[must_use = "nothing happens until it is awaited or streamed"]
pub struct Collect {
    root: AsyncResult<Json>,
    options: WaitOptions,
}

impl Collect {
    /// Waits no longer than this, for all together; zero reads the states once. Without it, it waits for ever.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Allows it inside a task; see [`Get::allow_in_task`](crate::result::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.options.allow_in_task = true;
        self
    }

    /// The results, each as soon as it is ready.
    ///
    /// # Errors
    /// [`ErrorKind::GetInTask`]. The other errors of awaiting a [`Get`](crate::result::get::Get), and with them the
    /// first failure of a task of the tree, are the last item of the stream.
    pub fn stream(self) -> Result<impl Stream<Item = Result<(AsyncResult<Json>, Json)>> + Send> {
        let Self { root, options } = self;
        options.check(&format!("task {}", root.id()))?;
        let deadline = options.timeout.and_then(|limit| Instant::now().checked_add(limit));
        Ok(try_unfold(Walk::from(&root, false), move |mut walk| async move {
            let Some((_, result)) = walk.next().await? else { return Ok(None) };
            walk.read_queue().await?;
            let get = result.get().allow_in_task();
            let value = match deadline {
                Some(deadline) => get.timeout(deadline.saturating_duration_since(Instant::now())).await?,
                None => get.await?,
            };
            Ok(Some(((result, value), walk)))
        }))
    }
}

impl IntoFuture for Collect {
    type Output = Result<Vec<(AsyncResult<Json>, Json)>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.stream()?.try_collect().await })
    }
}
