//! The conformance suite on a real Redis, each case in a database of its own.

use std::time::Duration;

use apium_peers::redis_server::fresh_database;
use apium_redis::RedisDriver;
use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use apium_transport::driver::{Driver as _, DriverOptions};

async fn redis() -> Fixture {
    let database = fresh_database();
    let address = Address::parse(&database.url).unwrap();
    let clock = Clock::stepping();
    let options = DriverOptions::new(clock.clone()).option("eta_strategy", "park");
    // Channels do not belong to a database, so the results of each case have a key prefix of their own.
    let prefix = format!("{}:", database.number);
    let of_results = DriverOptions::new(options.clock.clone()).option("global_keyprefix", prefix);
    let open = {
        let (options, of_results) = (options.clone(), of_results.clone());
        move || {
            let driver = RedisDriver::new();
            let (address, options, of_results) = (address.clone(), options.clone(), of_results.clone());
            async move {
                let broker = driver.broker(address.clone(), options).await.unwrap();
                Handles::new(broker, driver.backend(address, of_results).await.unwrap())
            }
        }
    };
    let Handles { broker, backend, .. } = open().await;
    let mut fixture = Fixture::new(broker, backend, clock);
    // All times are the server's, so a lease takes real time.
    fixture.lease = Duration::from_millis(500);
    fixture.reopening(move || Box::pin(open())).inserting_unreadable(move |queue, raw, _| {
        let mut connection = database.connection();
        let pushed: i64 = apium_peers::redis::cmd("LPUSH").arg(queue).arg(raw.as_ref()).query(&mut connection).unwrap();
        assert_eq!(pushed, 1);
        Box::pin(async {})
    })
}

apium_transport::conformance_tests! {
    crate::conformance::redis,
    lacks: [LargerFirst, ManualClock],
    skips: [
        publishing::a_larger_priority_overtakes,
        publishing::the_largest_priority_caps,
        delaying::an_eta_is_due_at_its_instant,
        dead_letters::a_dead_letter_has_its_time,
        results::a_result_is_kept_for_its_time,
        chords::a_fired_chord_is_known_for_a_while,
        chords::each_part_keeps_its_chord_longer,
        fleet::a_record_ages,
    ],
}
