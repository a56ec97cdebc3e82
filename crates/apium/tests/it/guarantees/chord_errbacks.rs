//! An errback that a worker calls itself when a chord has failed is not lost with the worker.

use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Fixture, Records, records};
use crate::gate::Gate;
use crate::live::{counts, entered, live, open_gate, start, stop, wait_for_counts, wait_until};

#[task(name = "guarantees.part")]
async fn part(n: i64) -> TaskResult<i64> {
    if n == 0 { Err(TaskError::failure("no")) } else { Ok(n) }
}

#[task(name = "guarantees.sum")]
async fn sum(parts: Vec<i64>) -> TaskResult<i64> {
    Ok(parts.iter().sum())
}

/// Takes more than one argument and no context, so the worker calls it.
#[task(name = "guarantees.told")]
fn told(State(records): State<Records>, State(gate): State<Gate>, what: String, times: u32) -> TaskResult<()> {
    records.add(format!("{what} {times}"));
    tokio::runtime::Handle::current().block_on(gate.pass());
    Ok(())
}

/// Sends a chord that fails, lets its first worker die in the errback, and its second one call it to its end.
async fn dies_in_the_errback(fixture: &Fixture, backend: String) {
    let builder = live(fixture).backend(backend).setting("task_acks_late", true);
    let app = builder.register::<part>().register::<sum>().register::<told>().build().await.unwrap();
    let body =
        chord([part::s(0), part::s(1)], sum::p()).link_error(told::si("told".into(), 1)).send(&app).await.unwrap();
    let worker = start(&app, 1).await;
    entered(&app, 1).await;
    assert!(body.failed().await.unwrap());
    assert_eq!(counts(&app).await.unacked, 1, "the last part is in flight");
    // Dropped without a stop, it settles nothing, and the broker sees a dead consumer.
    drop(worker);
    let other = match fixture {
        Fixture::Redis(..) => Some(app.worker().hostname("other@host").queues(["elsewhere"]).start().await.unwrap()),
        _ => None,
    };
    wait_until("none is unacknowledged", async || counts(&app).await.unacked == 0).await;
    if let Some(other) = other {
        stop(other, StopKind::Warm).await;
    }
    let worker = start(&app, 1).await;
    entered(&app, 1).await;
    open_gate(&app, 2);
    wait_for_counts(&app, 0, 0).await;
    stop(worker, StopKind::Warm).await;
    assert_eq!(records(&app), ["told 1", "told 1"]);
    assert!(body.failed().await.unwrap());
}

on_every_driver! {
    async fn an_errback_of_a_chord_is_called_again_when_its_worker_died(fixture: &Fixture) {
        dies_in_the_errback(fixture, fixture.url()).await;
    }

    async fn it_is_with_two_stores_too(fixture: &Fixture) {
        dies_in_the_errback(fixture, fixture.other_url()).await;
    }
}
