//! Stamping: headers that all tasks of a workflow and their links get, so that they can be found (Celery: `stamp`,
//! `StampingVisitor`). Stamp last: what is linked afterwards has no stamp.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::node::{ChainNode, ChordNode, GroupNode, Node, TaskNode};
use crate::error::Result;
use crate::options::call_options::CallOptions;

/// Stamps by name.
pub type Stamps = BTreeMap<String, Json>;

/// Says which stamps each signature of a workflow gets. The stamps that a method returns are added to those of the
/// signatures around it, and go to the signatures inside it too.
pub trait StampVisitor {
    /// Returns the stamps of a task. Here as in the other methods, `stamps` are those of the signatures around it.
    fn on_signature(&mut self, task: &TaskNode, stamps: &Stamps) -> Stamps;

    /// Called before the members of a group.
    fn on_group_start(&mut self, _group: &GroupNode, _stamps: &Stamps) -> Stamps {
        Stamps::new()
    }

    /// Called after the members of a group.
    fn on_group_end(&mut self, _group: &GroupNode, _stamps: &Stamps) {}

    /// Called before the steps of a chain.
    fn on_chain_start(&mut self, _chain: &ChainNode, _stamps: &Stamps) -> Stamps {
        Stamps::new()
    }

    /// Called after the steps of a chain.
    fn on_chain_end(&mut self, _chain: &ChainNode, _stamps: &Stamps) {}

    /// Called before the header of a chord. The default calls [`on_group_start`](Self::on_group_start) with the header.
    fn on_chord_header_start(&mut self, chord: &ChordNode, stamps: &Stamps) -> Stamps {
        self.on_group_start(&chord.header, stamps)
    }

    /// Called after the header of a chord.
    fn on_chord_header_end(&mut self, _chord: &ChordNode, _stamps: &Stamps) {}

    /// Called before the body of a chord.
    fn on_chord_body(&mut self, _chord: &ChordNode, _stamps: &Stamps) -> Stamps {
        Stamps::new()
    }

    /// Called before a callback (`link`).
    fn on_callback(&mut self, _callback: &WireSignature, _stamps: &Stamps) -> Stamps {
        Stamps::new()
    }

    /// Called before an errback (`link_error`).
    fn on_errback(&mut self, _errback: &WireSignature, _stamps: &Stamps) -> Stamps {
        Stamps::new()
    }
}

/// A visitor that adds no stamps: every signature gets the stamps that [`Node::stamp`] was called with.
#[derive(Debug, Clone, Copy, Default)]
pub struct FixedStamps;

impl StampVisitor for FixedStamps {
    fn on_signature(&mut self, _: &TaskNode, _: &Stamps) -> Stamps {
        Stamps::new()
    }
}

impl Node {
    /// Stamps all its tasks and their links. A new stamp replaces an earlier one of the same name; with `append` both
    /// stand in a list.
    ///
    /// # Errors
    /// [`ErrorKind::Call`](crate::error::ErrorKind::Call) for a link that cannot be read,
    /// [`ErrorKind::Codec`](crate::error::ErrorKind::Codec) for one that cannot be encoded.
    pub fn stamp(&mut self, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) -> Result<()> {
        match self {
            Self::Task(task) => {
                stamp_links(&mut task.call.options, visitor, stamps, append)?;
                let own = visitor.on_signature(task, stamps);
                let mut all = merged(stamps.clone(), own, append);
                let rare = task.call.options.rare_mut();
                all = merged(all, std::mem::take(&mut rare.stamps), append);
                rare.stamps = all;
                Ok(())
            }
            Self::Chain(chain) => {
                let stamps = merged(stamps.clone(), visitor.on_chain_start(chain, stamps), append);
                stamp_links(&mut chain.options, visitor, &stamps, append)?;
                chain.steps.iter_mut().try_for_each(|step| step.stamp(visitor, &stamps, append))?;
                visitor.on_chain_end(chain, &stamps);
                Ok(())
            }
            Self::Group(group) => {
                let stamps = merged(stamps.clone(), visitor.on_group_start(group, stamps), append);
                stamp_links(&mut group.options, visitor, &stamps, append)?;
                group.members.iter_mut().try_for_each(|member| member.stamp(visitor, &stamps, append))?;
                visitor.on_group_end(group, &stamps);
                Ok(())
            }
            Self::Chord(chord) => {
                let stamps = merged(stamps.clone(), visitor.on_chord_header_start(chord, stamps), append);
                stamp_links(&mut chord.options, visitor, &stamps, append)?;
                chord.header.members.iter_mut().try_for_each(|member| member.stamp(visitor, &stamps, append))?;
                visitor.on_chord_header_end(chord, &stamps);
                let stamps = merged(stamps.clone(), visitor.on_chord_body(chord, &stamps), append);
                chord.body.stamp(visitor, &stamps, append)
            }
        }
    }
}

fn stamp_links(options: &mut CallOptions, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) -> Result<()> {
    let Some(rare) = &mut options.rare else { return Ok(()) };
    for callback in &mut rare.link {
        let stamps = merged(stamps.clone(), visitor.on_callback(callback, stamps), append);
        stamp_link(callback, visitor, &stamps, append)?;
    }
    for errback in &mut rare.link_error {
        let stamps = merged(stamps.clone(), visitor.on_errback(errback, stamps), append);
        stamp_link(errback, visitor, &stamps, append)?;
    }
    Ok(())
}

fn stamp_link(link: &mut WireSignature, visitor: &mut dyn StampVisitor, stamps: &Stamps, append: bool) -> Result<()> {
    let mut node = Node::from_wire(link)?;
    node.stamp(visitor, stamps, append)?;
    *link = node.to_wire()?;
    Ok(())
}

/// `first` with what only `second` has. Where both have a name, the value of `first` stays; with `append` both values
/// stand in a list, the value of `first` before the other.
fn merged(mut first: Stamps, second: Stamps, append: bool) -> Stamps {
    for (name, value) in second {
        match first.get_mut(&name) {
            None => _ = first.insert(name, value),
            Some(own) if append => *own = joined_list(own, &value),
            Some(_) => {}
        }
    }
    first
}

fn joined_list(first: &Json, second: &Json) -> Json {
    let items = |json: &Json| json.decode::<Vec<Json>>().unwrap_or_else(|_| vec![json.clone()]);
    let mut all = items(first);
    all.extend(items(second));
    Json::from_serialize(&all).unwrap_or_else(|_| first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(name: &str, value: i32) -> Stamps {
        Stamps::from([(name.to_owned(), Json::from_serialize(&value).unwrap())])
    }

    #[test]
    fn the_newer_stamp_stays_and_appended_ones_stand_in_a_list() {
        assert_eq!(merged(stamps("a", 2), stamps("a", 1), false), stamps("a", 2));
        assert_eq!(merged(stamps("a", 2), stamps("a", 1), true)["a"].as_str(), "[2, 1]");
        assert_eq!(merged(stamps("a", 2), stamps("b", 1), false).len(), 2);
    }

    #[test]
    fn links_are_stamped_with_their_task() {
        let mut task = Node::from_wire(&WireSignature::new("t")).unwrap();
        task.link(WireSignature::new("callback"));
        task.stamp(&mut FixedStamps, &stamps("tenant", 7), false).unwrap();
        let rare = task.options().rare.as_ref().unwrap();
        assert_eq!(rare.stamps, stamps("tenant", 7));
        assert_eq!(rare.link[0].options["tenant"].as_str(), "7");
        assert_eq!(rare.link[0].options["stamped_headers"].as_str(), "[\"tenant\"]");
    }
}
