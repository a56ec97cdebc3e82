//! A case of the fault test: which chord on which driver, and where its worker dies.

use crate::canvas::crew::Crash;
use crate::canvas::fresh_stores::Driver;
use crate::canvas::shape::Shape;

/// When a worker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At a crash point, somewhere in the chord.
    Middle,
    /// At a crash point, when it has the last part.
    Last,
    /// At random instants.
    Random,
}

/// A case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Where the chord lives.
    pub driver: Driver,
    /// When a worker dies.
    pub moment: Moment,
    /// The workflow that is sent.
    pub shape: Shape,
    /// Where the worker dies, unless at random.
    pub crash: Option<Crash>,
}

impl Case {
    /// Its title in the table.
    pub fn title(&self) -> String {
        let point = self.crash.map_or("random instants", |crash| crash.point);
        let when = match (self.shape, self.moment) {
            (Shape::Nested, _) => ", in a chord of chords",
            (Shape::OpenedByWorker, _) => ", by the worker that opens it",
            (Shape::EarlyAckedLast, _) => ", the last part, acked before its run",
            (_, Moment::Last) => ", the last part",
            (_, Moment::Middle) => ", on the way",
            (_, Moment::Random) => "",
        };
        format!("{point}{when}")
    }

    /// Whether the body may run `bodies` times. With queue and results in two stores, its message is published before
    /// the chord is ended; after a crash between the two it is published again.
    pub fn allows(&self, bodies: usize) -> bool {
        let may_repeat = self.driver == Driver::SqliteTwoFiles
            && (self.moment == Moment::Random || self.crash.is_some_and(|crash| crash.point == "before-end"));
        bodies == 1 || (may_repeat && bodies > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_body_is_allowed_only_between_two_stores() {
        let case = |driver, point| Case {
            driver,
            moment: Moment::Last,
            shape: Shape::SeparateLast,
            crash: Some(Crash { point, times: 1 }),
        };
        assert!(!case(Driver::Redis, "after-body").allows(2) && !case(Driver::Sqlite, "before-end").allows(2));
        assert!(
            case(Driver::SqliteTwoFiles, "before-end").allows(2)
                && !case(Driver::SqliteTwoFiles, "after-end").allows(2)
        );
        assert!(!case(Driver::SqliteTwoFiles, "before-end").allows(0));
    }
}
