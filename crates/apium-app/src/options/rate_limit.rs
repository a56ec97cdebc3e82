//! Rate limits, written as Celery writes them: `"100/m"`, `"2.5"`, `"10/s"`, `"5/h"`, `"0"` for none.

use crate::error::{Error, ErrorKind, Result};

/// How often a task may start in each worker process (Celery: `rate_limit`). The limit is not shared by workers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Starts per second, greater than 0.
    pub per_second: f64,
}

impl RateLimit {
    /// Reads a limit: a number of starts, then `/s` (the default), `/m` or `/h`. Zero and the empty text are no limit.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an unknown unit, and for a text that is no number of at least 0.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            other => {
                let hint = format!("read the rate limit \"{text}\": the unit \"{other}\" is none of s, m, h");
                return Err(Error::new(ErrorKind::Config, hint));
            }
        };
        match count.trim().parse::<f64>() {
            Ok(0.0) => Ok(None),
            Ok(count) if count.is_finite() && count > 0.0 => Ok(Some(Self { per_second: count / seconds })),
            _ => Err(Error::new(
                ErrorKind::Config,
                format!("read the rate limit \"{text}\": write a number of starts and a unit, like \"100/m\""),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RateLimit;

    #[test]
    fn limits_are_read_as_celery_reads_them() {
        let per_second = |text: &str| RateLimit::parse(text).unwrap().map(|limit| limit.per_second);
        assert_eq!(per_second("10/s"), Some(10.0));
        assert_eq!(per_second("120/m"), Some(2.0));
        assert_eq!(per_second("3600/h"), Some(1.0));
        assert_eq!(per_second("2.5"), Some(2.5));
        assert_eq!(per_second("0"), None);
        assert_eq!(per_second("0/m"), None);
        assert_eq!(per_second(""), None);
    }

    #[test]
    fn a_bad_limit_says_what_is_wrong() {
        let unit = RateLimit::parse("10/x").unwrap_err().to_string();
        assert!(unit.contains("\"10/x\"") && unit.contains("none of s, m, h"), "{unit}");
        for bad in ["-1/s", "many/m", "NaN", "inf/s", "/m"] {
            let error = RateLimit::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("100/m"), "{error}");
        }
    }
}
