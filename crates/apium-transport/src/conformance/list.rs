//! The list of all cases with what they need, as one macro that makes a test of each.

/// Makes a test of each case of the suite, in a module for each file of it, and one test of what the driver lacks.
///
/// Takes the absolute path (`crate::…`) of an async function without arguments that returns a new
/// [`Fixture`](crate::conformance::Fixture); which abilities the driver `lacks`; and which cases it `skips` for that.
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! conformance_tests {
    ($make:path, lacks: $lacks:tt, skips: [$($skip_module:ident :: $skip:ident),* $(,)?] $(,)?) => {
        $crate::conformance_tests! { @modules $make, $lacks }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn the_driver_lacks_and_skips_what_it_declares() {
            let lacks = $crate::conformance_tests! { @abilities $lacks };
            let skips = [$(concat!(stringify!($skip_module), "::", stringify!($skip))),*];
            let cases = [
                publishing::CASES,
                routing::CASES,
                consuming::CASES,
                settling::CASES,
                crashes::CASES,
                clock_steps::CASES,
                delaying::CASES,
                demands::CASES,
                admin::CASES,
                dead_letters::CASES,
                broadcasts::CASES,
                fleet::CASES,
                results::CASES,
                watching::CASES,
                atomic::CASES,
                chords::CASES,
                follow_ups::CASES,
                handles::CASES,
                closing::CASES,
            ];
            $crate::conformance::check($make().await, lacks, &cases.concat(), &skips).await;
        }
    };
    (@abilities [$($ability:ident),* $(,)?]) => {
        {
            const ABILITIES: &[$crate::conformance::Ability] = &[$($crate::conformance::Ability::$ability),*];
            ABILITIES
        }
    };
    (@module $make:path, $lacks:tt, $module:ident in $($room:ident)::+: $($case:ident $([$($need:ident)+])?)*) => {
        mod $module {
            use $crate::$($room)::+::$module as cases;

            pub(super) const CASES: &[$crate::conformance::Case] = &[$((
                concat!(stringify!($module), "::", stringify!($case)),
                &[$($($crate::conformance::Ability::$need),+)?],
            )),*];

            const LACKS: &[$crate::conformance::Ability] = $crate::conformance_tests! { @abilities $lacks };

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let needs = &[$($($crate::conformance::Ability::$need),+)?];
                    if !$crate::conformance::is_skipped(needs, LACKS) {
                        cases::$case($make().await).await;
                    }
                }
            )*
        }
    };
    (@modules $make:path, $lacks:tt) => {
        $crate::conformance_tests! { @module $make, $lacks, publishing in conformance::broker:
            a_batch_keeps_its_order
            single_messages_keep_their_order
            priorities_are_honoured
            urgent_comes_before_normal_and_background_last
            a_larger_priority_overtakes [LargerFirst]
            the_largest_priority_caps [LargerFirst]
            a_batch_is_published_whole_or_not_at_all [AtomicPublish]
            an_empty_batch_is_nothing
            a_message_comes_out_as_it_went_in
            a_bare_message_comes_out_as_it_went_in
            ten_megabytes_are_carried
            odd_names_are_carried
            many_publishers_keep_each_ones_order
        }
        $crate::conformance_tests! { @module $make, $lacks, routing in conformance::broker:
            the_default_exchange_makes_the_queue
            a_declared_queue_is_listed [QueueCounts]
            a_declared_queue_has_its_own_exchange
            a_direct_exchange_routes_by_equal_keys
            a_topic_exchange_routes_by_patterns
            a_fanout_exchange_routes_to_all
            declaring_twice_changes_nothing
            a_headers_exchange_routes_by_headers_or_is_refused
            an_exchange_keeps_its_type
            a_message_that_goes_nowhere_is_an_error
            what_no_binding_matches_is_dropped
        }
        $crate::conformance_tests! { @module $make, $lacks, consuming in conformance::broker:
            next_waits_for_a_message
            max_is_honoured
            prefetch_is_honoured
            settling_wakes_a_full_consumer
            prefetch_can_be_changed
            what_comes_while_a_consumer_pauses_is_for_others
            what_was_claimed_for_a_dropped_next_goes_back_in_a_pause
            a_dropped_next_loses_nothing
            a_dropped_next_does_not_hold_up_others
            each_message_goes_to_one_of_many_consumers
            several_queues_are_read
            no_queue_is_starved
            subscribe_adds_a_queue
            unsubscribe_leaves_a_queue
            a_consumer_without_queues_waits
            subscriptions_are_counted [QueueCounts]
            close_returns_to_the_front
            close_returns_by_priority
            close_wakes_another
            what_a_dead_consumer_had_comes_again
        }
        $crate::conformance_tests! { @module $make, $lacks, settling in conformance::broker:
            an_ack_is_final
            requeue_brings_it_again
            requeue_wakes_another
            discard_drops_it
            discard_is_no_dead_letter [DeadSet]
            delay_brings_it_later [Delays]
            a_delayed_delivery_waits [Delays]
            delay_until_a_past_time_brings_it_at_once [Delays]
            one_batch_may_mix_dispositions [Delays DeadSet]
            settling_twice_is_an_error
            an_old_fence_settles_nothing
            a_closed_consumer_settles_nothing
            the_late_ack_of_a_dead_consumer_is_refused
        }
        $crate::conformance_tests! { @module $make, $lacks, crashes in conformance::broker:
            a_crashing_message_always_comes_again [CrashCounts DeadSet]
            a_delivery_says_its_crashes [CrashCounts DeadSet]
            a_suspect_takes_the_blame [CrashCounts]
            a_delay_keeps_the_crashes [CrashCounts Delays]
            what_was_only_prefetched_does_not_count [CrashCounts]
            only_started_runs_count [CrashCounts]
            closing_is_no_crash [CrashCounts]
            marking_twice_counts_once [CrashCounts]
            an_old_fence_starts_nothing [CrashCounts]
            a_replay_forgets_the_crashes [CrashCounts DeadSet]
        }
        $crate::conformance_tests! { @module $make, $lacks, clock_steps in conformance::broker:
            a_step_redelivers_nothing
            a_step_holds_up_nothing
            a_step_keeps_nobody_alive
        }
        $crate::conformance_tests! { @module $make, $lacks, demands in conformance::broker:
            each_message_comes_once_and_in_order
            what_is_not_wanted_is_left_for_others
            a_chain_goes_on [AtomicSettle]
            a_start_mark_counts_unless_it_is_removed [CrashCounts]
        }
        $crate::conformance_tests! { @module $make, $lacks, delaying in conformance::broker:
            an_eta_is_never_early [Delays]
            an_eta_is_due_at_its_instant [Delays ManualClock]
            a_due_eta_wakes_who_waits [Delays]
            an_earlier_eta_is_noticed [Delays]
            etas_come_in_their_order [Delays]
            a_past_eta_is_ready
            delayed_messages_hold_up_nothing [Delays]
            delayed_messages_of_the_highest_priority_hold_back_nothing [Delays]
            an_eta_survives_its_consumer [Delays]
        }
        $crate::conformance_tests! { @module $make, $lacks, admin in conformance::broker:
            depth_counts_what_can_be_delivered
            depth_counts_what_is_due [Delays]
            stats_count_everything [QueueCounts]
            stats_count_what_is_delayed [QueueCounts Delays]
            peek_leaves_everything [QueuePeek]
            peek_shows_what_is_delayed [QueuePeek Delays]
            purge_leaves_what_is_delivered
            purge_deletes_what_is_delayed [Delays PurgeOfDelays]
            delete_removes_the_queue
            a_deleted_queue_is_not_listed [QueueCounts]
            a_missing_queue_is_empty
            a_missing_queue_is_not_listed [QueueCounts]
            consumers_are_counted_by_node [ConsumerCounts]
        }
        $crate::conformance_tests! { @module $make, $lacks, dead_letters in conformance::broker:
            a_dead_letter_says_everything [DeadSet]
            a_dead_letter_has_its_time [DeadSet ManualClock]
            what_was_acked_can_be_added [DeadSet]
            dead_letters_are_listed_by_page [DeadSet]
            replay_puts_messages_back [DeadSet]
            replay_wakes_who_waits [DeadSet]
            a_replayed_message_can_die_again [DeadSet]
            remove_deletes_dead_letters [DeadSet]
            unreadable_bytes_are_kept_as_they_are [DeadSet UnreadableBytes]
        }
        $crate::conformance_tests! { @module $make, $lacks, broadcasts in conformance::broker:
            a_fanout_reaches_every_listener [Broadcast]
            a_broadcast_comes_out_as_it_went_in [Broadcast]
            topics_choose_their_listeners [Broadcast]
            exchanges_are_apart [Broadcast]
            a_reply_goes_to_its_caller [Broadcast]
            a_reply_wakes_its_caller [Broadcast]
            what_was_sent_before_is_not_heard [Broadcast]
            a_dropped_mailbox_leaves_nothing [Broadcast]
            a_full_mailbox_loses_the_oldest [Broadcast]
            a_dropped_listening_loses_nothing [Broadcast]
            senders_keep_their_order [Broadcast]
            ten_megabytes_are_broadcast [Broadcast]
            closing_ends_the_listening [Broadcast]
            handles_reach_each_other [Broadcast SecondHandle]
        }
        $crate::conformance_tests! { @module $make, $lacks, fleet in conformance::broker:
            a_record_comes_back [FleetRecords]
            a_record_is_replaced [FleetRecords]
            a_record_is_removed [FleetRecords]
            records_are_listed_since_a_time [FleetRecords]
            the_oldest_records_go [FleetRecords]
            old_records_go [FleetRecords]
            a_record_ages [FleetRecords ManualClock]
            a_hundred_thousand_records_are_kept [FleetRecords]
            handles_share_records [FleetRecords SecondHandle]
            a_closed_broker_shares_nothing [FleetRecords]
        }
        $crate::conformance_tests! { @module $make, $lacks, results in conformance::backend:
            fetch_answers_each_id [StoredResults]
            a_document_comes_out_as_it_went_in [StoredResults]
            ten_megabytes_are_stored [StoredResults]
            odd_ids_are_kept_apart [StoredResults]
            the_overwrite_rule_holds_for_every_pair [StoredResults]
            the_last_written_run_counts [StoredResults]
            a_batch_is_written_in_order [StoredResults]
            a_result_is_gone_after_its_time [StoredResults]
            a_result_is_kept_for_its_time [StoredResults ManualClock]
            purging_leaves_what_has_time [StoredResults]
            forget_deletes [StoredResults]
            groups_are_saved [Groups]
        }
        $crate::conformance_tests! { @module $make, $lacks, watching in conformance::backend:
            a_late_watch_brings_the_ready_state
            a_watch_brings_the_stored_state
            a_watch_brings_states_in_order
            a_watch_brings_only_what_was_written [StoredResults]
            many_tasks_are_watched_at_once
            the_stream_ends_with_the_last_task
            no_ready_state_is_missed
            watches_do_not_disturb_each_other [StoredResults]
        }
        $crate::conformance_tests! { @module $make, $lacks, atomic in conformance::backend:
            everything_is_done_together [AtomicSettle DeadSet]
            a_lost_receipt_drops_its_own_settlement [AtomicSettle]
            a_refused_record_is_left_out [AtomicSettle]
            a_message_that_goes_nowhere_stops_everything [AtomicSettle]
            a_settlement_wakes_who_waits [AtomicSettle Delays]
            another_store_is_another [AtomicSettle]
        }
        $crate::conformance_tests! { @module $make, $lacks, chords in conformance::backend:
            the_last_part_brings_all_results [Chords]
            parts_without_an_index_come_last [Chords]
            a_part_counts_once [Chords]
            parts_may_come_before_the_header [Chords]
            opening_again_loses_nothing [Chords]
            results_nest_like_the_header [Chords StoredResults]
            a_missing_result_fails_a_nested_header [Chords StoredResults]
            one_claim_at_a_time [Chords]
            a_claim_runs_out [Chords]
            a_fired_chord_says_so [Chords]
            a_fired_chord_is_not_opened_again [Chords]
            a_fired_chord_is_known_for_a_while [Chords ManualClock]
            a_failed_part_fails_the_chord [Chords]
            a_failed_chord_never_completes [Chords]
            a_claim_that_ran_out_ends_nothing [Chords]
            a_chord_can_grow [Chords]
            a_part_that_is_added_twice_counts_once [Chords]
            an_open_chord_can_be_counted [Chords]
            a_chord_is_kept_for_its_time [Chords]
            each_part_keeps_its_chord_longer [Chords ManualClock]
            many_callers_complete_a_chord_once [Chords SecondHandle]
            a_part_that_may_be_the_last_is_not_counted [Chords]
            of_many_callers_none_counts_the_last_part [Chords]
        }
        $crate::conformance_tests! { @module $make, $lacks, follow_ups in conformance:
            follow_ups_are_done_with_their_settlement [AtomicSettle Chords]
            the_last_part_sends_the_body [AtomicSettle Chords]
            a_copy_of_a_part_sends_nothing [AtomicSettle Chords]
            a_failed_header_fails_the_body [AtomicSettle Chords]
            a_body_that_goes_nowhere_is_failed [AtomicSettle Chords]
            a_continuation_may_end_another_chord [AtomicSettle Chords]
            several_parts_end_with_one_run [AtomicSettle Chords]
            a_lost_receipt_drops_its_part [AtomicSettle Chords]
            a_receipt_counts_once_in_a_batch [AtomicSettle Chords]
            one_batch_may_be_a_whole_chord [AtomicSettle Chords]
            parts_need_no_delivery [AtomicSettle Chords]
            a_body_is_left_to_its_claimant [AtomicSettle Chords]
            a_body_wakes_who_waits [AtomicSettle Chords]
            handles_send_one_body [AtomicSettle Chords SecondHandle]
        }
        $crate::conformance_tests! { @module $make, $lacks, handles in conformance:
            handles_share_queues [SecondHandle]
            handles_wake_each_other [SecondHandle]
            handles_see_each_others_etas [SecondHandle Delays]
            handles_get_each_message_once [SecondHandle]
            handles_share_results [SecondHandle StoredResults]
            closing_one_handle_leaves_the_others [SecondHandle StoredResults]
            handles_count_each_others_consumers [SecondHandle ConsumerCounts]
        }
        $crate::conformance_tests! { @module $make, $lacks, closing in conformance::broker:
            a_closed_broker_says_so
            a_closed_broker_counts_nothing [QueuePeek QueueCounts ConsumerCounts]
            a_closed_dead_set_says_so [DeadSet]
            closing_ends_a_wait
            a_closed_backend_says_so
            closed_results_say_so [StoredResults]
            closed_groups_say_so [Groups]
            closing_ends_a_watch
        }
    };
}

#[cfg(test)]
mod tests {
    /// A case that is written but not listed would never run.
    #[test]
    fn every_case_is_listed() {
        let list = include_str!("list.rs");
        for (module, source) in [
            ("publishing", include_str!("broker/publishing.rs")),
            ("routing", include_str!("broker/routing.rs")),
            ("consuming", include_str!("broker/consuming.rs")),
            ("settling", include_str!("broker/settling.rs")),
            ("crashes", include_str!("broker/crashes.rs")),
            ("delaying", include_str!("broker/delaying.rs")),
            ("admin", include_str!("broker/admin.rs")),
            ("dead_letters", include_str!("broker/dead_letters.rs")),
            ("broadcasts", include_str!("broker/broadcasts.rs")),
            ("fleet", include_str!("broker/fleet.rs")),
            ("results", include_str!("backend/results.rs")),
            ("watching", include_str!("backend/watching.rs")),
            ("atomic", include_str!("backend/atomic.rs")),
            ("chords", include_str!("backend/chords.rs")),
            ("follow_ups", include_str!("follow_ups.rs")),
            ("handles", include_str!("handles.rs")),
            ("closing", include_str!("broker/closing.rs")),
        ] {
            let of_module = format!("@module $make, $lacks, {module} in ");
            let own = list.split(of_module.as_str()).nth(1).and_then(|after| after.split('}').next()).unwrap();
            let own = own.split_once(":\n").unwrap().1;
            let listed: Vec<&str> = own.lines().filter_map(|line| line.split_whitespace().next()).collect();
            let written: Vec<&str> =
                source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
            assert_eq!(listed, written, "in {module}");
        }
    }
}
