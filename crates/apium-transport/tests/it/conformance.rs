//! The memory driver under the conformance suite.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use apium_transport::driver::DriverOptions;
use apium_transport::memory::MemoryDriver;

async fn memory() -> Fixture {
    let driver = Arc::new(MemoryDriver::new());
    let address = Address::parse("memory://case").unwrap();
    let clock = Clock::manual(Fixture::start());
    let options = DriverOptions::new(clock.clone());
    let open = {
        let (driver, address, options) = (driver.clone(), address.clone(), options.clone());
        move || {
            let broker = Arc::new(driver.open_broker(address.clone(), &options));
            Handles::new(broker, Arc::new(driver.open_backend(address.clone(), &options)))
        }
    };
    let Handles { broker, backend, .. } = open();
    Fixture::new(broker, backend, clock)
        .reopening(move || {
            let handles = open();
            Box::pin(async move { handles })
        })
        .inserting_unreadable(move |queue, raw, reason| {
            driver.insert_unreadable(&address, &options, &queue, raw, &reason);
            Box::pin(async {})
        })
}

apium_transport::conformance_tests! {
    crate::conformance::memory,
    lacks: [],
    skips: [],
}
