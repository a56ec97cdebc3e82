//! How often something happened in the last seconds.

use std::collections::VecDeque;

/// Over how many seconds a rate is taken.
const SECONDS: usize = 10;

/// Counts of the last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    /// Counts with their second, the last one last.
    counts: VecDeque<(i64, u64)>,
}

impl Rate {
    /// It happened at this second.
    pub(super) fn count(&mut self, second: i64) {
        match self.counts.back_mut() {
            Some((last, count)) if *last >= second => *count += 1,
            _ => self.counts.push_back((second, 1)),
        }
        while self.counts.len() > SECONDS {
            self.counts.pop_front();
        }
    }

    /// How often it happened a second, over the last ten.
    pub(super) fn per_second(&self, now: i64) -> f64 {
        let since = now - SECONDS as i64;
        let sum: u64 = self.counts.iter().filter(|(second, _)| *second > since).map(|(_, count)| count).sum();
        sum as f64 / SECONDS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        let mut rate = Rate::default();
        for second in [100, 100, 101, 105, 104] {
            rate.count(second);
        }
        assert_eq!(rate.per_second(105), 0.5);
        assert_eq!((rate.per_second(111), rate.per_second(120)), (0.2, 0.0));
        (0..100).for_each(|second| rate.count(second + 200));
        assert_eq!((rate.per_second(299), rate.counts.len()), (1.0, 10));
    }
}
