//! The goal of a figure, and when it is met.

use crate::bench::figures::Summary;

/// A figure with its goal.
pub(crate) struct Goal {
    /// The name under which the program prints it.
    pub(crate) name: &'static str,
    /// Its title in the table.
    pub(crate) title: &'static str,
    /// The value that it should reach; nothing for a figure that only explains another.
    pub(crate) bound: Option<Bound>,
    /// The unit.
    pub(crate) unit: &'static str,
}

/// A figure that should be this much or more.
pub(crate) const fn at_least(name: &'static str, title: &'static str, least: f64, unit: &'static str) -> Goal {
    Goal { name, title, bound: Some(Bound::AtLeast(least)), unit }
}

/// A figure that should be this much or less.
pub(crate) const fn at_most(name: &'static str, title: &'static str, most: f64, unit: &'static str) -> Goal {
    Goal { name, title, bound: Some(Bound::AtMost(most)), unit }
}

/// A figure that should be less than this.
pub(crate) const fn below(name: &'static str, title: &'static str, most: f64, unit: &'static str) -> Goal {
    Goal { name, title, bound: Some(Bound::Below(most)), unit }
}

/// A figure that should be zero in every run.
pub(crate) const fn none(name: &'static str, title: &'static str, unit: &'static str) -> Goal {
    Goal { name, title, bound: Some(Bound::Always(0.0)), unit }
}

/// A figure that only explains another.
pub(crate) const fn shown(name: &'static str, title: &'static str, unit: &'static str) -> Goal {
    Goal { name, title, bound: None, unit }
}

/// The limit of a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// That much or more.
    AtLeast(f64),
    /// Less than that.
    Below(f64),
    /// That much or less.
    AtMost(f64),
    /// Exactly that, in every run.
    Always(f64),
}

impl Bound {
    /// Whether the runs keep the limit: their median, or each of them.
    pub(crate) fn holds(self, runs: Summary) -> bool {
        match self {
            Self::AtLeast(least) => runs.median >= least,
            Self::Below(most) => runs.median < most,
            Self::AtMost(most) => runs.median <= most,
            Self::Always(wanted) => runs.least.to_bits() == wanted.to_bits() && runs.most.to_bits() == wanted.to_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(least: f64, median: f64, most: f64) -> Summary {
        Summary { median, least, most, runs: 3 }
    }

    #[test]
    fn a_bound_holds_on_its_side() {
        let two = summary(1.0, 2.0, 3.0);
        assert!(Bound::AtLeast(2.0).holds(two) && !Bound::AtLeast(2.1).holds(two));
        assert!(Bound::Below(2.1).holds(two) && !Bound::Below(2.0).holds(two));
        assert!(Bound::AtMost(2.0).holds(two) && !Bound::AtMost(1.9).holds(two));
    }

    #[test]
    fn an_exact_bound_must_hold_in_every_run() {
        assert!(Bound::Always(0.0).holds(summary(0.0, 0.0, 0.0)));
        assert!(!Bound::Always(0.0).holds(summary(0.0, 0.0, 1.0)));
    }
}
