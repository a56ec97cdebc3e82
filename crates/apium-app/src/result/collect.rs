//! The results behind a result: what its task sent while it ran, and what those sent (Celery: `collect`, `iterdeps`,
//! `get_leaf`).

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

/// A result, after the one whose task sent it. The first has none.
pub type Dependency = (Option<AsyncResult<Json>>, AsyncResult<Json>);

/// A way through the tree, level by level. What is not known of a level is read at once.
struct Walk {
    queue: VecDeque<Link>,
    /// What was given out last, and is not gone into yet.
    last: Option<Link>,
    /// What was gone into.
    seen: HashSet<TaskId>,
    intermediate: bool,
}

struct Link {
    parent: Option<AsyncResult<Json>>,
    result: AsyncResult<Json>,
    read: bool,
}

impl Walk {
    fn from<T>(root: &AsyncResult<T>, intermediate: bool) -> Self {
        let root = Link { parent: None, result: root.erased(), read: false };
        Self { queue: VecDeque::from([root]), last: None, seen: HashSet::new(), intermediate }
    }

    /// The next result, without reading it.
    async fn next(&mut self) -> Result<Option<Dependency>> {
        if let Some(last) = self.last.take() {
            self.go_into(last).await?;
        }
        self.last = self.queue.pop_front();
        Ok(self.last.as_ref().map(|link| (link.parent.clone(), link.result.clone())))
    }

    /// Reads ahead, where there is more than one result to be waited for.
    async fn look(&mut self) -> Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let Some(mut last) = self.last.take() else { return Ok(()) };
        if !last.read && !is_known(&last.result) {
            self.read_ahead(&last).await?;
            last.read = true;
        }
        self.last = Some(last);
        Ok(())
    }

    /// Reads what was given out last and all that are known to follow.
    async fn read_ahead(&mut self, last: &Link) -> Result<()> {
        let unread = self.queue.iter_mut().filter(|link| !link.read && !is_known(&link.result));
        let mut results = vec![last.result.clone()];
        results.extend(unread.map(|link| {
            link.read = true;
            link.result.clone()
        }));
        PendingResults::of(format!("task {} and what it sent", last.result.id()), &results).look().await.map(drop)
    }

    async fn go_into(&mut self, link: Link) -> Result<()> {
        if !link.read && !is_known(&link.result) {
            self.read_ahead(&link).await?;
        }
        let result = &link.result;
        if is_known(result) {
            if self.seen.insert(result.id().clone()) {
                let children = children_of(result).into_iter();
                self.queue.extend(children.map(|child| Link {
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
            "list the results after task {}: it is not over; wait for it, or ask for what is there so far (intermediate)",
            result.id()
        );
        Err(Error::new(ErrorKind::Incomplete, text))
    }
}

/// Whether it is known to be over. What is stored nowhere counts as that.
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
    /// Every result of the tree that begins here with the one whose task sent it, level by level; the members of a
    /// group come after the group. Nothing is waited for: a task that is not over ends the stream with an error of kind
    /// [`ErrorKind::Incomplete`], or is a leaf for now if `intermediate` says so.
    pub fn iterdeps(&self, intermediate: bool) -> impl Stream<Item = Result<Dependency>> + Send + use<T> {
        try_unfold(Walk::from(self, intermediate), async |mut walk| Ok(walk.next().await?.map(|next| (next, walk))))
    }

    /// Waits for every result of the tree that begins here, level by level, and gives each with its value. A group
    /// comes with the list of its values, and its members after it.
    pub fn collect(&self) -> Collect {
        Collect { root: self.erased(), waiting: WaitOptions::default() }
    }

    /// The value of the last result of the tree, when all are over.
    ///
    /// # Errors
    /// As [`Collect::stream`].
    pub async fn get_leaf(&self) -> Result<Json> {
        Ok(self.collect().await?.pop().map_or(Json::NULL, |(_, value)| value))
    }
}

/// A wait for a tree of results. Awaited, it is a list of them with their values; [`stream`](Self::stream) gives them
/// one by one.
#[must_use = "nothing happens until it is awaited or streamed"]
pub struct Collect {
    root: AsyncResult<Json>,
    waiting: WaitOptions,
}

impl Collect {
    /// Waits no longer than this, for all together; zero takes what is there.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.waiting.timeout = Some(limit);
        self
    }

    /// Allows it inside a task; see [`Get::allow_in_task`](crate::result::get::Get::allow_in_task).
    pub fn allow_in_task(mut self) -> Self {
        self.waiting.allow_in_task = true;
        self
    }

    /// The results as they are waited for.
    ///
    /// # Errors
    /// [`ErrorKind::GetInTask`]. What awaiting a [`Get`](crate::result::get::Get) returns as an error, the failure of
    /// any task of the tree too, is an item, the last.
    pub fn stream(self) -> Result<impl Stream<Item = Result<(AsyncResult<Json>, Json)>> + Send> {
        let Self { root, waiting } = self;
        waiting.check(&format!("task {}", root.id()))?;
        let deadline = waiting.timeout.and_then(|limit| Instant::now().checked_add(limit));
        Ok(try_unfold(Walk::from(&root, false), move |mut walk| async move {
            let Some((_, result)) = walk.next().await? else { return Ok(None) };
            walk.look().await?;
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
