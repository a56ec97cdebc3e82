//! The value of `worker_prefetch_multiplier`: a number for each slot, or a window that the worker sizes by time.

use crate::config::read::{FromValue, InvalidValue};
use crate::config::value::Value;

/// How far ahead a worker fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefetchMultiplier {
    /// This many messages for each slot, as in Celery; 0 is without limit.
    Fixed(u32),
    /// As many as end in about 50 ms, by the rate that the worker measures. The default.
    Auto,
}

impl PrefetchMultiplier {
    /// The number for each slot; nothing where the worker sizes a window by time.
    pub fn fixed(self) -> Option<u32> {
        match self {
            Self::Fixed(number) => Some(number),
            Self::Auto => None,
        }
    }
}

impl FromValue for PrefetchMultiplier {
    const KIND: &'static str = "a whole number, 0 or more, or \"auto\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::Int(number) => {
                u32::try_from(*number).map(Self::Fixed).map_err(|_| InvalidValue::new(value, Self::KIND))
            }
            Value::Text(text) if text.eq_ignore_ascii_case("auto") => Ok(Self::Auto),
            other => Err(InvalidValue::new(other, Self::KIND)),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(number) => Ok(Self::Fixed(number)),
            Err(_) => Self::from_value(&Value::from(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_number_or_the_word_auto() {
        use PrefetchMultiplier::{Auto, Fixed};
        for (text, wanted) in [("0", Some(Fixed(0))), ("4", Some(Fixed(4))), ("auto", Some(Auto)), ("Auto", Some(Auto))]
        {
            assert_eq!(PrefetchMultiplier::from_text(text).ok(), wanted, "{text}");
        }
        assert_eq!(PrefetchMultiplier::from_value(&Value::Int(2)).ok(), Some(Fixed(2)));
        assert_eq!(PrefetchMultiplier::from_value(&"auto".into()).ok(), Some(Auto));
        for wrong in [Value::Int(-1), Value::Float(1.5), "4".into(), "automatic".into()] {
            let wrong = PrefetchMultiplier::from_value(&wrong).unwrap_err();
            assert!(wrong.allowed.contains("\"auto\""), "{wrong:?}");
        }
        assert!(PrefetchMultiplier::from_text("-1").is_err());
    }
}
