//! The conformance suite on a real RabbitMQ, each case in a vhost of its own.

use std::time::Duration;

use apium_amqp::AmqpDriver;
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::conformance::{Fixture, Handles};
use apium_transport::driver::{Driver as _, DriverOptions};

use crate::kit::put_unreadable;

async fn rabbitmq() -> Fixture {
    let vhost = fresh_vhost();
    let address = Address::parse(&vhost.url).unwrap();
    let clock = Clock::stepping();
    let options = DriverOptions::new(clock.clone())
        .option("queue_max_priority", "10")
        .option("native_delayed_delivery_queue_type", "classic")
        .option("connection_timeout", "30");
    // The cases say where they wait for results.
    let of_results = DriverOptions::new(clock.clone()).option("reply_queue", "conformance");
    let open = move || {
        let (address, options, of_results) = (address.clone(), options.clone(), of_results.clone());
        async move {
            let driver = AmqpDriver::new();
            let broker = driver.broker(address, options).await.unwrap();
            Handles::new(broker, driver.backend(Address::parse("rpc://").unwrap(), of_results).await.unwrap())
        }
    };
    let Handles { broker, backend, .. } = open().await;
    let mut fixture = Fixture::new(broker, backend, clock);
    // A dead consumer's messages come again at once.
    fixture.lease = Duration::from_millis(200);
    fixture.reopening(move || Box::pin(open())).inserting_unreadable(move |queue, raw, _| {
        let url = vhost.url.clone();
        Box::pin(async move { put_unreadable(&url, &queue, &raw).await })
    })
}

apium_transport::conformance_tests! {
    crate::conformance::rabbitmq,
    lacks: [
        AtomicPublish, QueuePeek, QueueCounts, ConsumerCounts, PurgeOfDelays, AtomicSettle,
        StoredResults, Groups, Chords, ManualClock,
    ],
    skips: [
        publishing::a_batch_is_published_whole_or_not_at_all,
        routing::a_declared_queue_is_listed,
        consuming::subscriptions_are_counted,
        demands::a_chain_goes_on,
        delaying::an_eta_is_due_at_its_instant,
        admin::stats_count_everything,
        admin::stats_count_what_is_delayed,
        admin::peek_leaves_everything,
        admin::peek_shows_what_is_delayed,
        admin::purge_deletes_what_is_delayed,
        admin::a_deleted_queue_is_not_listed,
        admin::a_missing_queue_is_not_listed,
        admin::consumers_are_counted_by_node,
        dead_letters::a_dead_letter_has_its_time,
        fleet::a_record_ages,
        results::fetch_answers_each_id,
        results::a_document_comes_out_as_it_went_in,
        results::ten_megabytes_are_stored,
        results::odd_ids_are_kept_apart,
        results::the_overwrite_rule_holds_for_every_pair,
        results::the_last_written_run_counts,
        results::a_batch_is_written_in_order,
        results::a_result_is_gone_after_its_time,
        results::a_result_is_kept_for_its_time,
        results::purging_leaves_what_has_time,
        results::forget_deletes,
        results::groups_are_saved,
        watching::a_watch_brings_only_what_was_written,
        watching::watches_do_not_disturb_each_other,
        atomic::everything_is_done_together,
        atomic::a_lost_receipt_drops_its_own_settlement,
        atomic::a_refused_record_is_left_out,
        atomic::a_message_that_goes_nowhere_stops_everything,
        atomic::a_settlement_wakes_who_waits,
        atomic::another_store_is_another,
        chords::the_last_part_brings_all_results,
        chords::parts_without_an_index_come_last,
        chords::a_part_counts_once,
        chords::parts_may_come_before_the_header,
        chords::opening_again_loses_nothing,
        chords::results_nest_like_the_header,
        chords::a_missing_result_fails_a_nested_header,
        chords::one_claim_at_a_time,
        chords::a_claim_runs_out,
        chords::a_fired_chord_says_so,
        chords::a_fired_chord_is_not_opened_again,
        chords::a_fired_chord_is_known_for_a_while,
        chords::a_failed_part_fails_the_chord,
        chords::a_failed_chord_never_completes,
        chords::a_claim_that_ran_out_ends_nothing,
        chords::a_chord_can_grow,
        chords::a_part_that_is_added_twice_counts_once,
        chords::an_open_chord_can_be_counted,
        chords::a_chord_is_kept_for_its_time,
        chords::each_part_keeps_its_chord_longer,
        chords::many_callers_complete_a_chord_once,
        chords::a_part_that_may_be_the_last_is_not_counted,
        chords::of_many_callers_none_counts_the_last_part,
        follow_ups::follow_ups_are_done_with_their_settlement,
        follow_ups::the_last_part_sends_the_body,
        follow_ups::a_copy_of_a_part_sends_nothing,
        follow_ups::a_failed_header_fails_the_body,
        follow_ups::a_body_that_goes_nowhere_is_failed,
        follow_ups::a_continuation_may_end_another_chord,
        follow_ups::several_parts_end_with_one_run,
        follow_ups::a_lost_receipt_drops_its_part,
        follow_ups::a_receipt_counts_once_in_a_batch,
        follow_ups::one_batch_may_be_a_whole_chord,
        follow_ups::parts_need_no_delivery,
        follow_ups::a_body_is_left_to_its_claimant,
        follow_ups::a_body_wakes_who_waits,
        follow_ups::handles_send_one_body,
        handles::handles_share_results,
        handles::closing_one_handle_leaves_the_others,
        handles::handles_count_each_others_consumers,
        closing::a_closed_broker_counts_nothing,
        closing::closed_results_say_so,
        closing::closed_groups_say_so,
    ],
}
