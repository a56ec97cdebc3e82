//! A case: which chord on which driver, and where its worker dies.

use crate::canvas::crew::Fate;
use crate::canvas::ground::Driver;
use crate::canvas::shape::Shape;

/// When workers die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At a place, somewhere in the chord.
    Middle,
    /// At a place, with the last part in hand.
    Last,
    /// At random instants.
    Random,
}

/// A case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Where the chord lives.
    pub driver: Driver,
    /// When.
    pub moment: Moment,
    /// What is sent.
    pub shape: Shape,
    /// Where, unless at random.
    pub fate: Option<Fate>,
}

impl Case {
    /// What stands in the table for it.
    pub fn title(&self) -> String {
        let place = self.fate.map_or("random instants", |fate| fate.place);
        let when = match (self.shape, self.moment) {
            (Shape::Nested, _) => ", in a chord of chords",
            (Shape::Opened, _) => ", by the worker that opens it",
            (Shape::EarlyLast, _) => ", the last part, acked before its run",
            (_, Moment::Last) => ", the last part",
            (_, Moment::Middle) => ", on the way",
            (_, Moment::Random) => "",
        };
        format!("{place}{when}")
    }

    /// How often the body may run. Where queue and results are two stores, its message is out before the chord is ended, and who
    /// dies between the two sends it again.
    pub fn allows(&self, bodies: usize) -> bool {
        let again = self.driver == Driver::SqliteApart
            && (self.moment == Moment::Random || self.fate.is_some_and(|fate| fate.place == "before-end"));
        bodies == 1 || (again && bodies > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_body_is_allowed_only_between_two_stores() {
        let case = |driver, place| Case {
            driver,
            moment: Moment::Last,
            shape: Shape::KeptLast,
            fate: Some(Fate { place, times: 1 }),
        };
        assert!(!case(Driver::Redis, "after-body").allows(2) && !case(Driver::Sqlite, "before-end").allows(2));
        assert!(case(Driver::SqliteApart, "before-end").allows(2) && !case(Driver::SqliteApart, "after-end").allows(2));
        assert!(!case(Driver::SqliteApart, "before-end").allows(0));
    }
}
