//! Which runs a consumer has marked as begun, and by which marks. A mark is a message that names several runs; it is
//! acked when all of them are over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::consumer::late_settlements::MessageKey;

/// A run that is marked: the fence of its receipt, and its message.
pub(crate) type MarkedRun = (u64, MessageKey);

/// A mark that is at the server, or on its way there.
#[derive(Debug, Default)]
struct OpenMark {
    runs: Vec<MarkedRun>,
    /// How many of the runs are not over.
    left: usize,
    /// Its delivery tag, once it has come back.
    tag: Option<u64>,
}

/// The marks of one consumer.
#[derive(Debug, Default)]
pub(crate) struct MarkLedger {
    last: u64,
    marks: BTreeMap<u64, OpenMark>,
    /// The mark of each run that is not over, by its fence.
    by_fence: HashMap<u64, u64>,
}

/// What is to be done because runs are not marked any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    /// The tags of the marks to be acked.
    pub(crate) tags: Vec<u64>,
    /// Runs of these marks that go on, and are to be marked anew before that.
    pub(crate) others: Vec<MarkedRun>,
}

impl MarkLedger {
    /// Begins a mark: its number, and the runs that it names. `None` if all of them are marked.
    pub(crate) fn begin(&mut self, mut runs: Vec<MarkedRun>) -> Option<(u64, Vec<MarkedRun>)> {
        runs.retain(|(fence, _)| !self.by_fence.contains_key(fence));
        if runs.is_empty() {
            return None;
        }
        self.last += 1;
        for (fence, _) in &runs {
            self.by_fence.insert(*fence, self.last);
        }
        self.marks.insert(self.last, OpenMark { left: runs.len(), runs: runs.clone(), tag: None });
        Some((self.last, runs))
    }

    /// A mark could not be sent. If it is there all the same, it is acked when it comes.
    pub(crate) fn forget(&mut self, number: u64) {
        self.marks.remove(&number);
        self.by_fence.retain(|_, other| *other != number);
    }

    /// A mark came back with this tag. Whether it is to be acked, since nothing is left of it.
    pub(crate) fn arrived(&mut self, number: u64, tag: u64) -> bool {
        match self.marks.get_mut(&number) {
            Some(mark) if mark.left > 0 => {
                mark.tag = Some(tag);
                false
            }
            _ => {
                self.marks.remove(&number);
                true
            }
        }
    }

    /// Runs are over, and their messages are settled; the tags of marks of which nothing is left.
    pub(crate) fn end(&mut self, fences: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut tags = Vec::new();
        for fence in fences {
            let Some(number) = self.by_fence.remove(&fence) else { continue };
            let Some(mark) = self.marks.get_mut(&number) else { continue };
            mark.left -= 1;
            if mark.left == 0 && mark.tag.is_some() {
                tags.extend(mark.tag);
                self.marks.remove(&number);
            }
        }
        tags
    }

    /// Runs do not count from now on, though their messages may come again.
    pub(crate) fn withdraw(&mut self, fences: impl Iterator<Item = u64>) -> Withdrawn {
        let numbers: BTreeSet<u64> = fences.filter_map(|fence| self.by_fence.remove(&fence)).collect();
        let mut withdrawn = Withdrawn::default();
        for number in numbers {
            let Some(mark) = self.marks.get_mut(&number) else { continue };
            for (fence, key) in std::mem::take(&mut mark.runs) {
                if self.by_fence.get(&fence) == Some(&number) {
                    self.by_fence.remove(&fence);
                    withdrawn.others.push((fence, key));
                }
            }
            mark.left = 0;
            if mark.tag.is_some() {
                withdrawn.tags.extend(mark.tag);
                self.marks.remove(&number);
            }
        }
        withdrawn
    }

    /// No run counts from now on; the tags of the marks to be acked.
    pub(crate) fn withdraw_all(&mut self) -> Vec<u64> {
        self.by_fence.clear();
        let tags = self.marks.values().filter_map(|mark| mark.tag).collect();
        self.marks.retain(|_, mark| mark.tag.is_none());
        self.marks.values_mut().for_each(|mark| (mark.left, mark.runs) = (0, Vec::new()));
        tags
    }

    /// How many marks are on their way.
    pub(crate) fn unseen(&self) -> usize {
        self.marks.values().filter(|mark| mark.tag.is_none()).count()
    }

    /// Whether a mark that nothing is left of is on its way.
    pub(crate) fn awaits_void(&self) -> bool {
        self.marks.values().any(|mark| mark.left == 0)
    }

    /// The marks are lost; whether there were any.
    pub(crate) fn lose(&mut self) -> bool {
        self.by_fence.clear();
        !std::mem::take(&mut self.marks).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fence: u64) -> MarkedRun {
        (fence, MessageKey::from_wire("q", &fence.to_string(), 0))
    }

    fn begin(ledger: &mut MarkLedger, fences: &[u64]) -> u64 {
        ledger.begin(fences.iter().copied().map(run).collect()).unwrap().0
    }

    #[test]
    fn a_mark_is_over_with_the_last_of_its_runs() {
        let mut ledger = MarkLedger::default();
        let number = begin(&mut ledger, &[1, 2]);
        assert!(!ledger.arrived(number, 7));
        assert!(ledger.end([1].into_iter()).is_empty());
        assert_eq!(ledger.end([2, 2, 9].into_iter()), [7]);
        assert!(!ledger.lose());
    }

    #[test]
    fn a_mark_whose_runs_were_over_before_it_came_is_acked_when_it_comes() {
        let mut ledger = MarkLedger::default();
        let number = begin(&mut ledger, &[1]);
        assert!(ledger.end([1].into_iter()).is_empty());
        assert!(ledger.awaits_void());
        assert!(ledger.arrived(number, 7));
        assert!(!ledger.awaits_void());
        assert!(ledger.arrived(number, 8), "a mark that nobody knows");
    }

    #[test]
    fn a_run_is_marked_once() {
        let mut ledger = MarkLedger::default();
        begin(&mut ledger, &[1]);
        assert_eq!(ledger.begin(vec![run(1)]), None);
        assert_eq!(ledger.begin(vec![run(1), run(2)]).unwrap().1, [run(2)]);
        assert_eq!(ledger.unseen(), 2);
    }

    #[test]
    fn what_is_withdrawn_leaves_the_others_of_its_mark() {
        let mut ledger = MarkLedger::default();
        let number = begin(&mut ledger, &[1, 2, 3]);
        ledger.arrived(number, 7);
        ledger.end([3].into_iter());
        assert_eq!(ledger.withdraw([1].into_iter()), Withdrawn { tags: vec![7], others: vec![run(2)] });
        let number = begin(&mut ledger, &[4, 5]);
        ledger.arrived(number, 8);
        assert_eq!(ledger.withdraw([4, 5].into_iter()), Withdrawn { tags: vec![8], others: vec![] });
    }

    #[test]
    fn all_marks_can_be_withdrawn() {
        let mut ledger = MarkLedger::default();
        let number = begin(&mut ledger, &[1]);
        let on_its_way = begin(&mut ledger, &[2]);
        ledger.arrived(number, 7);
        assert_eq!(ledger.withdraw_all(), [7]);
        assert!(ledger.arrived(on_its_way, 8));
        assert!(ledger.end([1, 2].into_iter()).is_empty());
    }

    #[test]
    fn a_mark_that_was_not_sent_is_none() {
        let mut ledger = MarkLedger::default();
        let number = begin(&mut ledger, &[1]);
        ledger.forget(number);
        assert_eq!((ledger.unseen(), ledger.end([1].into_iter())), (0, vec![]));
        assert!(ledger.arrived(number, 7), "it was sent after all");
    }
}
