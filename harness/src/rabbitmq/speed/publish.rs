//! How many calls are published in a second, each confirmed by the server.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::rabbitmq::speed::bare::BarePublisher;
use crate::rabbitmq::speed::node::{Node, left};
use crate::report;
use crate::speed::celery;
use crate::speed::enqueue::{Counts, callers, celery_rate, rate};
use crate::speed::load::{self, BATCH, padding};

/// How often Apium and the bare client take turns: the cost of a confirm changes from second to second.
const TURNS: u64 = 4;

/// Measures all ways to publish.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let node = Node::start();
    // The bare client sends the same bytes as Apium.
    let messages = node.messages(BATCH).await?;
    let address = node.fresh();
    let app = load::app(&address, false).await?;
    // The first call declares the queue.
    load::count::delay(0, padding()).send(&app).await?;
    let bare = BarePublisher::connect(&address).await?;
    let mut sent = 1;

    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        theirs += bare.publish(&messages, counts.single / TURNS, 1).await?;
        let started = Instant::now();
        for number in 0..counts.single / TURNS {
            load::count::delay(number, padding()).send(&app).await?;
        }
        ours += started.elapsed();
    }
    sent += 2 * (counts.single / TURNS * TURNS);
    let (ours, theirs) = (rate(counts.single, ours), rate(counts.single, theirs));
    report::figure("publish", ours, "/s");
    report::figure("publish_bare", theirs, "/s");
    report::figure("publish_to_bare", ours / theirs * 100.0, "%");

    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        theirs += bare.publish(&messages, counts.many / TURNS, BATCH as usize).await?;
        let started = Instant::now();
        load::fill(&app, counts.many / TURNS).await?;
        ours += started.elapsed();
    }
    sent += 2 * (counts.many / TURNS * TURNS);
    let (batches, limit) = (rate(counts.many, ours), rate(counts.many, theirs));
    report::figure("publish_batches", batches, "/s");
    report::figure("publish_batches_bare", limit, "/s");
    report::figure("publish_batches_to_bare", batches / limit * 100.0, "%");

    let started = Instant::now();
    callers(&app, counts.many).await?;
    let many = rate(counts.many, started.elapsed());
    sent += counts.many;
    report::figure("publish_callers", many, "/s");
    report::figure("publish_callers_to_bare", many / limit * 100.0, "%");
    report::figure("unsent", sent.abs_diff(left(&address).await?) as f64, "tasks");

    let printed = celery::call("enqueue", counts.celery, &node.fresh(), false)?;
    let celery = celery_rate(counts.celery, &printed)?;
    report::figure("publish_celery", celery, "/s");
    let printed = celery::call_confirmed("enqueue", counts.celery, &node.fresh(), false)?;
    let celery = celery_rate(counts.celery, &printed)?;
    report::figure("publish_celery_confirmed", celery, "/s");
    report::figure("publish_batches_to_celery", batches / celery, "×");
    report::figure("publish_callers_to_celery", many / celery, "×");
    Ok(app.close().await?)
}
