//! Workflows: typed signatures, with the chains, groups and chords that are made of them; and below them the same
//! workflow as a tree without types ([`Node`]), from which the messages are made.

pub use apium_app::canvas::eager::{EagerResult, apply};
pub use apium_app::canvas::node::{ChainNode, ChordNode, GroupNode, IntoNode, Node, TaskKind, TaskNode};
pub use apium_app::canvas::send::send;
pub use apium_app::canvas::stamp::{FixedStamps, StampVisitor, Stamps};
pub use apium_app::publish::prepare::CallSpec;
pub use apium_app::signature::chain::{IntoGroup, chain, chord};
pub use apium_app::signature::fits::{Anything, Complete, Fits};
pub use apium_app::signature::group::{Group, group};
pub use apium_app::signature::join::{Join, SideBySide, join};
pub use apium_app::signature::map::{Mapped, chunks, map, starmap};
pub use apium_app::signature::signature::Signature;
