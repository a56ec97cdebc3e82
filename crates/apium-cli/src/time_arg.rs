//! Times on the command line: seconds with fractions, or an instant.

use std::time::Duration;

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

    /// Reads an instant only.
    pub(crate) fn parse_instant(text: &str) -> Result<Self, String> {
        let zoned = text.trim().parse::<Timestamp>();
        let instant = zoned.or_else(|_| {
            let naive: DateTime = text.trim().parse()?;
            naive.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
        });
        instant.map(Self::At).map_err(|_| {
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
    fn what_is_no_time_is_refused() {
        assert!(TimeArg::parse("tomorrow").is_err());
        assert!(TimeArg::parse_instant("90").is_err());
        assert!(parse_seconds("-1").is_err());
    }

    #[test]
    fn seconds_count_from_now() {
        let now: Timestamp = "2026-12-01T08:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-12-01T08:01:30Z".parse().unwrap();
        assert_eq!(TimeArg::parse("90").unwrap().from(now), later);
    }
}
