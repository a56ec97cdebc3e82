//! The list of all cases, as one macro that makes a test of each.

/// Makes one test of each case of the suite, in a module for each file of it. Takes the absolute path (`crate::…`) of an async
/// function without arguments that returns a fresh [`Fixture`](crate::conformance::Fixture).
#[macro_export]
macro_rules! conformance_tests {
    (@cases $make:path, $module:ident in $($room:ident)::+: $($case:ident)*) => {
        mod $module {
            use $crate::$($room)::+::$module as cases;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    cases::$case($make().await).await;
                }
            )*
        }
    };
    ($make:path) => {
        $crate::conformance_tests! { @cases $make, publishing in conformance::broker:
            a_batch_keeps_its_order
            single_messages_keep_their_order
            priorities_are_honoured
            a_larger_priority_overtakes
            the_largest_priority_caps
            a_batch_is_published_whole_or_not_at_all
            an_empty_batch_is_nothing
            a_message_comes_out_as_it_went_in
            a_bare_message_comes_out_as_it_went_in
            ten_megabytes_are_carried
            odd_names_are_carried
            many_publishers_keep_each_ones_order
        }
        $crate::conformance_tests! { @cases $make, routing in conformance::broker:
            the_default_exchange_makes_the_queue
            a_declared_queue_has_its_own_exchange
            a_direct_exchange_routes_by_equal_keys
            a_topic_exchange_routes_by_patterns
            a_fanout_exchange_routes_to_all
            declaring_twice_changes_nothing
            an_exchange_keeps_its_type
            a_message_that_goes_nowhere_is_an_error
            what_nobody_listens_to_is_dropped
        }
        $crate::conformance_tests! { @cases $make, consuming in conformance::broker:
            next_waits_for_a_message
            max_is_honoured
            prefetch_is_honoured
            settling_wakes_a_full_consumer
            prefetch_can_be_changed
            what_comes_while_a_consumer_rests_is_for_others
            a_dropped_next_loses_nothing
            a_dropped_next_does_not_hold_up_others
            each_message_goes_to_one_of_many_consumers
            several_queues_are_read
            no_queue_is_starved
            subscribe_adds_a_queue
            unsubscribe_leaves_a_queue
            close_gives_back_in_front
            close_gives_back_by_priority
            close_wakes_another
            what_a_dead_consumer_held_comes_again
        }
        $crate::conformance_tests! { @cases $make, settling in conformance::broker:
            an_ack_is_final
            requeue_brings_it_again
            requeue_wakes_another
            discard_drops_it
            park_brings_it_later
            park_until_a_past_time_brings_it_at_once
            one_batch_may_mix_dispositions
            settling_twice_is_an_error
            an_old_fence_settles_nothing
            a_closed_consumer_settles_nothing
            the_late_ack_of_a_dead_consumer_is_refused
        }
        $crate::conformance_tests! { @cases $make, crashes in conformance::broker:
            a_crashing_message_is_quarantined
            what_was_only_prefetched_does_not_count
            only_begun_runs_count
            closing_is_no_crash
            no_limit_never_quarantines
            beginning_twice_counts_once
            a_replay_forgets_the_crashes
        }
        $crate::conformance_tests! { @cases $make, delaying in conformance::broker:
            an_eta_is_never_early
            a_due_eta_wakes_who_waits
            an_earlier_eta_is_noticed
            etas_come_in_their_order
            a_past_eta_is_ready
            parked_messages_hold_up_nothing
            an_eta_survives_its_consumer
        }
        $crate::conformance_tests! { @cases $make, admin in conformance::broker:
            stats_count_everything
            peek_leaves_everything
            purge_leaves_what_is_delivered
            delete_removes_the_queue
            a_missing_queue_is_empty
            consumers_are_counted_by_node
        }
        $crate::conformance_tests! { @cases $make, dead_letters in conformance::broker:
            a_letter_says_everything
            what_was_acked_can_be_kept
            letters_are_listed_by_page
            replay_puts_messages_back
            replay_wakes_who_waits
            a_replayed_message_can_die_again
            remove_deletes_letters
            unreadable_bytes_are_kept_as_they_are
        }
        $crate::conformance_tests! { @cases $make, results in conformance::backend:
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
        $crate::conformance_tests! { @cases $make, watching in conformance::backend:
            a_late_watcher_sees_the_ready_state
            a_watcher_sees_the_state_of_now
            a_watcher_sees_states_in_order
            only_what_was_written_is_news
            many_tasks_are_watched_at_once
            the_stream_ends_with_the_last_task
            no_ready_state_is_missed
            watchers_do_not_disturb_each_other
        }
        $crate::conformance_tests! { @cases $make, atomic in conformance::backend:
            everything_is_done_together
            a_lost_receipt_drops_its_own_parts
            a_refused_record_is_left_out
            a_message_that_goes_nowhere_stops_everything
            a_settlement_wakes_who_waits
            another_store_is_another
        }
        $crate::conformance_tests! { @cases $make, chords in conformance::backend:
            the_last_part_brings_all_results
            parts_without_a_place_come_last
            a_part_counts_once
            parts_may_come_before_the_header
            a_header_sent_again_loses_nothing
            results_nest_like_the_header
            a_missing_result_fails_a_nested_header
            one_claim_at_a_time
            a_claim_runs_out
            a_fired_chord_says_so
            a_fired_chord_is_not_opened_again
            a_fired_chord_is_known_for_a_while
            a_failed_part_fails_the_chord
            a_failed_chord_never_completes
            a_chord_can_grow
            a_count_is_told_while_it_is_open
            a_chord_lives_for_its_time
            many_callers_complete_a_chord_once
            a_part_that_may_be_the_last_is_told_so
            of_many_callers_none_counts_the_last_part_unasked
        }
        $crate::conformance_tests! { @cases $make, follow_ups in conformance:
            a_sequel_is_done_with_its_settlement
            the_last_part_takes_the_rest_with_it
            a_copy_of_a_part_sends_nothing
            a_failed_header_fails_the_body
            a_body_that_goes_nowhere_is_failed
            a_rest_may_end_another_chord
            several_parts_end_with_one_run
            a_lost_receipt_drops_its_part
            a_receipt_counts_once_in_a_batch
            one_batch_may_hold_the_last_parts
            parts_need_no_delivery
            a_claim_of_another_is_left_to_it
            a_body_wakes_who_waits
            handles_send_one_body
        }
        $crate::conformance_tests! { @cases $make, handles in conformance:
            handles_share_queues
            handles_wake_each_other
            handles_see_each_others_etas
            handles_get_each_message_once
            handles_share_results
            closing_one_handle_leaves_the_others
        }
        $crate::conformance_tests! { @cases $make, closing in conformance::broker:
            a_closed_broker_says_so
            closing_ends_a_wait
            a_closed_backend_says_so
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
            ("results", include_str!("backend/results.rs")),
            ("watching", include_str!("backend/watching.rs")),
            ("atomic", include_str!("backend/atomic.rs")),
            ("chords", include_str!("backend/chords.rs")),
            ("follow_ups", include_str!("follow_ups.rs")),
            ("handles", include_str!("handles.rs")),
            ("closing", include_str!("broker/closing.rs")),
        ] {
            let of_module = format!("@cases $make, {module} in ");
            let own = list.split(of_module.as_str()).nth(1).and_then(|rest| rest.split('}').next()).unwrap();
            let own = own.split_once(": ").or(own.split_once(":\n")).unwrap().1;
            let listed: Vec<&str> = own.split_whitespace().collect();
            let written: Vec<&str> =
                source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
            assert_eq!(listed, written, "in {module}");
        }
    }
}
