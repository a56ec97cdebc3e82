//! A map that keeps so many entries at most; the oldest go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Values by key, in the order in which the keys were added.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<V> {
    most: usize,
    entries: HashMap<Arc<str>, (u64, V)>,
    order: BTreeMap<u64, Arc<str>>,
    last: u64,
}

impl<V> Bounded<V> {
    /// At most `most` entries, and one at least.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), entries: HashMap::new(), order: BTreeMap::new(), last: 0 }
    }

    /// The value of a key, which is added where it is new; then the oldest goes, should there be too many.
    pub(crate) fn entry(&mut self, key: &str, new: impl FnOnce(&Arc<str>) -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            if self.entries.len() >= self.most
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.entries.remove(&oldest);
            }
            self.last += 1;
            let key: Arc<str> = key.into();
            self.order.insert(self.last, key.clone());
            let value = new(&key);
            return &mut self.entries.entry(key).or_insert((self.last, value)).1;
        }
        let last = self.last;
        &mut self.entries.entry(key.into()).or_insert_with(|| (last, new(&key.into()))).1
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        let (number, value) = self.entries.remove(key)?;
        self.order.remove(&number);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The values, the oldest key first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.order.values().filter_map(|key| self.get(key))
    }

    /// Removes the entries of which `keep` does not say yes.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.entries.retain(|_, (_, value)| keep(value));
        self.order.retain(|_, key| self.entries.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut map = Bounded::new(2);
        for key in ["a", "b", "a", "c", "b"] {
            *map.entry(key, |_| 0) += 1;
        }
        assert_eq!(map.iter().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!((map.len(), map.get("a"), map.get("b"), map.get("c")), (2, None, Some(&2), Some(&1)));
        assert_eq!((map.remove("b"), map.remove("b"), map.len()), (Some(2), None, 1));
        map.retain(|value| *value > 1);
        assert_eq!((map.len(), map.iter().count()), (0, 0));
    }
}
