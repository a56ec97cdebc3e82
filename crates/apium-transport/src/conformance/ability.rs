//! What a driver may lack, and the check that it declares so.

use crate::broker::broker::PriorityOrder;
use crate::conformance::fixture::Fixture;

/// What a case may need and a driver may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ability {
    /// [`BrokerCapabilities::delays`](crate::broker::broker::BrokerCapabilities::delays).
    Delays,
    /// [`BrokerCapabilities::atomic_publish`](crate::broker::broker::BrokerCapabilities::atomic_publish).
    AtomicPublish,
    /// [`BrokerCapabilities::counts_crashes`](crate::broker::broker::BrokerCapabilities::counts_crashes).
    CrashCounts,
    /// [`PriorityOrder::LargerFirst`].
    LargerFirst,
    /// [`QueueAdmin::messages`](crate::broker::queue_admin::QueueAdmin::messages).
    QueuePeek,
    /// [`QueueAdmin::counts`](crate::broker::queue_admin::QueueAdmin::counts).
    QueueCounts,
    /// [`QueueAdmin::consumers`](crate::broker::queue_admin::QueueAdmin::consumers).
    ConsumerCounts,
    /// [`QueueAdmin::purges_delayed`](crate::broker::queue_admin::QueueAdmin::purges_delayed).
    PurgeOfDelays,
    /// [`Broker::dead`](crate::broker::broker::Broker::dead).
    DeadSet,
    /// [`Broker::broadcast`](crate::broker::broker::Broker::broadcast).
    Broadcast,
    /// [`Broker::fleet`](crate::broker::broker::Broker::fleet).
    FleetRecords,
    /// [`Acker::atomic`](crate::broker::settlement::Acker::atomic), with the fixture's result backend.
    AtomicSettle,
    /// [`ResultBackend::stored`](crate::backend::backend::ResultBackend::stored).
    StoredResults,
    /// [`ResultBackend::groups`](crate::backend::backend::ResultBackend::groups).
    Groups,
    /// [`ResultBackend::chords`](crate::backend::backend::ResultBackend::chords).
    Chords,
    /// [`Fixture::reopening`]: the store can be opened a second time.
    SecondHandle,
    /// [`Fixture::inserting_unreadable`]: bytes that are not a message can be put on a queue.
    UnreadableBytes,
    /// The driver follows a manual clock. Others are tested with the machine's clock.
    ManualClock,
}

impl Ability {
    /// All abilities.
    const ALL: [Self; 18] = [
        Self::Delays,
        Self::AtomicPublish,
        Self::CrashCounts,
        Self::LargerFirst,
        Self::QueuePeek,
        Self::QueueCounts,
        Self::ConsumerCounts,
        Self::PurgeOfDelays,
        Self::DeadSet,
        Self::Broadcast,
        Self::FleetRecords,
        Self::AtomicSettle,
        Self::StoredResults,
        Self::Groups,
        Self::Chords,
        Self::SecondHandle,
        Self::UnreadableBytes,
        Self::ManualClock,
    ];

    /// Whether the driver behind a fixture has it.
    async fn is_in(self, f: &Fixture) -> bool {
        let able = f.broker.capabilities();
        match self {
            Self::Delays => able.delays,
            Self::AtomicPublish => able.atomic_publish,
            Self::CrashCounts => able.counts_crashes,
            Self::LargerFirst => able.priority_order == PriorityOrder::LargerFirst,
            Self::QueuePeek => f.queues().messages().is_some(),
            Self::QueueCounts => f.queues().counts().is_some(),
            Self::ConsumerCounts => f.queues().consumers().is_some(),
            Self::PurgeOfDelays => f.queues().purges_delayed(),
            Self::DeadSet => f.broker.dead().is_some(),
            Self::Broadcast => f.broker.broadcast().is_some(),
            Self::FleetRecords => f.broker.fleet().is_some(),
            Self::AtomicSettle => {
                let acker = f.consumer(&["q"]).await.acker();
                acker.atomic().is_some_and(|atomic| atomic.shares_store_with(f.backend.address()))
            }
            Self::StoredResults => f.backend.stored().is_some(),
            Self::Groups => f.backend.groups().is_some(),
            Self::Chords => f.backend.chords().is_some(),
            Self::SecondHandle => f.can_reopen(),
            Self::UnreadableBytes => f.can_insert_unreadable(),
            Self::ManualClock => f.clock.is_manual(),
        }
    }
}

/// The name of a case, with its module, and the abilities that it needs.
pub type Case = (&'static str, &'static [Ability]);

/// Whether a case with these needs is skipped for a driver that lacks these abilities.
pub fn is_skipped(needs: &[Ability], lacks: &[Ability]) -> bool {
    needs.iter().any(|need| lacks.contains(need))
}

/// The last test of each driver.
///
/// # Panics
/// Unless `lacks` is exactly what the driver behind the fixture lacks, and `skips` are exactly the names of the `cases`
/// that are skipped for it.
pub async fn check(f: Fixture, lacks: &[Ability], cases: &[Case], skips: &[&str]) {
    for ability in Ability::ALL {
        match (ability.is_in(&f).await, lacks.contains(&ability)) {
            (true, true) => panic!("the driver has {ability:?}; take it off the list of what it lacks"),
            (false, false) => panic!("the driver lacks {ability:?} and does not declare it"),
            (true, false) | (false, true) => {}
        }
    }
    let skipped = cases.iter().filter(|(_, needs)| is_skipped(needs, lacks)).map(|(name, _)| *name);
    let (mut skipped, mut declared): (Vec<&str>, Vec<&str>) = (skipped.collect(), skips.to_vec());
    skipped.sort_unstable();
    declared.sort_unstable();
    assert_eq!(skipped, declared, "the skipped cases, and what the driver declares to be skipped");
}
