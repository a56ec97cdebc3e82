//! How soon a consumer acts when the server says that a list has changed. Every idle consumer of the list gets the same
//! news, and one of them is enough: otherwise one message would cost a claim of each.
//!
//! The rule: about two of them act at once, by chance. The others wait for a random time, most of them long, and look
//! before they claim. Nobody knows how many are idle. A consumer knows how many there are at all, and learns from what
//! it finds: a message that still lies there after its wait halves what it counts on, and one that is gone raises it.
//! No agreement is needed, so a consumer that dies or is busy holds up nobody.

use std::time::Duration;

use tokio::time::Instant;

/// How many act at once.
const AT_ONCE: f64 = 2.0;
/// By how much each rival lengthens the longest wait.
const PER_RIVAL: Duration = Duration::from_millis(12);
/// The longest wait: below 100 ms, since the others may all be busy.
const LONGEST: Duration = Duration::from_millis(80);
/// The longest wait of a consumer that came too late a moment ago, so that there are idle ones beside it.
const LONGEST_OF_MANY: Duration = Duration::from_millis(1000);
/// How long that counts.
const A_MOMENT: Duration = Duration::from_secs(2);
/// How often the consumers are counted, at most.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// The other consumers that may act on the same news.
#[derive(Debug, Default)]
pub(crate) struct Rivals {
    /// How many of them this one counts on.
    expected: usize,
    /// How many there are at most.
    limit: usize,
    /// When this one came too late, the last time.
    beaten_at: Option<Instant>,
    counted_at: Option<Instant>,
}

impl Rivals {
    /// There are so many consumers, this one too. At first it counts on all of them.
    pub(crate) fn count(&mut self, consumers: usize, now: Instant) {
        let limit = consumers.saturating_sub(1);
        self.expected = if limit > self.limit { limit } else { self.expected.min(limit) };
        (self.limit, self.counted_at) = (limit, Some(now));
    }

    /// Whether the consumers should be counted anew.
    pub(crate) fn is_count_due(&self, now: Instant) -> bool {
        self.beaten_at.is_some_and(|at| self.counted_at.is_none_or(|counted| at > counted))
            && self.counted_at.is_none_or(|counted| now.duration_since(counted) >= COUNT_INTERVAL)
    }

    /// How long to wait before acting: zero for those who act at once.
    pub(crate) fn wait(&self, now: Instant, random: &mut fastrand::Rng) -> Duration {
        if random.f64() * (self.expected as f64 + 1.0) < AT_ONCE {
            return Duration::ZERO;
        }
        let has_rivals = self.beaten_at.is_some_and(|at| now.duration_since(at) < A_MOMENT);
        let limit = if has_rivals { LONGEST_OF_MANY } else { LONGEST };
        let longest = PER_RIVAL.saturating_mul(u32::try_from(self.expected).unwrap_or(u32::MAX)).min(limit);
        // The square makes short waits as likely as needed for the first to be short, and long ones for the others.
        longest.mul_f64(random.f64().powi(2))
    }

    /// The message was still there.
    pub(crate) fn won(&mut self) {
        self.expected /= 2;
    }

    /// Another consumer had claimed it.
    pub(crate) fn beaten(&mut self, now: Instant) {
        self.expected = (self.expected * 4 + 1).min(self.limit.max(1));
        self.beaten_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits of `count` idle consumers for one message, sorted, after `rounds` in which the first of them won.
    fn waits(count: usize, rounds: usize, random: &mut fastrand::Rng) -> Vec<Duration> {
        let now = Instant::now();
        let mut all: Vec<Rivals> = (0..count).map(|_| Rivals::default()).collect();
        all.iter_mut().for_each(|rivals| rivals.count(count, now));
        for _ in 0..rounds {
            let waits: Vec<Duration> = all.iter().map(|rivals| rivals.wait(now, random)).collect();
            let first = (0..count).min_by_key(|at| waits[*at]).unwrap();
            for (at, rivals) in all.iter_mut().enumerate() {
                if at == first { rivals.won() } else { rivals.beaten(now) }
            }
        }
        let mut waits: Vec<Duration> = all.iter().map(|rivals| rivals.wait(now, random)).collect();
        waits.sort();
        waits
    }

    #[test]
    fn few_of_many_act_at_once_and_the_first_acts_soon() {
        let mut random = fastrand::Rng::with_seed(7);
        for count in [1, 2, 10, 100, 1000] {
            for rounds in [0, 1, 20] {
                let all: Vec<Vec<Duration>> = (0..200).map(|_| waits(count, rounds, &mut random)).collect();
                let acting = |limit: Duration| all.iter().flatten().filter(|wait| **wait <= limit).count();
                let at_once = acting(Duration::ZERO);
                assert!(at_once <= 200 * 3, "{count} consumers, {rounds} rounds: {at_once} act at once in 200 rounds");
                let soon = acting(Duration::from_millis(1));
                assert!(
                    soon <= 200 * count.min(150),
                    "{count} consumers, {rounds} rounds: {soon} act soon in 200 rounds"
                );
                let mut first: Vec<Duration> = all.iter().map(|waits| waits[0]).collect();
                first.sort();
                assert!(first[197] < Duration::from_millis(60), "{count} consumers, {rounds} rounds: {:?}", first[197]);
                assert!(first[100] < Duration::from_millis(5), "{count} consumers, {rounds} rounds: {:?}", first[100]);
            }
        }
    }

    #[test]
    fn one_that_is_alone_among_busy_ones_waits_less_than_a_tenth_of_a_second_and_soon_not_at_all() {
        let (mut random, now) = (fastrand::Rng::with_seed(7), Instant::now());
        for _ in 0..100 {
            let mut rivals = Rivals::default();
            rivals.count(100, now);
            for _ in 0..7 {
                assert!(rivals.wait(now, &mut random) < Duration::from_millis(100));
                rivals.won();
            }
            assert_eq!(rivals.wait(now, &mut random), Duration::ZERO);
        }
    }

    #[test]
    fn consumers_are_counted_again_only_when_this_one_came_too_late() {
        let now = Instant::now();
        let mut rivals = Rivals::default();
        assert!(!rivals.is_count_due(now));
        rivals.beaten(now);
        assert!(rivals.is_count_due(now));
        rivals.count(5, now + Duration::from_millis(1));
        assert!(!rivals.is_count_due(now + COUNT_INTERVAL * 2));
        rivals.beaten(now + COUNT_INTERVAL / 2);
        assert!(!rivals.is_count_due(now + COUNT_INTERVAL / 2));
        assert!(rivals.is_count_due(now + COUNT_INTERVAL * 2));
    }
}
