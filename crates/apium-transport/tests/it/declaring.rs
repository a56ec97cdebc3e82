//! A driver that does not declare what it lacks, or which cases that skips, fails the suite.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Ability, Case, Fixture, check};
use apium_transport::driver::DriverOptions;
use apium_transport::memory::MemoryDriver;

const CASES: &[Case] = &[
    ("a::plain", &[]),
    ("a::counted", &[Ability::QueueCounts]),
    ("b::again", &[Ability::DeadSet, Ability::SecondHandle]),
];

/// The memory driver without a second handle and without unreadable bytes.
fn fixture() -> Fixture {
    let driver = MemoryDriver::new();
    let (address, options) =
        (Address::parse("memory://").unwrap(), DriverOptions::new(Clock::manual(Fixture::start())));
    let broker = Arc::new(driver.open_broker(address.clone(), &options));
    Fixture::new(broker, Arc::new(driver.open_backend(address, &options)), options.clock)
}

#[tokio::test]
async fn an_exact_declaration_passes() {
    let lacks = [Ability::SecondHandle, Ability::UnreadableBytes];
    check(fixture(), &lacks, CASES, &["b::again"]).await;
}

#[tokio::test]
#[should_panic(expected = "the driver lacks SecondHandle and does not declare it")]
async fn what_is_lacking_must_be_declared() {
    check(fixture(), &[Ability::UnreadableBytes], CASES, &[]).await;
}

#[tokio::test]
#[should_panic(expected = "the driver has DeadSet")]
async fn what_is_there_is_not_lacking() {
    let lacks = [Ability::SecondHandle, Ability::UnreadableBytes, Ability::DeadSet];
    check(fixture(), &lacks, CASES, &["b::again"]).await;
}

#[tokio::test]
#[should_panic(expected = "the skipped cases")]
async fn skipped_cases_must_be_declared() {
    check(fixture(), &[Ability::SecondHandle, Ability::UnreadableBytes], CASES, &[]).await;
}

#[tokio::test]
#[should_panic(expected = "the skipped cases")]
async fn cases_that_run_are_not_skipped() {
    check(fixture(), &[Ability::SecondHandle, Ability::UnreadableBytes], CASES, &["b::again", "a::plain"]).await;
}
