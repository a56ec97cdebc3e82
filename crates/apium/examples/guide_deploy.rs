//! A deployment in the middle of a task: its worker is stopped before the task has ended, and the next worker runs it.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium::prelude::*;
use tokio::sync::Notify;

/// The payment service, which knows the orders that are paid.
#[derive(Clone, Default)]
struct Bank(Arc<Orders>);

#[derive(Default)]
struct Orders {
    paid: Mutex<BTreeSet<u32>>,
    asked: Notify,
}

impl Bank {
    /// Takes the money of an order, once. Says whether it did. The answer to the first request takes for ever.
    async fn charge(&self, order: u32) -> bool {
        let is_new = self.0.paid.lock().unwrap_or_else(PoisonError::into_inner).insert(order);
        self.0.asked.notify_one();
        if is_new {
            std::future::pending::<()>().await;
        }
        is_new
    }
}

// guide: task
/// Charges an order. It may run twice, so the bank gets the number of the order, and takes the money once.
#[task(name = "shop.charge", acks_late)]
async fn charge(State(bank): State<Bank>, order: u32) -> TaskResult<String> {
    Ok(match bank.charge(order).await {
        true => format!("order {order} is charged"),
        false => format!("order {order} was charged before"),
    })
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let bank = Bank::default();

    // guide: app
    // One file for queue and results, so that the end of a task is one step.
    let queue = format!("sqlite://{}", folder.path().join("queue.db").display());
    let app = App::builder("shop").broker(&queue).backend(&queue).state(bank.clone()).build().await?;
    // guide end

    // guide: stop
    let old = app.worker().concurrency(1).start().await?;
    let charged = charge::delay(7).send(&app).await?;
    bank.0.asked.notified().await;

    // The task runs and does not end: after 100 ms the worker lets go of it.
    let report = old.stop_within(Duration::from_millis(100)).await;
    println!("the old worker {report}");
    assert_eq!((report.cancelled, report.unsettled), (1, 0));

    let new = app.worker().concurrency(1).start().await?;
    println!("the new worker: {}", charged.get().await?);
    new.stop().await;
    // guide end
    app.close().await?;
    Ok(())
}
