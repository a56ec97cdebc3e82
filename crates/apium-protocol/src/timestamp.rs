//! Instants as text: written as Python's `isoformat` does, and read as dateutil's ISO parser does, which Celery uses.

use jiff::civil::{Date, DateTime, ISOWeekDate, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

use crate::error::{Error, ErrorKind, Result};

/// Reads an instant.
///
/// ISO 8601 in its extended and basic forms, with `T` or a blank before the time: `2030-01-02T03:04:05.678901+01:00`,
/// `20300102T030405Z`, `2030-01-02`, also week dates and days of the year. Fractions of a second have any length;
/// digits after the ninth are ignored. Offsets are `Z`, `±HH`, `±HHMM`, `±HH:MM` or `±HH:MM:SS`; without one, the time
/// is in UTC, Celery's default timezone.
///
/// # Errors
/// [`ErrorKind::Time`] if the text is not such an instant, or is outside the years -9999 to 9999.
pub fn parse(text: &str) -> Result<Timestamp> {
    parse_in(text, &TimeZone::UTC)
}

/// Reads an instant like [`parse`]. Without an offset, the time is in `zone`.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(text: &str, zone: &TimeZone) -> Result<Timestamp> {
    let (local, offset) = split(text)
        .ok_or_else(|| Error::new(ErrorKind::Time, format!("read `{}` as a time in ISO 8601", shortened(text))))?;
    let instant = match offset {
        Some(offset) => offset.to_timestamp(local),
        None => local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()),
    };
    // A date and a time that exist have an instant, unless it is out of range.
    Ok(instant.unwrap_or(if local.year() > 0 { Timestamp::MAX } else { Timestamp::MIN }))
}

/// Writes an instant in UTC: `2030-01-02T03:04:05.678901+00:00`. The fraction has six digits; if they are zero it is
/// left out.
///
/// Python has the years 1 to 9999. An instant before them is written as the first one, and [`Timestamp::MAX`] as the
/// last one, `9999-12-31T23:59:59.999999+00:00`, which is Python's `datetime.max`.
pub fn format(instant: Timestamp) -> String {
    format_at(instant, Offset::UTC)
}

/// Writes an instant in the local time of `zone`, with its offset: `2030-01-02T04:04:05.678901+01:00`. An instant that
/// is the first or the last one of Python is written in UTC.
pub fn format_in(instant: Timestamp, zone: &TimeZone) -> String {
    format_at(instant, zone.to_offset(instant))
}

fn format_at(instant: Timestamp, offset: Offset) -> String {
    // Drivers keep microseconds.
    if instant.as_microsecond() >= Timestamp::MAX.as_microsecond() {
        return isoformat(DateTime::MAX, Some(Offset::UTC));
    }
    let first = Date::constant(1, 1, 1).at(0, 0, 0, 0);
    // Python refuses a time whose local date or date in UTC is before the first one.
    if offset.to_datetime(instant) < first || Offset::UTC.to_datetime(instant) < first {
        return isoformat(first, Some(Offset::UTC));
    }
    isoformat(offset.to_datetime(instant), Some(offset))
}

/// Reads the local time and the offset in a text.
pub(crate) fn split(text: &str) -> Option<(DateTime, Option<Offset>)> {
    let text = text.trim();
    // What follows cuts the text at places that are no characters' boundaries otherwise.
    if !text.is_ascii() {
        return None;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, Some(text.get(at + 1..)?)),
        None => (text, None),
    };
    let date = read_date(date)?;
    let Some(time) = time else { return Some((date.at(0, 0, 0, 0), None)) };
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], Some(read_offset(&time[at..])?)),
        None => (time, None),
    };
    let clock = clock.trim_end();
    // 24:00 is midnight at the end of the day. The last day has none.
    if matches!(clock, "24" | "24:00" | "2400" | "24:00:00" | "240000") {
        let midnight = date.tomorrow().map_or(DateTime::MAX, |next| next.at(0, 0, 0, 0));
        return Some((midnight, offset));
    }
    Some((date.to_datetime(read_time(clock)?), offset))
}

fn read_date(text: &str) -> Option<Date> {
    let year = number(text.get(..4)?)?;
    let rest = &text[4..];
    let (extended, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if let Some(week) = rest.strip_prefix('W') {
        let number_of_week = number(week.get(..2)?)?;
        let day = &week[2..];
        let day = if extended && !day.is_empty() { day.strip_prefix('-')? } else { day };
        let day = if day.is_empty() { 1 } else { number(day)? };
        let weekday = Weekday::from_monday_one_offset(day.try_into().ok()?).ok()?;
        return ISOWeekDate::new(year, number_of_week.try_into().ok()?, weekday).ok().map(|date| date.date());
    }
    let (month, day) = match (extended, rest.len()) {
        (false, 0) => (1, 1),
        (true, 2) => (number(rest)?, 1),
        (true, 5) => (number(&rest[..2])?, number(rest[2..].strip_prefix('-')?)?),
        (false, 4) => (number(&rest[..2])?, number(&rest[2..])?),
        (_, 3) => {
            let days = number(rest)?.checked_sub(1).filter(|days| *days >= 0)?;
            let date = Date::new(year, 1, 1).ok()?.checked_add(Span::new().try_days(days).ok()?).ok()?;
            return (date.year() == year).then_some(date);
        }
        _ => return None,
    };
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

/// Reads `HH[:MM[:SS[.f]]]`, or the same without colons.
pub(crate) fn read_time(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.find(['.', ',']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let extended = whole.contains(':');
    let mut fields = [0i8; 3];
    let mut rest = whole;
    let mut count = 0;
    for field in &mut fields {
        if rest.is_empty() {
            break;
        }
        if count > 0 && extended {
            rest = rest.strip_prefix(':')?;
        }
        *field = number(rest.get(..2)?)?.try_into().ok()?;
        rest = &rest[2..];
        count += 1;
    }
    let nanos = match fraction {
        None => 0,
        Some(digits) if count == 3 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let digits = &digits[..digits.len().min(9)];
            digits.parse::<i32>().ok()? * 10i32.pow(9 - digits.len() as u32)
        }
        Some(_) => return None,
    };
    if !rest.is_empty() || count == 0 {
        return None;
    }
    Time::new(fields[0], fields[1], fields[2], nanos).ok()
}

/// Reads `Z` or `±HH[[:]MM[[:]SS]]`.
pub(crate) fn read_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'Z' | b'z' => return (text.len() == 1).then_some(Offset::UTC),
        b'-' => (-1, &text[1..]),
        _ => (1, &text[1..]),
    };
    let time = read_time(rest.split(['.', ',']).next()?)?;
    let seconds = i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second());
    Offset::from_seconds(sign * seconds).ok()
}

/// Reads decimal digits without a sign.
fn number(digits: &str) -> Option<i16> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Writes a local time as Python's `isoformat` does, with the offset if there is one.
pub(crate) fn isoformat(local: DateTime, offset: Option<Offset>) -> String {
    use std::fmt::Write;
    let (date, time) = (local.date(), local.time());
    let mut out = String::with_capacity(32);
    // Writing into a String does not fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    let micros = time.subsec_nanosecond() / 1000;
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
    let Some(offset) = offset else { return out };
    let seconds = offset.seconds();
    let size = seconds.unsigned_abs();
    let sign = if seconds < 0 { '-' } else { '+' };
    let _ = write!(out, "{sign}{:02}:{:02}", size / 3600, size / 60 % 60);
    if size % 60 != 0 {
        let _ = write!(out, ":{:02}", size % 60);
    }
    out
}

/// The first 64 characters of a text, for errors.
fn shortened(text: &str) -> &str {
    match text.char_indices().nth(64) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_python_and_others_write() {
        let cases = [
            ("2030-01-02T03:04:05.678901+00:00", "2030-01-02T03:04:05.678901+00:00"),
            ("2030-01-02T03:04:05", "2030-01-02T03:04:05+00:00"),
            ("2030-01-02 03:04:05.5Z", "2030-01-02T03:04:05.500000+00:00"),
            ("2030-01-02T03:04:05.678901234+01:00", "2030-01-02T02:04:05.678901+00:00"),
            ("20300102T030405-0330", "2030-01-02T06:34:05+00:00"),
            ("2030-01-02T03:04", "2030-01-02T03:04:00+00:00"),
            ("2030-01-02T03+02", "2030-01-02T01:00:00+00:00"),
            ("2030-01-02", "2030-01-02T00:00:00+00:00"),
            ("2030-02", "2030-02-01T00:00:00+00:00"),
            ("2030", "2030-01-01T00:00:00+00:00"),
            ("2030-W01-3", "2030-01-02T00:00:00+00:00"),
            ("2030-032", "2030-02-01T00:00:00+00:00"),
            ("2030-01-02T24:00", "2030-01-03T00:00:00+00:00"),
            ("2030-01-02T03:04:05,25+01:02:03", "2030-01-02T02:02:02.250000+00:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(format(parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn pythons_first_and_last_instants_are_read_and_written() {
        let last = "9999-12-31T23:59:59.999999+00:00";
        for text in [
            last,
            "9999-12-31T23:59:59.999999",
            "9999-12-31T23:59:59.999999-12:00",
            "9999-12-31T24:00",
            "9999-12-31T10:00:00Z",
        ] {
            assert_eq!(parse(text).unwrap(), Timestamp::MAX, "{text}");
            assert_eq!(format(parse(text).unwrap()), last, "{text}");
        }
        let before = "9999-12-30T21:00:00+00:00";
        assert_eq!(format(parse(before).unwrap()), before);
        // The first hours of the year 1 east of Greenwich are in the year 0 of UTC, which Python does not have.
        let first = "0001-01-01T00:00:00+00:00";
        for text in [first, "0001-01-01T00:00:00+12:00", "0000-06-01T00:00:00Z"] {
            assert_eq!(format(parse(text).unwrap()), first, "{text}");
        }
        for offset in [-12, 12] {
            let zone = TimeZone::fixed(jiff::tz::offset(offset));
            assert_eq!(format_in(Timestamp::MAX, &zone), last);
            assert_eq!(format_in(Timestamp::MIN, &zone), first);
            assert_eq!(format_in(parse(first).unwrap(), &zone).len(), first.len());
            assert_eq!(parse_in("9999-12-31T23:59:59.999999", &zone).unwrap(), Timestamp::MAX);
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "not-a-date",
            "2030-13-01",
            "2030-02-30",
            "2030-01-02T",
            "2030-01-02T25:00",
            "2030-01-02T03:04:05.",
            "2030-366",
            "2030-01-02T03:04:05+",
            "2030-01-02T03:04:05+99:00",
            "12",
            "2030-01-02T03:0",
            "éééé",
            "2030-01-02T03:04:05Zx",
            "5",
            "2030-1é-x",
            "2030é1x",
            "2030-01-02T0é:04",
            "2030-01-02T03:04:05+0é",
        ] {
            assert_eq!(parse(text).unwrap_err().kind(), ErrorKind::Time, "{text}");
        }
    }

    #[test]
    fn zones() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        let instant = parse("2030-07-01T12:00:00Z").unwrap();
        assert_eq!(format_in(instant, &paris), "2030-07-01T14:00:00+02:00");
        assert_eq!(parse_in("2030-07-01T14:00:00", &paris).unwrap(), instant);
        assert_eq!(parse_in("2030-07-01T14:00:00+00:00", &paris).unwrap(), parse("2030-07-01T14:00:00").unwrap());
        let odd = TimeZone::fixed(Offset::from_seconds(-(3600 + 61)).unwrap());
        assert_eq!(format_in(instant, &odd), "2030-07-01T10:58:59-01:01:01");
    }
}
