//! What those who run workers should know about tasks that go to queues which their worker does not consume.

use std::collections::BTreeMap;

use crate::options::call_options::CallOptions;
use crate::publish::publisher::Publisher;
use crate::task::registry::Registry;

/// A line for each queue to which tasks of the app go and that is not among `queues`. What functions route is not known
/// before a call.
pub fn unconsumed_notes(registry: &Registry, publisher: &Publisher, queues: &[String]) -> Vec<String> {
    let mut elsewhere: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for task in registry.iter().filter(|task| !task.name.starts_with("celery.")) {
        let options = CallOptions::of_task(&task.options);
        let queue = publisher.router().usual_queue(&task.name, options);
        if let Some(queue) = queue.filter(|queue| !queues.contains(&queue.name)) {
            elsewhere.entry(queue.name.clone()).or_default().push(&task.name);
        }
    }
    let note = |(queue, tasks): (String, Vec<&str>)| {
        let more = match tasks.len() - 1 {
            0 => "goes".to_owned(),
            more => format!("and {more} more go"),
        };
        let all = queues.join(",");
        format!(
            "{} {more} to the queue {queue}, which this worker does not consume: start a worker for it (-Q {queue}), or \
             this one with -Q {all},{queue}",
            tasks[0]
        )
    };
    elsewhere.into_iter().map(note).collect()
}
