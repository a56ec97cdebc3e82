//! Times on the command line: seconds with fractions, or an instant.

use std::time::Duration;

use apium_protocol::timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time as given: counted from now, or an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TimeArg {
    /// This long from now; may be negative.
    FromNow(SignedDuration),
    /// An instant.
    At(Timestamp),
}

impl TimeArg {
    /// Reads seconds (`90`, `0.25`, `-1`) or an instant (`2026-12-01T08:00:00Z`, with an offset, or without one: UTC).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return SignedDuration::try_from_secs_f64(seconds)
                .map(Self::FromNow)
                .map_err(|_| "the number of seconds is out of range".to_owned());
        }
        Self::parse_instant(text)
    }

    /// Reads an instant only. Python's `datetime.max` is one, beyond the last that a [`Timestamp`] has.
    pub(crate) fn parse_instant(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let with_offset = || text.parse::<Timestamp>().ok();
        let in_utc = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
        // That reader takes a bare number as a year, so it only gets what has a time of day.
        let as_celery = || text.contains(':').then(|| timestamp::parse(text).ok()).flatten();
        with_offset().or_else(in_utc).or_else(as_celery).map(Self::At).ok_or_else(|| {
            "neither seconds (90, 0.25) nor an instant (2026-12-01T08:00:00Z, 2026-12-01T09:00:00+01:00)".to_owned()
        })
    }

    /// Whether it counts from now and has come already.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::FromNow(span) if span <= SignedDuration::ZERO)
    }

    /// The instant it means when it is `now`.
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(instant) => instant,
            Self::FromNow(span) => now.saturating_add(span).unwrap_or(now),
        }
    }
}

/// Reads a span of seconds, zero or more, with fractions.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<f64>().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| "the number of seconds must be zero or more, and finite".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_fractions_and_may_be_past() {
        assert_eq!(TimeArg::parse("0.25"), Ok(TimeArg::FromNow(SignedDuration::from_millis(250))));
        assert_eq!(TimeArg::parse("-1"), Ok(TimeArg::FromNow(SignedDuration::from_secs(-1))));
        assert!(TimeArg::parse("nan").is_err());
    }

    #[test]
    fn an_instant_without_offset_is_utc() {
        let zulu = TimeArg::parse("2026-12-01T08:00:00Z");
        assert!(zulu.is_ok());
        assert_eq!(TimeArg::parse("2026-12-01T09:00:00+01:00"), zulu);
        assert_eq!(TimeArg::parse("2026-12-01T08:00:00"), zulu);
        assert_eq!(TimeArg::parse("2026-12-01 08:00:00"), zulu);
    }

    #[test]
    fn pythons_last_instant_is_one() {
        for text in ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-12:00"] {
            assert_eq!(TimeArg::parse_instant(text), Ok(TimeArg::At(Timestamp::MAX)), "{text}");
            assert_eq!(TimeArg::parse(text), Ok(TimeArg::At(Timestamp::MAX)), "{text}");
        }
        assert!(TimeArg::parse_instant("0001-01-01T00:00:00+12:00").is_ok());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert!(TimeArg::parse("tomorrow").is_err());
        assert!(TimeArg::parse_instant("90").is_err());
        assert!(TimeArg::parse_instant("2030").is_err());
        assert!(TimeArg::parse_instant("9999-13-31T00:00:00Z").is_err());
        assert!(parse_seconds("-1").is_err());
    }

    #[test]
    fn seconds_count_from_now() {
        let now: Timestamp = "2026-12-01T08:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-12-01T08:01:30Z".parse().unwrap();
        assert_eq!(TimeArg::parse("90").unwrap().from(now), later);
    }
}
