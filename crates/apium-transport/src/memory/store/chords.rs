//! The chords of one namespace: what was counted, and who may send the body. Changes by a settlement can be undone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use jiff::Timestamp;

use crate::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, FIRED_FOR};
use crate::backend::chord_results;
use crate::backend::chord_results::CountedPart;
use crate::error::Result;
use crate::memory::store::expiry::{after, is_alive};

/// With fewer chords than this, expired ones are not looked for.
const FIRST_PURGE: usize = 256;

/// The chords of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Chords {
    by_group: HashMap<String, Chord>,
    /// With this many chords, expired ones are deleted: nothing does so in the background.
    purge_at: usize,
}

#[derive(Debug, Default)]
struct Chord {
    head: Head,
    /// By index in the header, those without one last; then in the order in which they came.
    parts: BTreeMap<(i64, usize), CountedPart>,
    /// By task and index: a header may contain one task several times.
    seen: HashSet<(TaskId, i64)>,
    /// The parts that were added to it.
    added: HashSet<TaskId>,
}

/// All of a chord but its parts.
#[derive(Debug, Clone, Default)]
struct Head {
    phase: ChordPhase,
    /// `None` until it is opened.
    size: Option<u64>,
    structure: Option<Arc<GroupDocument>>,
    expires: Option<Timestamp>,
    /// Who has the claim on the body, and until when.
    claim: Option<(String, Timestamp)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ChordPhase {
    #[default]
    Counting,
    /// The body was sent.
    Fired,
    /// The body was failed.
    Failed,
}

/// How to undo one change.
#[derive(Debug)]
enum Before {
    Nothing(String),
    Head(String, Head),
    NoPart(String, (i64, usize)),
    Whole(String, Chord),
}

/// The changes of one settlement, to be undone if it fails.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<Before>);

fn sort_index(index: Option<i64>) -> i64 {
    index.unwrap_or(i64::MAX)
}

impl Head {
    fn is_alive(&self, now: Timestamp) -> bool {
        is_alive(self.expires, now)
    }

    fn claimant(&self, now: Timestamp) -> Option<&str> {
        self.claim.as_ref().filter(|(_, until)| now < *until).map(|(claimant, _)| claimant.as_str())
    }

    fn keep_for(&mut self, ttl: Duration, now: Timestamp) {
        self.expires = Some(after(now, ttl));
    }
}

impl Chord {
    fn count(&self) -> Option<ChordCount> {
        let size = self.head.size.filter(|_| self.head.phase == ChordPhase::Counting)?;
        Some(ChordCount { done: self.parts.len() as u64, size: size + self.added.len() as u64 })
    }
}

impl Chords {
    /// The chord of a group, created if missing. Adds to `changes` what it was before.
    fn chord(&mut self, group: &str, now: Timestamp, changes: &mut Changes) -> &mut Chord {
        match self.by_group.get(group) {
            Some(chord) if chord.head.is_alive(now) => {
                changes.0.push(Before::Head(group.to_owned(), chord.head.clone()));
            }
            Some(_) => {
                let old = self.by_group.remove(group).unwrap_or_default();
                changes.0.push(Before::Whole(group.to_owned(), old));
            }
            None => {
                self.make_room(now);
                changes.0.push(Before::Nothing(group.to_owned()));
            }
        }
        self.by_group.entry(group.to_owned()).or_default()
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.by_group.len() >= self.purge_at.max(FIRST_PURGE) {
            self.purge_expired(now);
            self.purge_at = self.by_group.len() * 2;
        }
    }

    /// Opens a chord.
    pub(crate) fn open(&mut self, header: ChordHeader, now: Timestamp, changes: &mut Changes) {
        let head = &mut self.chord(&header.group, now, changes).head;
        if head.phase != ChordPhase::Counting {
            return;
        }
        head.size = Some(header.size);
        head.structure = header.structure.map(Arc::new);
        head.expires = header.ttl.map(|ttl| after(now, ttl));
    }

    /// Counts a part. `stored` reads the result of a task that is not among the parts.
    pub(crate) fn part_done(
        &mut self,
        part: &ChordPart,
        now: Timestamp,
        changes: &mut Changes,
        mut stored: impl FnMut(&TaskId) -> Option<ResultDocument>,
    ) -> Result<ChordProgress> {
        let chord = self.chord(&part.group, now, changes);
        match chord.head.phase {
            ChordPhase::Fired => return Ok(ChordProgress::Fired),
            ChordPhase::Failed => return Ok(ChordProgress::Waiting),
            ChordPhase::Counting => {}
        }
        let index = sort_index(part.group_index);
        if chord.seen.insert((part.task_id.clone(), index)) {
            let (task_id, state, result) = (part.task_id.clone(), part.state.clone(), part.result.clone());
            let key = (index, chord.parts.len());
            chord.parts.insert(key, CountedPart { task_id, state, result });
            changes.0.push(Before::NoPart(part.group.clone(), key));
        }
        if let Some(ttl) = part.ttl {
            chord.head.keep_for(ttl, now);
        }
        let is_complete = chord.count().is_some_and(|count| count.done == count.size);
        if !is_complete || chord.head.claimant(now).is_some_and(|claimant| claimant != part.claimant) {
            return Ok(ChordProgress::Waiting);
        }
        chord.head.claim = Some((part.claimant.clone(), after(now, part.claim)));
        let parts = chord.parts.values().cloned();
        match &chord.head.structure {
            Some(structure) => chord_results::nested(&structure.result, parts, |id| Ok(stored(id))),
            None => Ok(chord_results::listed(parts)),
        }
    }

    /// Adds a part to the size of a chord, once.
    pub(crate) fn grow(&mut self, group: &str, added: &TaskId, ttl: Option<Duration>, now: Timestamp) {
        let chord = self.chord(group, now, &mut Changes::default());
        if chord.head.phase == ChordPhase::Fired {
            return;
        }
        chord.added.insert(added.clone());
        if let Some(ttl) = ttl {
            chord.head.keep_for(ttl, now);
        }
    }

    /// How many parts of a chord are counted.
    pub(crate) fn count(&self, group: &str, now: Timestamp) -> Option<ChordCount> {
        self.by_group.get(group).filter(|chord| chord.head.is_alive(now))?.count()
    }

    /// Ends a chord if `claimant` has the claim on its body; returns whether it had.
    pub(crate) fn end(
        &mut self,
        group: &str,
        claimant: &str,
        end: ChordEnd,
        now: Timestamp,
        changes: &mut Changes,
    ) -> bool {
        let chord = self.by_group.get(group).filter(|chord| chord.head.is_alive(now));
        let claimed = chord.is_some_and(|chord| chord.head.claimant(now) == Some(claimant));
        if claimed {
            self.end_now(group, end, now, changes);
        }
        claimed
    }

    /// Ends a chord, whoever has the claim.
    pub(crate) fn end_now(&mut self, group: &str, end: ChordEnd, now: Timestamp, changes: &mut Changes) {
        let Some(chord) = self.by_group.get_mut(group) else { return };
        match end {
            ChordEnd::Failed => {
                changes.0.push(Before::Head(group.to_owned(), chord.head.clone()));
                chord.head.phase = ChordPhase::Failed;
            }
            ChordEnd::Fired => {
                let fired = Head { phase: ChordPhase::Fired, expires: Some(after(now, FIRED_FOR)), ..Head::default() };
                let old = std::mem::replace(chord, Chord { head: fired, ..Chord::default() });
                changes.0.push(Before::Whole(group.to_owned(), old));
            }
        }
    }

    /// Undoes changes.
    pub(crate) fn undo(&mut self, changes: Changes) {
        for before in changes.0.into_iter().rev() {
            match before {
                Before::Nothing(group) => _ = self.by_group.remove(&group),
                Before::Whole(group, chord) => _ = self.by_group.insert(group, chord),
                Before::Head(group, head) => {
                    if let Some(chord) = self.by_group.get_mut(&group) {
                        chord.head = head;
                    }
                }
                Before::NoPart(group, key) => {
                    if let Some(chord) = self.by_group.get_mut(&group)
                        && let Some(part) = chord.parts.remove(&key)
                    {
                        chord.seen.remove(&(part.task_id, key.0));
                    }
                }
            }
        }
    }

    /// Deletes expired chords; returns how many.
    pub(crate) fn purge_expired(&mut self, now: Timestamp) -> u64 {
        let before = self.by_group.len();
        self.by_group.retain(|_, chord| chord.head.is_alive(now));
        (before - self.by_group.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;
    use apium_protocol::result::state::State;

    use super::*;

    fn header(group: &str, size: u64, ttl: Option<Duration>) -> ChordHeader {
        ChordHeader { group: group.to_owned(), size, structure: None, ttl }
    }

    fn part(id: &str, index: i64) -> ChordPart {
        ChordPart {
            group: "g".to_owned(),
            task_id: id.into(),
            group_index: Some(index),
            state: State::Success,
            result: Json::from_serialize(id).unwrap(),
            ttl: None,
            claimant: id.to_owned(),
            claim: Duration::from_secs(30),
        }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn done(chords: &mut Chords, part: &ChordPart, now: i64, changes: &mut Changes) -> ChordProgress {
        chords.part_done(part, second(now), changes, |_| None).unwrap()
    }

    fn shown(chords: &Chords) -> String {
        // Maps without an order have at most one entry in these tests.
        format!("{:?}", chords.by_group)
    }

    #[test]
    fn undone_changes_leave_no_trace() {
        let (mut chords, mut lasting) = (Chords::default(), Changes::default());
        let undone = |chords: &mut Chords, work: &dyn Fn(&mut Chords, &mut Changes)| {
            let (before, mut changes) = (shown(chords), Changes::default());
            work(chords, &mut changes);
            assert_ne!(shown(chords), before);
            chords.undo(changes);
            assert_eq!(shown(chords), before);
        };
        let fire = |chords: &mut Chords, changes: &mut Changes| {
            assert!(matches!(done(chords, &part("a", 0), 2, changes), ChordProgress::Complete(_)));
            assert!(chords.end("g", "a", ChordEnd::Fired, second(2), changes));
        };
        undone(&mut chords, &|chords, changes| chords.open(header("g", 1, None), second(1), changes));
        undone(&mut chords, &|chords, changes| {
            chords.open(header("g", 1, None), second(1), changes);
            fire(chords, changes);
        });
        chords.open(header("g", 1, Some(Duration::from_secs(10))), second(1), &mut lasting);
        undone(&mut chords, &fire);
        undone(&mut chords, &|chords, changes| {
            fire(chords, changes);
            assert_eq!(done(chords, &part("b", 1), 3, changes), ChordProgress::Fired);
            chords.open(header("g", 7, None), second(400), changes);
        });
        assert!(matches!(done(&mut chords, &part("a", 0), 2, &mut lasting), ChordProgress::Complete(_)));
        undone(&mut chords, &|chords, changes| {
            assert!(chords.end("g", "a", ChordEnd::Failed, second(3), changes));
        });
        undone(&mut chords, &|chords, changes| {
            assert_eq!(done(chords, &part("b", 0), 20, changes), ChordProgress::Waiting, "the old one has expired");
        });
    }

    #[test]
    fn expired_chords_do_not_pile_up() {
        let mut chords = Chords::default();
        for now in 0..10_000 {
            let ttl = Some(Duration::from_secs(100));
            chords.open(header(&now.to_string(), 1, ttl), second(now), &mut Changes::default());
            assert!(chords.by_group.len() <= FIRST_PURGE);
        }
    }
}
