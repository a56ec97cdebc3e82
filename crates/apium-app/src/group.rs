//! Groups: tasks sent side by side, with one result for all.

use std::future::IntoFuture;
use std::sync::Arc;

use apium_protocol::id::TaskId;
use futures_util::future::BoxFuture;

use crate::app::App;
use crate::batch::send_all;
use crate::call::note_child;
use crate::call_options::CallOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::group_result::GroupResult;
use crate::setters::call_options;
use crate::signature::Signature;

/// A group of these tasks (Celery: `group(…)`). A generator is taken as it comes.
pub fn group<T>(members: impl IntoIterator<Item = Signature<T>>) -> Group<T> {
    Group { members: members.into_iter().collect(), options: CallOptions::default(), failed: None }
}

/// Tasks that are sent side by side. Options given here go to every member, over its own; `task_id` is the group's id.
#[must_use = "nothing is sent until it is awaited, or sent with an app"]
#[derive(Debug, Clone)]
pub struct Group<T> {
    members: Vec<Signature<T>>,
    options: CallOptions,
    failed: Option<Arc<Error>>,
}

impl<T> Group<T> {
    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no member; its result is an empty list then.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    /// The members as they are sent: with the group's id, their place in it, and its options.
    fn freeze(mut self) -> Result<(TaskId, Vec<Signature<T>>)> {
        if let Some(error) = &self.failed {
            return Err(Error::new(error.kind(), format!("call a group: {error}")));
        }
        let linked =
            self.options.rare.as_ref().is_some_and(|rare| !rare.link.is_empty() || !rare.link_error.is_empty());
        if linked {
            let text = "link a callback to a group: link it to its members (a task after all of them is a chord)";
            return Err(Error::new(ErrorKind::Call, text));
        }
        let id = self.options.task_id.take().unwrap_or_else(TaskId::random);
        for (index, member) in self.members.iter_mut().enumerate() {
            let mut options = self.options.clone();
            options.fill_from(member.options());
            let rare = options.rare_mut();
            rare.group_id = Some(id.to_string());
            rare.group_index = i64::try_from(index).ok();
            *member.options_mut() = options;
        }
        Ok((id, self.members))
    }

    /// Sends every member, 2,000 messages at a time.
    ///
    /// # Errors
    /// As [`Batch::send_all`](crate::batch::Batch::send_all).
    pub async fn send(self, app: &App) -> Result<GroupResult<T>> {
        let as_child = self.options.rare.as_ref().and_then(|rare| rare.add_to_parent).unwrap_or(true);
        let (id, members) = self.freeze()?;
        let result = GroupResult::new(app, id, send_all(app, members, |_| false).await?);
        if as_child {
            note_child(|| result.as_tuple());
        }
        Ok(result)
    }

    /// Sends every member from plain code.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self, app: &App) -> Result<GroupResult<T>>
    where
        T: 'static,
    {
        let (app, on, ctx) = (app.clone(), app.clone(), crate::current::get());
        on.blocking().run(async move {
            match ctx {
                Some(ctx) => crate::current::scope(ctx, self.send(&app)).await,
                None => self.send(&app).await,
            }
        })?
    }
}

call_options!(T, Group<T>);

impl<T: 'static> IntoFuture for Group<T> {
    type Output = Result<GroupResult<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = App::current()?;
            self.send(&app).await
        })
    }
}
