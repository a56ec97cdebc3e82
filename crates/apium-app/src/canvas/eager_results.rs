//! Results of eager runs: they have their documents, which no result backend stores.

use std::collections::HashMap;
use std::sync::Arc;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};

use crate::app::app::App;
use crate::canvas::eager;
use crate::canvas::eager::EagerResult;
use crate::canvas::node::Node;
use crate::error::Result;
use crate::result::async_result::AsyncResult;
use crate::result::group_result::GroupResult;
use crate::task::arguments::Arguments;

/// Runs a signature in this process and returns its result.
pub(crate) async fn apply<T>(app: &App, node: Node) -> Result<AsyncResult<T>> {
    let (tuple, documents) = run(app, node).await?;
    let result = AsyncResult::of_tuple(app, &tuple);
    attach_documents(&result, &documents);
    Ok(result)
}

/// Runs a signature that ends with a group in this process, and returns the result of the group.
pub(crate) async fn apply_group<T>(app: &App, node: Node) -> Result<GroupResult<T>> {
    let (tuple, documents) = run(app, node).await?;
    let group = GroupResult::of_tuple(app, &tuple);
    group.iter().for_each(|member| attach_documents(member, &documents));
    group.parent().into_iter().for_each(|parent| attach_documents(parent, &documents));
    Ok(group)
}

type Documents = HashMap<TaskId, Arc<ResultDocument>>;

async fn run(app: &App, node: Node) -> Result<(ResultTuple, Documents)> {
    let EagerResult { result, documents, .. } = eager::apply(app, node, Arguments::default()).await?;
    Ok((result, documents.into_iter().map(|document| (document.task_id.clone(), Arc::new(document))).collect()))
}

fn attach_documents<T>(result: &AsyncResult<T>, documents: &Documents) {
    let own = result.erased();
    for one in std::iter::once(&own).chain(own.before()) {
        if let Some(document) = documents.get(one.id()) {
            one.cell().set(Some(document.clone()));
        }
        one.members().into_iter().flatten().for_each(|member| attach_documents(member, documents));
    }
}
