//! Revoking tasks by their results: of one task, of a group, of a whole workflow.

use apium_protocol::json::text::Json;

use crate::control::revoke::Revoke;
use crate::result::async_result::AsyncResult;
use crate::result::result_set::ResultSet;

impl<T> AsyncResult<T> {
    /// Revokes the task, or the members where this is the result of a group. What came before it in a workflow is not
    /// revoked; see [`workflow`](Self::workflow). It needs no result backend.
    ///
    /// ```no_run
    /// # use apium_app::result::async_result::AsyncResult;
    /// # async fn example(result: AsyncResult<i64>) -> apium_app::error::Result<()> {
    /// result.revoke().send().await?;                           // it will not run
    /// result.revoke().terminate().signal("KILL").send().await?; // nor run on
    /// result.workflow().revoke().send().await?;                // every task of its workflow
    /// # Ok(())
    /// # }
    /// ```
    pub fn revoke(&self) -> Revoke {
        let control = self.app().control();
        match self.members() {
            None => control.revoke(self.id().as_str()),
            Some(members) => control.revoke_all(ids(members)),
        }
    }
}

impl<T> ResultSet<T> {
    /// Revokes all tasks of the set, those of groups inside it too (Celery: `ResultSet.revoke`).
    pub fn revoke(&self) -> Revoke {
        self.app().control().revoke_all(ids(self.results()))
    }
}

/// The ids of tasks; a group has those of its members.
fn ids<T>(results: &[AsyncResult<T>]) -> Vec<String> {
    let mut ids = Vec::with_capacity(results.len());
    let mut groups: Vec<&[AsyncResult<Json>]> = Vec::new();
    for result in results {
        match result.members() {
            Some(members) => groups.push(members),
            None => ids.push(result.id().as_str().to_owned()),
        }
    }
    while let Some(members) = groups.pop() {
        for member in members {
            match member.members() {
                Some(members) => groups.push(members),
                None => ids.push(member.id().as_str().to_owned()),
            }
        }
    }
    ids
}
