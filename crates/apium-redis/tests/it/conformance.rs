//! The driver under the conformance suite: results, watching, handles, closing.

use std::sync::Arc;

use apium_peers::redis_server::fresh_database;
use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::memory::MemoryDriver;

use crate::kit::backend;

async fn redis() -> Fixture {
    let database = fresh_database();
    let clock = Clock::system();
    let address = Address::parse("memory://").unwrap();
    let broker = MemoryDriver::new().broker(address, DriverOptions::new(clock.clone())).await.unwrap();
    let own = broker.clone();
    Fixture::new(broker, Arc::new(backend(&database.url)), clock).reopening(move || {
        let (broker, url) = (own.clone(), database.url.clone());
        Box::pin(async move { Handles { broker, backend: Arc::new(backend(&url)) } })
    })
}

macro_rules! cases {
    ($module:ident: $($case:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    apium_transport::conformance::$module::$case(super::redis().await).await;
                }
            )*
        }
    };
}

cases! { results:
    fetch_answers_each_id
    a_document_comes_out_as_it_went_in
    ten_megabytes_are_kept
    odd_ids_are_kept_apart
    the_overwrite_rule_holds_for_every_pair
    the_run_of_the_last_write_counts
    a_batch_is_written_in_order
    results_live_for_their_time
    purging_leaves_what_has_time
    forget_deletes
    groups_are_saved
}

cases! { watching:
    a_late_watcher_sees_the_ready_state
    a_watcher_sees_the_state_of_now
    a_watcher_sees_states_in_order
    only_what_was_written_is_news
    many_tasks_are_watched_at_once
    the_stream_ends_with_the_last_task
    no_ready_state_is_missed
    watchers_do_not_disturb_each_other
}

cases! { handles:
    handles_share_results
}

cases! { closing:
    a_closed_backend_says_so
    closing_ends_a_watch
}
