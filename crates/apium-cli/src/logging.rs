//! Logs, always on stderr, so that stdout is for results alone.

use std::fmt;
use std::io::{self, IsTerminal};

use apium_protocol::value::printable::printable;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::args::{Global, LogFormat};
use crate::exit::{CommandError, Result};
use crate::panics;

/// Starts logging at the level asked for, or at `default`. A program that installed its own subscriber keeps it.
pub(crate) fn start(global: &Global, default: &str) -> Result<()> {
    let asked = global.loglevel.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives(asked)).map_err(|error| {
        CommandError::usage(format!("read the log level {asked:?}: {error}"))
            .hint("use error, warning, info, debug, trace, off, or a filter such as apium_worker=debug,info")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // Fails only when the program has a subscriber already, which is then the one to use.
    let _ = match global.log_format {
        LogFormat::Text => builder.fmt_fields(OneLine).try_init(),
        LogFormat::Json => builder.json().with_writer(|| PrintableJson(io::stderr())).try_init(),
    };
    panics::show_as(global.log_format, io::stderr);
    Ok(())
}

/// Writes lines of JSON. JSON leaves some control characters in its texts as they are; here they are escaped, so that a
/// terminal that shows the lines obeys none of them.
struct PrintableJson<W>(W);

impl<W: io::Write> io::Write for PrintableJson<W> {
    /// A line comes whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(format!("{}\n", printable(text.trim_end_matches('\n'))).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes message and fields on one line, whatever their texts contain. A task's name and id are left out where the
/// message has them already.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, message: String::new(), is_empty: true, written: Ok(()) };
        fields.record(&mut line);
        line.written
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    message: String,
    is_empty: bool,
    written: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = printable(format!("{value:?}")).to_string();
        let name = field.name();
        let is_known = matches!(name, "task" | "id") && self.message.contains(text.trim_matches('"'));
        // The fields of lines that were written through the crate `log` say where, which the line says already.
        if is_known || name.starts_with("log.") || self.written.is_err() {
            return;
        }
        let gap = if std::mem::take(&mut self.is_empty) { "" } else { " " };
        self.written = match name {
            "message" => {
                self.message = text;
                write!(self.writer, "{gap}{}", self.message)
            }
            name => write!(self.writer, "{gap}{}={text}", name.trim_start_matches("r#")),
        };
    }
}

/// Celery's level names beside those of `tracing`.
fn directives(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" | "fatal" => "error".to_owned(),
        "notset" => "trace".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn celerys_level_names_are_understood() {
        for (given, meant) in
            [("WARNING", "warn"), ("CRITICAL", "error"), ("info", "info"), ("a=debug,warn", "a=debug,warn")]
        {
            assert_eq!(directives(given), meant);
        }
    }

    /// A log that is kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `write` runs, without times.
    fn logged(write: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(OneLine)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(subscriber, write);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_its_texts_contain() {
        let forged = "x\n2026-01-01 INFO all is well\u{1b}[2J";
        let text = logged(|| {
            let span = tracing::info_span!("run", name = forged, plain = %forged);
            span.in_scope(|| tracing::info!(queue = %forged, text = forged, debug = ?forged, "taken: {forged}"));
        });
        assert_eq!((text.lines().count(), text.contains('\u{1b}')), (1, false), "{text}");
        assert_eq!(text.matches(r"x\n2026-01-01 INFO all is well\u").count(), 6, "{text}");
    }

    #[test]
    fn an_event_is_one_object_without_control_characters_whatever_its_texts_contain() {
        let forged = "x\nINFO all is well\u{1b}[2J\u{85}\u{9b}\u{2028}\u{7f}";
        let kept = Kept::default();
        let writer = kept.clone();
        let json = tracing_subscriber::fmt().json().with_writer(move || PrintableJson(writer.clone())).finish();
        tracing::subscriber::with_default(json, || {
            let span = tracing::info_span!("run", name = forged, plain = %forged);
            span.in_scope(|| tracing::info!(queue = %forged, text = forged, debug = ?forged, "taken: {forged}"));
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line:?}");
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&object["fields"]["text"], &object["span"]["plain"]), (&forged.into(), &forged.into()), "{line}");
    }

    #[test]
    fn a_name_and_an_id_are_written_once() {
        let (task, id) = ("tasks.add", "id-1");
        let text = logged(|| tracing::info!(task, id, seconds = 2, "task {task}[{id}] succeeded"));
        assert_eq!(text.trim(), "INFO task tasks.add[id-1] succeeded seconds=2");
        let text = logged(|| tracing::warn!(task, id, "no room"));
        assert_eq!(text.trim(), r#"WARN no room task="tasks.add" id="id-1""#);
    }
}
