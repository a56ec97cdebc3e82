//! The signal with which somebody terminates a run (Celery: `signal`). Celery sends it to a process. Here a run has no
//! process of its own, so every signal cancels it alike; which one it was is told by events and replies.

use std::fmt;

use apium_protocol::json::text::Json;
use apium_protocol::value::repr_plain::repr;
use apium_protocol::value::value::Value;

/// The names of the signals of Linux by their numbers, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "POLL",
    "PWR", "SYS",
];

/// The number of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TerminateSignal(u8);

impl TerminateSignal {
    /// SIGTERM, where nobody names another one.
    pub(crate) const TERM: Self = Self(15);

    /// The signal of this number.
    pub(crate) fn of_number(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// Reads a signal as Celery does: a number, or a name in capitals with or without `SIG`.
    ///
    /// # Errors
    /// The error of Python, as a text.
    pub(crate) fn read(signal: &Json) -> Result<Self, String> {
        let no_name = || "TypeError('signal name must be uppercase string.')".to_owned();
        match signal.to_value() {
            Ok(Value::Str(name)) if !name.is_empty() && !name.chars().any(char::is_lowercase) => {
                let short = name.strip_prefix("SIG").unwrap_or(&name);
                let index = NAMES.iter().position(|known| *known == short);
                let number = index.and_then(|index| u8::try_from(index + 1).ok());
                number.map(Self).ok_or_else(|| {
                    let text = format!("module 'signal' has no attribute 'SIG{short}'");
                    let shown = Json::from_serialize(&text).map(|text| repr(&text)).unwrap_or_default();
                    format!("AttributeError({shown})")
                })
            }
            Ok(value) => {
                let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
                number.filter(|number| (1..=64).contains(number)).map(Self).ok_or_else(no_name)
            }
            Err(_) => Err(no_name()),
        }
    }
}

impl fmt::Display for TerminateSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0).wrapping_sub(1)) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_celery_reads_them() {
        for (text, read) in [
            ("\"SIGTERM\"", Ok((15, "SIGTERM"))),
            ("\"TERM\"", Ok((15, "SIGTERM"))),
            ("\"KILL\"", Ok((9, "SIGKILL"))),
            ("\"USR2\"", Ok((12, "SIGUSR2"))),
            ("9", Ok((9, "SIGKILL"))),
            ("34", Ok((34, "signal 34"))),
            ("\"term\"", Err("TypeError('signal name must be uppercase string.')")),
            ("[]", Err("TypeError('signal name must be uppercase string.')")),
            ("0", Err("TypeError('signal name must be uppercase string.')")),
            ("\"NOPE\"", Err("AttributeError(\"module 'signal' has no attribute 'SIGNOPE'\")")),
        ] {
            let signal = TerminateSignal::read(&Json::from_text(text).unwrap());
            let signal = signal.map(|signal| (signal.number(), signal.to_string()));
            assert_eq!(signal, read.map(|(number, name)| (number, name.to_owned())).map_err(str::to_owned), "{text}");
        }
    }
}
