//! Rate limits: the starts of a task keep their distance.

use std::time::Duration;

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::builder::AppTest as _;

use crate::rig::{Notes, json, send, until};
use crate::task;

task!(Limited = "limited", [rate_limit: Some("2/s".into())], async |ctx| {
    let notes = ctx.state::<Notes>().unwrap();
    let clock = ctx.state::<apium_transport::clock::Clock>().unwrap();
    notes.add(clock.now().subsec_millisecond().to_string());
    Ok(json(1))
});

#[tokio::test]
async fn rate_limits_space_the_starts() {
    let notes = Notes::default();
    let clock = apium_transport::clock::Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let (state, own) = (clock.clone(), clock.clone());
    let builder = App::test().with(move |app| app.autodiscover(false).clock(own)).state(notes.clone()).state(state);
    let app = builder.register::<Limited>().build().await.unwrap();
    for n in 0..5 {
        send(&app, "limited", &format!("r{n}")).await;
    }
    let worker = app.worker().concurrency(4).start().await.unwrap();
    for count in 1..=5 {
        until("one more start", async || notes.all().len() == count).await;
        clock.advance(Duration::from_millis(499));
        assert_eq!(notes.all().len(), count, "none before its time");
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(notes.all(), ["0", "500", "0", "500", "0"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_freezes_no_rate_limit() {
    let notes = Notes::default();
    let clock = apium_transport::clock::Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let (state, own) = (clock.clone(), clock.clone());
    let builder = App::test().with(move |app| app.autodiscover(false).clock(own)).state(notes.clone()).state(state);
    let app = builder.register::<Limited>().build().await.unwrap();
    for n in 0..3 {
        send(&app, "limited", &format!("r{n}")).await;
    }
    let worker = app.worker().concurrency(4).start().await.unwrap();
    let day = jiff::SignedDuration::from_hours(24);
    for (count, step) in [(1, -day), (2, day + day)] {
        until("one more start", async || notes.all().len() == count).await;
        clock.set(clock.now() + step);
        clock.advance(Duration::from_millis(499));
        assert_eq!(notes.all().len(), count, "a step of the clock gave a start before its time");
        clock.advance(Duration::from_millis(1));
    }
    until("the last start", async || notes.all().len() == 3).await;
    worker.stop().await;
}
