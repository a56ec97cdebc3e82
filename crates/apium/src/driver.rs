//! For authors of drivers, and for programs that use a broker directly: the traits of brokers and result backends, the
//! types that they take and return, and the drivers of this build. The parts of a message are in
//! [`message`](crate::message).
//!
//! A result backend returns the states of a task as a stream ([`ResultBackend::watch`]). [`WatchTable`] holds the
//! watches of a driver in one process: which of them wait for which task, and which states each has not read yet.
//! [`WatchStream`] is the stream over it.
//!
//! With the feature `conformance`, `conformance_tests!` makes a test of each thing that a driver must do.

#[cfg(feature = "amqp")]
pub use apium_amqp::{AmqpBroker, AmqpDriver, RpcBackend};
#[doc(no_inline)]
pub use apium_protocol::message::message::Message;
#[doc(no_inline)]
pub use apium_protocol::message::task_id::TaskId;
#[doc(no_inline)]
pub use apium_protocol::result::document::{GroupDocument, ResultDocument, ResultTuple};
#[doc(no_inline)]
pub use apium_protocol::result::state::State as TaskState;
#[cfg(feature = "redis")]
pub use apium_redis::{RedisBackend, RedisBroker, RedisDriver};
#[cfg(feature = "sqlite")]
pub use apium_sqlite::{SqliteBackend, SqliteBroker, SqliteDriver, WakeCauses};
pub use apium_transport::address::Address;
pub use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, RunVersion, SharedBackend, StoreResult,
    StoredResults, may_replace,
};
pub use apium_transport::backend::chord::{
    ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore, FIRED_FOR, FailedPart,
};
pub use apium_transport::backend::chord_results::{CountedPart, listed as list_results, nested as nest_results};
pub use apium_transport::backend::watch_state::{StateVersion, WatchedState};
pub use apium_transport::backend::watch_stream::{WatchStream, WatchTableOwner};
pub use apium_transport::backend::watch_table::{MAX_LAG, WatchChanges, WatchTable};
pub use apium_transport::broker::broker::{Broker, BrokerCapabilities, PriorityOrder, SharedBroker};
pub use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Content, Delivery};
pub use apium_transport::broker::dead_set::{DeadLetter, DeadReason, DeadSet, NewDeadLetter};
pub use apium_transport::broker::demand::{Demand, Wanted};
pub use apium_transport::broker::follow_ups::{ChordContinuation, EndedPart, FollowUps};
pub use apium_transport::broker::outgoing::Outgoing;
pub use apium_transport::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek, QueueStats};
pub use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, Tag, lease_lost, lost_receipts,
};
pub use apium_transport::broker::topic::topic_matches;
#[doc(no_inline)]
pub use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
pub use apium_transport::clock::{Clock, Moment};
#[cfg(feature = "conformance")]
pub use apium_transport::conformance::{Ability, Fixture, Handles};
#[cfg(feature = "conformance")]
pub use apium_transport::conformance_tests;
pub use apium_transport::driver::{Driver, DriverOptions, SharedDriver};
pub use apium_transport::error::{Error, ErrorKind, Result};
#[doc(no_inline)]
pub use apium_transport::health::Health;
pub use apium_transport::memory::{MemoryAcker, MemoryBackend, MemoryBroker, MemoryConsumer, MemoryDriver};
pub use apium_transport::option_value::{InvalidOption, OptionValue};
